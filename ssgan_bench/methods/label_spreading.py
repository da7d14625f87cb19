"""Label spreading: labels flow from image to image along a graph of nearest neighbors; no network.

Zhou et al. 2004, "Learning with local and global consistency", by scikit-learn's `LabelSpreading`. Every image, labeled
or not, is joined to its nearest neighbors (by Euclidean distance of pixels; the image itself counts as one, as
scikit-learn has it). F <- alpha S F + (1 - alpha) Y is repeated until it stands still, where S is the normalized graph
and Y the given labels. A new image gets the mean of its nearest neighbors' label distributions.
"""

import warnings
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ssgan_bench.config import ConfigError, Kind, MethodConfig, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.methods.classical import Array, ClassicalMethod, Work, over_all_classes

SPARE_CANDIDATES = 8
"""Images beyond the nearest that are compared exactly: float32 may order near ties otherwise."""
IMAGES_PER_SORTING = 2000
"""Choosing among an image's candidates takes as long as comparing it with this many images more: 1,700 in a fit, 2,250
in a prediction, measured with 500 to 8,000 images of 1,024 pixels (docs/scaling.md)."""
CHUNK = 512
"""Images whose distances from all others are in memory at once."""


class LabelSpreadingConfig(MethodConfig):
    """Defaults were chosen on the validation images of digits, seeds 0 to 7 (LOG.md)."""

    name: Literal["label_spreading"] = "label_spreading"
    kind: ClassVar[Kind] = "classical"
    n_neighbors: Annotated[int, Field(ge=2, le=1000)] = 7
    """Neighbors of an image in the graph, the image itself included."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the neighbors' labels in an image's own at every repetition."""
    max_iter: Annotated[int, Field(ge=1, le=10**6)] = 1000
    """Repetitions at most; a fit that needs more fails."""


class LabelSpreading(ClassicalMethod):
    """F = (1 - alpha) (I - alpha S)^-1 Y."""

    config_type = LabelSpreadingConfig
    uses_unlabeled = True

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        super().__init__(config, channels, num_classes)
        assert isinstance(config.method, LabelSpreadingConfig)
        self.options = config.method

    @classmethod
    def check(cls, config: RunConfig, batches: Batches) -> None:
        super().check(config, batches)
        assert isinstance(config.method, LabelSpreadingConfig)
        num_images = sum(batches.set_sizes)
        if config.method.n_neighbors > num_images:
            raise ConfigError(
                f"method.n_neighbors = {config.method.n_neighbors}: more than the {num_images} images, labeled and "
                "unlabeled; lower it"
            )

    @classmethod
    def work(cls, num_labeled: int, num_unlabeled: int, pixels: int) -> Work:
        num_images = num_labeled + num_unlabeled
        per_image = (num_images + IMAGES_PER_SORTING) * pixels  # the search for neighbors is the work
        return Work(fit=num_images * per_image, per_image=per_image)

    def fit_rows(self, labeled: Array, labels: NDArray[np.int64], unlabeled: Array) -> Callable[[Array], Array]:
        # Imported here, because planning a study needs only the options.
        from scipy.sparse import csr_array
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.semi_supervised import LabelSpreading as Spreading

        options = self.options
        rows = np.concatenate([labeled, unlabeled])
        nearest = Nearest(rows, options.n_neighbors)

        def graph(known: Array, others: Array) -> Any:
            """Make scikit-learn's graph for kernel="knn", in the shape that it asks of a callable: (known, others)."""
            neighbors = nearest(others)
            starts = np.arange(0, neighbors.size + 1, options.n_neighbors)
            joined = csr_array((np.ones(neighbors.size), neighbors.ravel(), starts), (len(others), len(known)))
            return joined if others is known else joined.T

        model = Spreading(kernel=graph, alpha=options.alpha, max_iter=options.max_iter)
        no_labels = np.full(len(unlabeled), -1, dtype=np.int64)  # scikit-learn's word for "unlabeled"
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(rows, np.concatenate([labels, no_labels]))
            except ConvergenceWarning:
                raise RuntimeError(
                    f"label spreading still moves after method.max_iter = {options.max_iter} repetitions; raise it"
                ) from None

        def predict(rows: Array) -> Array:
            with np.errstate(invalid="ignore"):  # 0 / 0: no label has reached any of the neighbors
                seen = model.predict_proba(rows)
            probabilities = over_all_classes(seen, model.classes_, self.num_classes)
            # Where the graph knows nothing, every class is as likely; the image counts as class 0.
            return np.where(np.isnan(probabilities).any(axis=1, keepdims=True), 1 / self.num_classes, probabilities)

        return predict


class Nearest:
    """Finds which rows (n, P) are nearest to others by Euclidean distance.

    Candidates come from a product of matrices in float32, which is what takes the time; of these, float64 distances
    choose.
    """

    def __init__(self, rows: Array, count: int):
        self._rows, self._count = rows, count
        self._center = torch.from_numpy(rows.mean(axis=0)).float()  # between centered rows fewer digits are lost
        self._single = torch.from_numpy(rows).float().sub_(self._center)
        self._half_squares = self._single.square().sum(dim=1) / 2

    def __call__(self, others: Array) -> NDArray[np.int64]:
        """Find the nearest rows of each of the others (m, P), nearest first: (m, count) indices of rows."""
        num_candidates = min(self._count + SPARE_CANDIDATES, len(self._rows))
        found = np.empty((len(others), self._count), dtype=np.int64)
        for start in range(0, len(others), CHUNK):
            chunk = others[start : start + CHUNK]
            closeness = torch.from_numpy(chunk).float().sub_(self._center) @ self._single.T - self._half_squares
            candidates = closeness.topk(num_candidates, dim=1).indices.numpy()
            pairs = zip(candidates, chunk, strict=True)
            exact = np.stack([np.square(self._rows[index] - row).sum(axis=1) for index, row in pairs])
            order = np.lexsort((candidates, exact), axis=1)[:, : self._count]
            found[start : start + CHUNK] = np.take_along_axis(candidates, order, axis=1)
        return found
