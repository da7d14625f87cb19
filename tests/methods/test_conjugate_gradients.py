"""Conjugate gradients: the solution that a dense solver finds, for every right-hand side."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from ssgan_bench.methods.conjugate_gradients import solve


def sparse_system(num_nodes=80):
    """A positive definite matrix with few entries a row, far from the diagonal."""
    stream = np.random.default_rng(0)
    half = stream.normal(size=(num_nodes, num_nodes)) * (stream.random((num_nodes, num_nodes)) < 0.03)
    return csr_array(half @ half.T + np.eye(num_nodes)), stream.normal(size=(num_nodes, 4))


def test_every_column_is_solved_even_where_some_are_empty():
    matrix, right = sparse_system()
    right[:, 2] = 0.0
    given = right.copy()
    solution = solve(matrix, right, 1e-12, 1000)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix.toarray(), right), atol=1e-9)
    np.testing.assert_array_equal(right, given)


def test_the_tolerance_is_that_of_each_columns_residual():
    matrix, right = sparse_system()
    right[:, 1] *= 1e-6
    residual = matrix @ solve(matrix, right, 1e-3, 1000) - right
    relative = np.linalg.norm(residual, axis=0) / np.linalg.norm(right, axis=0)
    assert (relative < 1.01e-3).all()
    assert (relative > 1e-6).all()


def test_too_few_repetitions_are_an_error():
    matrix, right = sparse_system()
    with pytest.raises(RuntimeError, match=r"after method\.max_iter = 2 repetitions; raise it$"):
        solve(matrix, right, 1e-12, 2)
