"""Which runs of an arm collapsed: far above the others of the same arm and condition."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 0.10
"""Error rate by which a collapsed run lies above the median, at least: ten points."""
SPREADS = 3.0
"""Robust standard deviations by which it does."""
MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def collapsed(errors: ArrayLike) -> NDArray[np.bool_]:
    """Mark the runs whose error lies above the median by more than max(0.10, 3 * 1.4826 * MAD).

    Args:
        errors: (n,) error rates in [0, 1] of the runs of one arm at one condition, finite.

    Returns:
        (n,) whether each run collapsed.
    """
    array = np.asarray(errors, dtype=np.float64)
    if not array.size:
        return np.zeros(0, dtype=np.bool_)
    above = array - np.median(array)
    spread = MAD_TO_SD * float(np.median(np.abs(above)))
    return np.asarray(above > max(LEAST, SPREADS * spread), dtype=np.bool_)
