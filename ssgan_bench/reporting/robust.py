"""Tests that hold where runs of one arm now and then collapse, so that paired differences are far from symmetric.

What each p is about and needs; all need independent pairs:

- sign-flip test (`stats`): differences symmetric about zero. It reads sizes; its 5 % are 10 to 17 % for skewed ones.
- sign test: a pair is as likely better as worse, so that the median difference is zero. No shape is assumed.
- McNemar's test: the two arms collapse equally often. No shape is assumed, and nothing is said about runs that work.
- interval of the 20 % trimmed mean (Yuen 1974): what the middle of the differences does. Approximate: 95 % were
  92 to 95 % in simulations with collapses and with lognormal differences.

None is about the mean. No test of n runs is, at every shape (Bahadur and Savage 1956): with collapses in 5 % of the
runs, 8 runs have none in two studies of three, and nothing in them tells of the mean that the collapses would move. A
study therefore says two things apart: what the typical pair does, and how often each arm collapses.

Simulated at 5 %, with n = 8, 9 and 16: an arm equal to the other but for collapses by 8 standard deviations in 5 % of
its runs is called different by sign flips in 5 to 7 %, by `decisive_p` in 4 %. Lognormal differences with median zero:
6 to 17 % by sign flips, at most 5 % by the sign test. With their means moved to zero instead, so that the typical pair
does differ, sign flips, sign test and both together show that difference in 10 to 15, 2 to 22 and 2 to 11 %.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ssgan_bench.reporting.stats import Estimate, sign_flip_p

TRIM = 0.2
"""Share of the differences left out at each end."""


def _two_sided_binomial(successes: int, n: int) -> float:
    """Exact two-sided p of `successes` in n fair draws; 1 for n = 0."""
    if n == 0:
        return 1.0
    return min(1.0, 2.0 * float(special.bdtr(min(successes, n - successes), n, 0.5)))


def sign_test_p(differences: ArrayLike) -> float:
    """Exact two-sided sign test: is a pair as likely below zero as above? Pairs of difference zero are left out.

    Args:
        differences: (n,) finite.

    Returns:
        p; NaN for an empty list, 1 where all differences are zero.
    """
    array = np.asarray(differences, dtype=np.float64)
    if not array.size:
        return math.nan
    return _two_sided_binomial(int(np.sum(array < 0)), int(np.sum(array != 0)))


def mcnemar_p(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Exact two-sided McNemar test: do two arms collapse equally often? Counts pairs in which one of the two did.

    Args:
        ours: (n,) whether each run of one arm collapsed.
        theirs: (n,) the same of the runs they are paired with.

    Returns:
        p; NaN without pairs, 1 where no pair tells the arms apart.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = np.asarray(ours, dtype=np.bool_), np.asarray(theirs, dtype=np.bool_)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"expected two flat lists of equal length, got shapes {a.shape} and {b.shape}")
    if not a.size:
        return math.nan
    return _two_sided_binomial(int(np.sum(a & ~b)), int(np.sum(a != b)))


def decisive_p(differences: ArrayLike, *, any_collapsed: bool) -> float:
    """P value that a verdict rests on, before Holm's correction.

    The sign-flip p; where a run of either arm collapsed, the larger one of it and the sign test's, so that both have to
    reject, and 1 where the typical pair goes the other way than the mean. NaN below two pairs.

    Args:
        differences: (n,) finite.
        any_collapsed: whether a run of the pairs, of either arm, collapsed.
    """
    array = np.asarray(differences, dtype=np.float64)
    if array.size < 2:
        return math.nan
    p = sign_flip_p(array)
    if not any_collapsed:
        return p
    typical = int(np.sum(array > 0)) - int(np.sum(array < 0))
    return max(p, sign_test_p(array)) if typical * float(array.mean()) > 0 else 1.0


def trimmed_mean_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Estimate the 20 % trimmed mean with Yuen's t interval (winsorized standard deviation, h - 1 degrees of freedom).

    Without the floor(n / 5) smallest and largest values, h remain; below five values nothing is left out and it is the
    mean with its t interval.

    Args:
        values: (n,) finite.
        level: coverage, approximate.

    Returns:
        `sd` is the winsorized standard deviation over the share kept; `low`, `high` and `sd` are NaN for n < 2.
    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    n = len(array)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    cut = int(TRIM * n)
    mean = float(array[cut : n - cut].mean())
    if n == 1:
        return Estimate(mean, math.nan, math.nan, math.nan, 1)
    winsorized = np.clip(array, array[cut], array[n - cut - 1])
    sd = float(winsorized.std(ddof=1)) / (1 - 2 * cut / n)
    half = float(special.stdtrit(n - 2 * cut - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, sd, n)
