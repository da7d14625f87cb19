"""The kind of classical method that passes labels on along the graph of nearest neighbors."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.methods.classical import Array, ClassicalMethod, Work
from ssgan_bench.methods.neighbor_graph import NeighborGraph, graph_of

SEARCHED_NEIGHBORS = 15
"""At least as many are searched, whatever is asked for, so that runs with fewer share the graph."""
IMAGES_PER_SORTING = 2500
"""Choosing among an image's candidates takes as long as comparing it with this many images more: measured with 500 to
16,000 images of 1,024 pixels (docs/scaling.md)."""
SOLVING = 1e7
"""Passing the labels on, in all folds, takes as long per image as this many multiplications of the search: 11 s with
MNIST's 55,000 images, against 60 s."""


class GraphMethod(ClassicalMethod):
    """Gives every image of the graph a distribution over the classes, and a new image that of its nearest neighbors.

    A new image gets the mean of its neighbors' distributions, each of sum 1 however little of a label arrived. An image
    none of whose neighbors was reached by any label counts as unreached.
    """

    uses_unlabeled = True
    may_miss_images = True

    @classmethod
    @abstractmethod
    def asked_neighbors(cls, config: RunConfig) -> int | None:
        """`method.n_neighbors` as it stands in the configuration."""

    @abstractmethod
    def pass_on(self, graph: NeighborGraph, known: NDArray[np.int64], given: Array) -> tuple[Array, int]:
        """Pass the labels `given`, one-hot (n, K), of the nodes `known` (n,), on to all nodes.

        Returns:
            scores >= 0 of all nodes (N, K), all 0 where no label arrived, and the number of neighbors that were used.

        Raises:
            RuntimeError: a solver did not converge.
        """

    @classmethod
    def check(cls, config: RunConfig, batches: Batches) -> None:
        super().check(config, batches)
        num_images = sum(batches.set_sizes)
        if (asked := cls.asked_neighbors(config)) is not None and asked > num_images:
            raise ConfigError(
                f"method.n_neighbors = {asked}: more than the {num_images} images, labeled and unlabeled; lower it"
            )

    @classmethod
    def work(cls, num_labeled: int, num_unlabeled: int, pixels: int) -> Work:
        num_images = num_labeled + num_unlabeled
        per_image = (num_images + IMAGES_PER_SORTING) * pixels
        return Work(fit=num_images * SOLVING, per_image=per_image, shared=num_images * per_image)

    def fit_rows(self, labeled: Array, labels: NDArray[np.int64], unlabeled: Array) -> Callable[[Array], Array]:
        rows = np.concatenate([labeled, unlabeled], dtype=np.float32, casting="same_kind")
        count = min(max(self.asked_neighbors(self.config) or 0, SEARCHED_NEIGHBORS), len(rows))
        graph, nodes, self.taken_over = graph_of(rows, count, self.num_threads)
        known = nodes[: len(labels)]
        scores, n_neighbors = self.pass_on(graph, known, np.eye(self.num_classes)[labels])
        distributions = to_distributions(scores)

        def predict(rows: Array) -> Array:
            arrived = to_distributions(distributions[graph.nearest(rows, n_neighbors)].sum(axis=1))
            arrived[~arrived.any(axis=1)] = np.nan
            return arrived

        return predict


def to_distributions(scores: Array) -> Array:
    """Divide scores >= 0 (n, K) by their sums; rows of zeros stay."""
    sums = scores.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(scores, sums, out=np.zeros_like(scores), where=sums > 0))


def on_all_nodes(num_nodes: int, known: NDArray[np.int64], values: Array) -> Array:
    """Put values (n, c) of the nodes `known` (n,) where they belong among all (N, c); the others get 0."""
    everywhere = np.zeros((num_nodes, values.shape[1]))
    everywhere[known] = values
    return everywhere
