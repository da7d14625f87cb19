"""How many labels another curve needs to reach a given error: a monotone curve, read the other way round.

The curve is the least-squares nonincreasing fit to mean errors at some label counts, joined by straight lines in the
logarithms of count and error: errors fall like a power of the number of labels, and between 1,000 and 55,000 labels a
line in the error itself would put most of the fall near the larger count. It is never extrapolated: an error above it
needs fewer labels than the smallest count, minus infinity here, and one below it more than the largest, plus infinity.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]
RESAMPLES = 4000
FEWEST_UNITS = 4
"""Fewer seeds have too few different resamples for an interval."""


@dataclass(frozen=True)
class LabelsNeeded:
    """Labels needed, with an interval; infinite ends lie outside the curve, NaN is unknown."""

    needed: float
    low: float
    high: float
    n: int


def nonincreasing(means: Array) -> Array:
    """Least-squares nonincreasing fit to each row, equal weights (the min-max formula of isotonic regression).

    Args:
        means: (r, k) one curve per row.
    """
    k = means.shape[1]
    sums = np.concatenate([np.zeros((len(means), 1)), np.cumsum(means, axis=1)], axis=1)
    fitted = np.full_like(means, np.inf)
    for start in range(k):
        # Largest mean of any run of points from `start` that ends at or after each place, and the least over starts.
        runs = np.stack([(sums[:, end + 1] - sums[:, start]) / (end + 1 - start) for end in range(start, k)], axis=1)
        largest = np.maximum.accumulate(runs[:, ::-1], axis=1)[:, ::-1]
        fitted[:, start:] = np.minimum(fitted[:, start:], largest)
    return fitted


def read_curve(counts: Array, fitted: Array, errors: Array, least: float) -> Array:
    """Fewest labels at which each nonincreasing curve is at or below an error.

    Args:
        counts: (k,) label counts, positive, increasing.
        fitted: (r, k) nonincreasing curves.
        errors: (r,) the error to reach on each curve.
        least: positive; errors below it, as zero, count as that much, for they have no logarithm.

    Returns:
        (r,) labels; -inf where the error is above the whole curve, inf where it is below.
    """
    x = np.log(counts)
    fitted, errors = np.log(np.maximum(fitted, least)), np.log(np.maximum(errors, least))
    reached = fitted <= errors[:, None]
    at = reached.argmax(axis=1)
    row = np.arange(len(fitted))
    before = np.maximum(at - 1, 0)
    drop = fitted[row, before] - fitted[row, at]
    # drop > 0 wherever 0 < at, for the point before is above the error and this one is not.
    share = (fitted[row, before] - errors) / np.where(drop > 0, drop, 1.0)
    inside = np.exp(x[before] + np.clip(share, 0.0, 1.0) * (x[at] - x[before]))
    inside = np.where(at == 0, np.where(fitted[:, 0] < errors, -np.inf, counts[0]), inside)
    return np.where(reached.any(axis=1), inside, np.inf)


def labels_needed(
    counts: ArrayLike, baseline: ArrayLike, arm: ArrayLike, least: float, level: float = 0.95
) -> LabelsNeeded:
    """How many labels the baseline needs for the mean error that an arm has.

    The interval resamples seeds with replacement, the same for arm and baseline at all counts, so that the luck they
    share stays shared: a bootstrap of the mean. Its percentiles are widened (Hesterberg 2015, "expanded percentile")
    to the width of a t interval, because plain percentiles of few seeds cover too little. Simulated coverage of 95 %
    intervals: 0.91 with 5 seeds, 0.95 with 8 and 10.

    Args:
        counts: (k,) label counts of the baseline, positive, increasing.
        baseline: (n, k) errors of the baseline by seed and count.
        arm: (n,) errors of the arm, in the same order of seeds.
        least: what an error of zero counts as, positive: half an error in the test set, 1 / (2 num_test).
        level: coverage of the interval, which is NaN below `FEWEST_UNITS` seeds.

    Raises:
        ValueError: shapes do not fit, counts do not increase, or a value is not finite.
    """
    x, b, a = (np.asarray(v, dtype=np.float64) for v in (counts, baseline, arm))
    if b.shape != (len(a), len(x)) or not (np.isfinite(b).all() and np.isfinite(a).all()):
        raise ValueError(f"expected finite errors of shapes (n, {len(x)}) and (n,), got {b.shape} and {a.shape}")
    if not (x > 0).all() or not (np.diff(x) > 0).all():
        raise ValueError(f"expected positive increasing label counts, got {list(x)}")
    n = len(a)
    if n == 0:
        return LabelsNeeded(math.nan, math.nan, math.nan, 0)
    needed = float(read_curve(x, nonincreasing(b.mean(axis=0)[None]), a.mean()[None], least)[0])
    if n < FEWEST_UNITS:
        return LabelsNeeded(needed, math.nan, math.nan, n)
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    found = np.sort(read_curve(x, nonincreasing(b[draws].mean(axis=1)), a[draws].mean(axis=1), least))
    tail = float(special.ndtr(math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 - level) / 2)))
    # Order statistics, not interpolated: between an infinite value and a finite one there is nothing.
    cut = math.floor(tail * RESAMPLES)
    return LabelsNeeded(needed, float(found[cut]), float(found[RESAMPLES - 1 - cut]), n)
