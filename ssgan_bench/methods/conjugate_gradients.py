"""Conjugate gradients for several right-hand sides at once (Hestenes and Stiefel 1952)."""

from typing import Any

import numpy as np

from ssgan_bench.methods.classical import Array


def solve(matrix: Any, right: Array, tolerance: float, max_iter: int) -> Array:
    """Solve matrix @ x = right for x (n, c), started at 0.

    Args:
        matrix: sparse (n, n), symmetric and positive definite; semidefinite is enough where every column of `right` is
            orthogonal to its null space, and then x is as well.
        right: (n, c).
        tolerance: largest norm of a column's residual, relative to that of the column of `right`.
        max_iter: iterations at most.

    Raises:
        RuntimeError: it takes more iterations.
    """
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    order = reverse_cuthill_mckee(matrix, symmetric_mode=True)  # neighbors close in memory: products take half as long
    matrix, residual = matrix[order][:, order], right[order]
    solution, direction = np.zeros_like(residual), residual.copy()
    squares = _products(residual, residual)
    goals = tolerance**2 * squares
    for _ in range(max_iter):
        open_ = squares > goals
        if not open_.any():
            unordered: Array = np.empty_like(solution)
            unordered[order] = solution
            return unordered
        image = matrix @ direction
        step = np.divide(squares, _products(direction, image), out=np.zeros_like(squares), where=open_)
        solution += step * direction
        image *= step
        residual -= image
        before, squares = squares, _products(residual, residual)
        direction *= np.divide(squares, before, out=np.zeros_like(squares), where=open_)
        direction += residual
    raise RuntimeError(f"still moves after method.max_iter = {max_iter} repetitions; raise it")


def _products(left: Array, right: Array) -> Array:
    """Inner products of the columns of two arrays (n, c): (c,)."""
    return np.asarray(np.einsum("nc,nc->c", left, right))
