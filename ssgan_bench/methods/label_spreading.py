"""Label spreading: labels flow from image to image along a graph of nearest neighbors; no network.

Zhou et al. 2004, "Learning with local and global consistency":

    F = (1 - alpha) (I - alpha S)^-1 Y,   S = D^-1/2 W D^-1/2,

where Y are the given labels, W joins every image to its nearest neighbors in either direction, and D are the degrees.
That is where F <- alpha S F + (1 - alpha) Y comes to rest, at every node.

What the configuration leaves open is chosen by the fit on the labeled images alone (`choose`).
"""

from itertools import permutations, product
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssgan_bench.config import Kind, MethodConfig, RunConfig
from ssgan_bench.methods.classical import Array
from ssgan_bench.methods.conjugate_gradients import solve
from ssgan_bench.methods.graph_method import GraphMethod, on_all_nodes
from ssgan_bench.methods.neighbor_graph import NeighborGraph, normalized

USUAL_NEIGHBORS, OTHER_NEIGHBORS = 7, (10,)
USUAL_ALPHA, OTHER_ALPHAS = 0.99, (0.9, 0.2)
"""What `choose` has to choose from; 0.99 is the paper's alpha."""
MOST_FOLDS = 5
TOLERANCE = 1e-14
"""Of the conjugate gradients; labels that come from far are as small as 1e-7."""
TOLERANCE_PER_NODE = 1e-6
"""Of F, relative to the sum of a node's own."""


class LabelSpreadingConfig(MethodConfig):
    """Options of label spreading."""

    name: Literal["label_spreading"] = "label_spreading"
    kind: ClassVar[Kind] = "classical"
    n_neighbors: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Neighbors of an image in the graph, the image itself included; None: chosen on the labeled images."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Share of the neighbors' labels in an image's own at every repetition; None: chosen on the labeled images."""
    max_iter: Annotated[int, Field(ge=1, le=10**6)] = 10_000
    """Repetitions of the solver at most; a fit that needs more fails."""


class LabelSpreading(GraphMethod):
    """F = (1 - alpha) (I - alpha S)^-1 Y."""

    config_type = LabelSpreadingConfig

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        super().__init__(config, channels, num_classes)
        assert isinstance(config.method, LabelSpreadingConfig)
        self.options = config.method

    @classmethod
    def asked_neighbors(cls, config: RunConfig) -> int | None:
        assert isinstance(config.method, LabelSpreadingConfig)
        return config.method.n_neighbors

    def pass_on(self, graph: NeighborGraph, known: NDArray[np.int64], given: Array) -> tuple[Array, int]:
        n_neighbors, alpha = self.choose(graph, known, given)
        similarity = normalized(graph.weights(n_neighbors, "equal"))
        return self.spread(similarity, alpha, on_all_nodes(graph.num_nodes, known, given)), n_neighbors

    def spread(self, similarity: Any, alpha: float, given: Array) -> Array:
        """Solve for F >= 0 (N, c) with S (N, N) and Y (N, c).

        Conjugate gradients come close everywhere, measured by the largest labels; repetitions, which keep what is
        positive positive, then go on until every node stands still, measured by its own.

        Raises:
            RuntimeError: that takes more than `method.max_iter` repetitions.
        """
        from scipy.sparse import eye_array

        source, max_iter = (1 - alpha) * given, self.options.max_iter
        system = (eye_array(len(given), format="csr") - alpha * similarity).tocsr()
        spread = np.maximum(solve(system, source, TOLERANCE, max_iter), 0.0)
        for _ in range(max_iter):
            before, spread = spread, np.asarray(alpha * (similarity @ spread) + source)
            # What is left to come is up to 1 / (1 - alpha) times the last change.
            allowed = TOLERANCE_PER_NODE * (1 - alpha) * spread.sum(axis=1)
            if (np.abs(spread - before).max(axis=1) <= allowed).all():
                return spread
        raise RuntimeError(f"label spreading still moves after method.max_iter = {max_iter} repetitions; raise it")

    def choose(self, graph: NeighborGraph, known: NDArray[np.int64], given: Array) -> tuple[int, float]:
        """Choose what the configuration leaves open among 7 and 10 neighbors, and alpha 0.99, 0.9 and 0.2.

        By the error on labeled images whose labels are left out, in folds with equal shares of every class: as many as
        the rarest class has labels, 5 at most. Folds of few labels say little, so 7 and 0.99 are kept unless the
        choice with fewest errors gains more than one standard error of the gain: with that many images mended and
        broken, the root of their sum. They are also kept where a class has a single label and there are no folds.
        """
        options, num_nodes = self.options, graph.num_nodes
        counts = (min(count, num_nodes) for count in (USUAL_NEIGHBORS, *OTHER_NEIGHBORS))
        neighbors = list(dict.fromkeys(counts)) if options.n_neighbors is None else [options.n_neighbors]
        alphas = [USUAL_ALPHA, *OTHER_ALPHAS] if options.alpha is None else [options.alpha]
        usual, *others = product(neighbors, alphas)
        per_class = given.sum(axis=0)
        num_folds = min(MOST_FOLDS, int(per_class[per_class > 0].min()))
        best = usual
        if others and num_folds > 1:
            folds = folds_of(known, given, num_folds)
            wrong = {pair: self.fold_errors(graph, known, given, folds, *pair) for pair in (usual, *others)}
            other = min(others, key=lambda pair: wrong[pair].sum())
            mended, broken = (int((a & ~b).sum()) for a, b in permutations((wrong[usual], wrong[other])))
            best = other if mended - broken > (mended + broken) ** 0.5 else usual
        left_open = {"n_neighbors": options.n_neighbors, "alpha": options.alpha}
        values = dict(zip(left_open, map(float, best), strict=True))
        self.chosen = {name: values[name] for name, value in left_open.items() if value is None}
        return best

    def fold_errors(
        self,
        graph: NeighborGraph,
        known: NDArray[np.int64],
        given: Array,
        folds: NDArray[np.int64],
        n_neighbors: int,
        alpha: float,
    ) -> NDArray[np.bool_]:
        """Labeled images (n,) that the labels of the other folds get wrong, or do not reach."""
        num_classes, is_fold = given.shape[1], folds[:, None] == np.arange(folds.max() + 1)  # (n, folds)
        # One column per fold and class: the labels of that fold alone. F is linear in them.
        by_fold = (is_fold[:, :, None] * given[:, None]).reshape(len(known), -1)
        similarity = normalized(graph.weights(n_neighbors, "equal"))
        arrived = self.spread(similarity, alpha, on_all_nodes(graph.num_nodes, known, by_fold))[known]
        arrived = arrived.reshape(len(known), -1, num_classes)  # (n, folds, K)
        from_others = np.where(is_fold[:, :, None], 0.0, arrived).sum(axis=1)
        is_right = from_others.any(axis=1) & (from_others.argmax(axis=1) == given.argmax(axis=1))
        return np.asarray(~is_right)


def folds_of(known: NDArray[np.int64], given: Array, num_folds: int) -> NDArray[np.int64]:
    """Deal the labeled images of each class out to the folds, in the order of their nodes: the fold of each (n,)."""
    folds = np.empty(len(known), dtype=np.int64)
    for label in np.unique(given.argmax(axis=1)):
        (members,) = np.nonzero(given[:, label])
        folds[members[np.argsort(known[members])]] = np.arange(len(members)) % num_folds
    return folds
