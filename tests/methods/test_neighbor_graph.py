"""The graph of nearest neighbors: the right neighbors, symmetric weights, and the same graph for the same images."""

import numpy as np
import pytest
from graphs import dense_weights, digits, digits_without_ties, distances_to, squared_distances

from ssgan_bench.methods import neighbor_graph
from ssgan_bench.methods.neighbor_graph import NeighborGraph, graph_of, normalized


@pytest.fixture(autouse=True)
def _no_kept_graph():
    neighbor_graph.forget()


def in_any_order(seed, rows):
    return np.random.default_rng(seed).permutation(len(rows))


def test_neighbors_of_all_digits_are_those_of_a_comparison_of_all_pairs():
    rows, _ = digits_without_ties()
    graph, others = NeighborGraph(rows[:1200], 15), rows[1200:]
    nearest = np.argsort(distances_to(rows[:1200], others), axis=1)[:, :10]
    np.testing.assert_array_equal(graph.nearest(others, 10), nearest)
    np.testing.assert_array_equal(graph.weights(7, "equal").toarray(), dense_weights(rows[:1200], 7))


@pytest.mark.parametrize("weighting", ["equal", "gaussian"])
def test_weights_are_symmetric_positive_and_never_of_an_image_with_itself(weighting):
    weights = NeighborGraph(digits()[0], 15).weights(7, weighting)
    assert (weights != weights.T).nnz == 0
    assert not weights.diagonal().any()
    assert weights.data.min() > 0
    assert weights.data.max() <= 1
    assert np.diff(weights.indptr).min() == 6


def test_gaussian_weights_are_those_of_the_paper():
    rows = digits_without_ties()[0][:300].astype(np.float32).astype(np.float64)
    distances = squared_distances(rows)
    farthest = np.sort(distances, axis=1)[:, 6]  # the nearest is the image itself
    directed = np.where(distances <= farthest[:, None], np.exp(-4 * distances / farthest[:, None]), 0.0)
    np.fill_diagonal(directed, 0.0)
    weights = NeighborGraph(rows, 7).weights(7, "gaussian").toarray()
    np.testing.assert_allclose(weights, (directed + directed.T) / 2, atol=1e-12)


def test_copies_of_an_image_are_neighbors_of_each_other_and_not_of_themselves():
    rows = np.concatenate([np.zeros((20, 4)), np.ones((3, 4))])
    for weighting in ("equal", "gaussian"):
        weights = NeighborGraph(rows, 5).weights(5, weighting).toarray()
        assert np.isfinite(weights).all()
        assert not weights.diagonal().any()
        assert weights[:20, :20].sum(axis=1).min() >= 2


def test_normalized_weights_have_spectral_radius_one():
    similarity = normalized(NeighborGraph(digits()[0][:300], 7).weights(7, "equal")).toarray()
    np.testing.assert_allclose(np.linalg.eigvalsh(similarity).max(), 1.0)


def test_the_same_images_in_another_order_are_the_same_graph_and_are_not_searched_again():
    rows, _ = digits()
    order = in_any_order(0, rows)
    graph, nodes, taken_over = graph_of(rows, 7, 1)
    assert taken_over == (0.0, 0.0)
    again, other_nodes, taken_over = graph_of(rows[order], 7, 1)
    assert again is graph
    assert taken_over == graph.spent
    assert min(taken_over) > 0
    np.testing.assert_array_equal(other_nodes, nodes[order])


@pytest.mark.parametrize("change", [{"rows": digits()[0][1:]}, {"count": 8}, {"num_threads": 2}])
def test_only_the_last_graph_is_kept_and_nothing_else_passes_for_it(change):
    first = {"rows": digits()[0], "count": 7, "num_threads": 1}
    graph, *_ = graph_of(**first)
    other, _, taken_over = graph_of(**(first | change))
    assert other is not graph
    assert taken_over == (0.0, 0.0)
    assert graph_of(**first)[0] is not graph


def test_new_images_are_searched_once(monkeypatch):
    rows, _ = digits()
    graph, searched = NeighborGraph(rows[:500], 7), []
    original = neighbor_graph.Nearest.of_others
    monkeypatch.setattr(
        neighbor_graph.Nearest,
        "of_others",
        lambda self, *given: searched.append(len(given[0])) or original(self, *given),
    )
    together = graph.nearest(rows[500:520], 7)
    apart = np.concatenate([graph.nearest(rows[510:520], 3), graph.nearest(rows[505:525], 3)])
    assert searched == [20, 5]
    np.testing.assert_array_equal(apart[:10], together[10:, :3])
    np.testing.assert_array_equal(apart[10:25], together[5:, :3])
