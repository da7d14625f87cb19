"""Poisson learning: labels are sources and sinks on a graph of nearest neighbors; no network.

Calder, Cook, Thorpe and Slepcev 2020, "Poisson learning: graph based semi-supervised learning at very low label rates":

    L u = sum_j (y_j - mean y) delta_j,   sum_i d_i u_i = 0,

over the labeled images j, where y_j are their one-hot labels, L = D - W, W are the edges' weights and D the degrees d.
The class of an image is where u is largest. Label propagation (Zhu et al. 2003) holds u fixed at the labels, so that it
is nearly constant in between where they are few; here it is not.

The equation has a solution on every connected part of the graph by itself, with the mean over its own labels. Where
these are all of one class, u would be 0, and the images count as of that class. The paper gives no probabilities: here
they are the positive parts of u, divided by their sum.
"""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssgan_bench.config import Kind, MethodConfig, RunConfig
from ssgan_bench.methods.classical import Array
from ssgan_bench.methods.conjugate_gradients import solve
from ssgan_bench.methods.graph_method import GraphMethod, on_all_nodes, to_distributions
from ssgan_bench.methods.neighbor_graph import NeighborGraph, Weighting, normalized

TOLERANCE = 1e-10
"""Of the conjugate gradients."""
WEIGHTING: Weighting = "gaussian"
"""As in the paper."""


class PoissonLearningConfig(MethodConfig):
    """The default was chosen on the validation images of digits, seeds 0 to 7 (LOG.md)."""

    name: Literal["poisson_learning"] = "poisson_learning"
    kind: ClassVar[Kind] = "classical"
    n_neighbors: Annotated[int, Field(ge=2, le=1000)] = 7
    """Neighbors of an image in the graph, the image itself included."""
    max_iter: Annotated[int, Field(ge=1, le=10**6)] = 10_000
    """Repetitions of the solver at most; a fit that needs more fails."""


class PoissonLearning(GraphMethod):
    """L u = sum_j (y_j - mean y) delta_j."""

    config_type = PoissonLearningConfig

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        super().__init__(config, channels, num_classes)
        assert isinstance(config.method, PoissonLearningConfig)
        self.options = config.method

    @classmethod
    def asked_neighbors(cls, config: RunConfig) -> int | None:
        assert isinstance(config.method, PoissonLearningConfig)
        return config.method.n_neighbors

    def pass_on(self, graph: NeighborGraph, known: NDArray[np.int64], given: Array) -> tuple[Array, int]:
        u = potential(graph.weights(self.options.n_neighbors, WEIGHTING), known, given, self.options.max_iter)
        return np.maximum(u, 0.0), self.options.n_neighbors


def potential(weights: Any, known: NDArray[np.int64], given: Array, max_iter: int) -> Array:
    """Solve for u (N, K) with symmetric weights W, sparse (N, N), and one-hot labels (n, K) of the nodes `known` (n,).

    u is 0 on a part without a label, and the label itself where a part has labels of one class only.

    Raises:
        RuntimeError: that takes more than `max_iter` repetitions.
    """
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.csgraph import connected_components

    num_nodes = weights.shape[0]
    num_parts, part = connected_components(weights, directed=False)
    members = csr_array((np.ones(num_nodes), (part, np.arange(num_nodes))), (num_parts, num_nodes))
    labels = members @ on_all_nodes(num_nodes, known, given)  # (parts, K), of each class
    sources = on_all_nodes(num_nodes, known, given - to_distributions(labels)[part[known]])
    # L = D^1/2 (1 - S) D^1/2; the sources of a part add up to 0, which is what a solution needs.
    degrees = weights.sum(axis=1)[:, None]
    system = (eye_array(num_nodes, format="csr") - normalized(weights)).tocsr()
    u = solve(system, sources / np.sqrt(degrees), TOLERANCE, max_iter) / np.sqrt(degrees)
    u -= ((members @ (degrees * u)) / (members @ degrees))[part]
    of_one_class = (labels > 0).sum(axis=1) == 1
    return np.asarray(np.where(of_one_class[part, None], to_distributions(labels)[part], u))
