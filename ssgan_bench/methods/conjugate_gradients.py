"""Conjugate gradients for several right-hand sides at once (Hestenes and Stiefel 1952)."""

from typing import Any

import numpy as np

from ssgan_bench.methods.classical import Array


def solve(matrix: Any, right: Array, tolerance: float, max_iter: int) -> Array:
    """Solve matrix @ x = right for x (n, c), started at 0.

    Args:
        matrix: (n, n), symmetric and positive definite; semidefinite is enough where every column of `right` is
            orthogonal to its null space, and then x is as well.
        right: (n, c).
        tolerance: largest norm of a column's residual, relative to that of the column of `right`.
        max_iter: iterations at most.

    Raises:
        RuntimeError: it takes more iterations.
    """
    solution = np.zeros_like(right)
    residual, direction = right.copy(), right.copy()
    squares = np.square(right).sum(axis=0)
    goals = tolerance**2 * squares
    for _ in range(max_iter):
        open_ = squares > goals
        if not open_.any():
            return solution
        image = matrix @ direction
        curvature = (direction * image).sum(axis=0)
        step = np.divide(squares, curvature, out=np.zeros_like(squares), where=open_)
        solution += step * direction
        image *= step
        residual -= image
        before, squares = squares, np.square(residual).sum(axis=0)
        direction *= np.divide(squares, before, out=np.zeros_like(squares), where=open_)
        direction += residual
    raise RuntimeError(f"still moves after method.max_iter = {max_iter} repetitions; raise it")
