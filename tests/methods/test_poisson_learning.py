"""Poisson learning: its equation on every part of the graph, and what follows where it has no say."""

import numpy as np
import pytest
import torch
from graphs import chain, digits, first_of_each_class, fit

from ssgan_bench.methods.neighbor_graph import NeighborGraph
from ssgan_bench.methods.poisson_learning import potential

POISSON = {"name": "poisson_learning"}


def parts_of(weights):
    """The part of each node (n,), by flooding from node to node."""
    part = np.full(len(weights), -1)
    for start in range(len(weights)):
        if part[start] == -1:
            found = [start]
            part[start] = part.max() + 1
            while found:
                (next_to,) = np.nonzero((weights[found.pop()] > 0) & (part == -1))
                part[next_to] = part[start]
                found += next_to.tolist()
    return part


def by_pseudo_inverse(weights, known, given):
    """u = L^+ sum_j (y_j - mean y) delta_j on every part with several classes, shifted to sum_i d_i u_i = 0."""
    u, part = np.zeros((len(weights), given.shape[1])), parts_of(weights)
    for number in range(part.max() + 1):
        (nodes,) = np.nonzero(part == number)
        here = part[known] == number
        if here.any() and len(np.unique(given[here].argmax(axis=1))) > 1:
            sources = np.zeros((len(weights), given.shape[1]))
            sources[known[here]] = given[here] - given[here].mean(axis=0)
            own = weights[np.ix_(nodes, nodes)]
            degrees = own.sum(axis=1)
            solution = np.linalg.pinv(np.diag(degrees) - own, hermitian=True) @ sources[nodes]
            u[nodes] = solution - degrees @ solution / degrees.sum()
    return u


@pytest.mark.parametrize(("k", "num_parts"), [(7, 2), (3, 8)])
def test_1797_digits_get_the_potential_of_the_pseudo_inverse(k, num_parts):
    rows, labels = digits()
    sparse = NeighborGraph(rows, k).weights(k, "gaussian")
    weights = sparse.toarray()
    part = parts_of(weights)
    assert part.max() + 1 == num_parts
    known = first_of_each_class(labels, 2)
    given = np.eye(10)[labels[known]]
    several = {number for number in part if len(np.unique(labels[known[part[known] == number]])) > 1}
    assert len(several) >= 1
    u = potential(sparse, known, given, 10_000)
    expected = by_pseudo_inverse(weights, known, given)
    in_several = np.isin(part, list(several))
    assert np.abs(expected[in_several]).max() > 0.1
    np.testing.assert_allclose(u[in_several], expected[in_several], atol=1e-6)
    np.testing.assert_array_equal(u[~np.isin(part, part[known])], 0.0)  # no label arrives


def test_a_part_with_labels_of_one_class_is_of_that_class_and_one_without_is_unreached():
    near, middle, far = (chain(torch.arange(start, start + 1, 0.05)) for start in (0, 5, 10))
    labeled, labels = torch.cat([near[:1], near[-1:], middle[:2]]), torch.tensor([0, 1, 2, 2])
    fitted = fit(POISSON, labeled, labels, torch.cat([near[1:-1], middle[2:], far]), 4)
    assert torch.equal(fitted.classify(near).argmax(dim=1), torch.arange(20) // 10)
    torch.testing.assert_close(fitted.classify(middle).exp()[:, 2], torch.ones(20))
    assert fitted.reached(torch.cat([near, middle])).all()
    assert not fitted.reached(far).any()
    torch.testing.assert_close(fitted.classify(far).exp(), torch.full((20, 4), 0.25))


def test_with_one_label_per_class_it_is_right_where_the_nearest_label_is_not():
    rows, labels = digits()
    known = first_of_each_class(labels, 1)
    graph = NeighborGraph(rows, 7)
    u = potential(graph.weights(7, "gaussian"), known, np.eye(10)[labels[known]], 10_000)
    nearest = np.square(rows[:, None] - rows[known][None]).sum(axis=2).argmin(axis=1)
    error, nearest_error = (u.argmax(axis=1) != labels).mean(), (labels[known][nearest] != labels).mean()
    assert error < nearest_error / 2
    np.testing.assert_allclose(u.sum(axis=1), 0.0, atol=1e-8)  # the classes' potentials add up to 0
