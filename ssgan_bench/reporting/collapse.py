"""Which runs of one arm at one condition have collapsed: an outcome of its own, which a mean with an interval hides."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_RUNS = 4
"""Below, the better half is one run and says nothing about the spread."""
LEAST = 0.15
RATIO = 1.5
SPREADS = 3.0
MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
RULE = (
    "at least 15 percentage points, half as much again and 3 robust standard deviations of the better half above the "
    "median of its arm and condition"
)


def threshold(errors: ArrayLike) -> float:
    """Error rate above which a run has collapsed, from those of all complete runs of its arm and condition.

    It is the largest of: the median and 15 points; 1.5 times the median; the median and 3 robust standard deviations
    of the runs in the better half (1.4826 times the median of their distances from the median). The worse half does not
    count, since the collapses are there and may be many: with 4 of 9 runs collapsed, the deviation of all is as large
    as a collapse. With more than half of them collapsed, the median is one and none is found. Of normal runs with mean
    20 % and standard deviation 6 % it takes less than 1 in 200.

    Args:
        errors: (n,) error rates in [0, 1], finite.

    Returns:
        Infinity with fewer than 4 runs.
    """
    array = np.sort(np.asarray(errors, dtype=np.float64))
    if array.size < FEWEST_RUNS:
        return math.inf
    middle = float(np.median(array))
    spread = MAD_TO_SD * float(np.median(middle - array[: array.size // 2]))
    return max(middle + LEAST, RATIO * middle, middle + SPREADS * spread)


def collapsed(errors: ArrayLike) -> NDArray[np.bool_]:
    """Mark the runs whose error rate is above the `threshold` of all: (n,) for `errors` (n,)."""
    return np.asarray(np.asarray(errors, dtype=np.float64) > threshold(errors), dtype=np.bool_)
