"""Small graphs, and the digits, for the tests of methods on the graph of nearest neighbors."""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from tiny_runs import tiny_config

from ssgan_bench.methods.base import build_method


@cache
def digits():
    """All 1,797 digits as rows (n, 64) in [-1, 1], and their labels."""
    data = load_digits()
    return data.data / 8 - 1, data.target


@cache
def digits_without_ties():
    """The digits, each moved by so little that no two distances are equal."""
    rows, labels = digits()
    return rows + np.random.default_rng(0).normal(scale=1e-3, size=rows.shape), labels


def first_of_each_class(labels, count):
    """Indices of the first `count` images of every class, class by class."""
    return np.concatenate([np.nonzero(labels == label)[0][:count] for label in np.unique(labels)])


def squared_distances(rows):
    """All pairs, (n, n), by their definition."""
    return distances_to(rows, rows)


def distances_to(rows, others):
    """Squared distances of each of the others (m, P) from rows (n, P): (m, n)."""
    return np.stack([np.square(rows - other).sum(axis=1) for other in others])


def dense_weights(rows, k):
    """W = (A + A^T) / 2 of equal weights, k neighbors with the image itself: (n, n)."""
    distances = squared_distances(rows)
    np.fill_diagonal(distances, np.inf)
    joined = np.zeros_like(distances)
    np.put_along_axis(joined, np.argsort(distances, axis=1)[:, : k - 1], 1.0, axis=1)
    return (joined + joined.T) / 2


def chain(levels):
    """(n, 1, 8, 8) images of one gray level each."""
    return levels.reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def fit(method, labeled, labels, unlabeled, num_classes=2, **options):
    """Fit a method to images: what `ClassicalMethod.fit` returns."""
    return build_method(tiny_config(method=method | options), 1, num_classes).fit(labeled, labels, unlabeled)
