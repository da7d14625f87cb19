"""Power of the exact sign-flip test, which decides the verdicts: simulated with normal differences, seeded.

A plan is judged at the strictest step of Holm's correction over its family, alpha / family. There the test is coarser
than the t test where pairs are few: with 8 pairs and a family of 4 it has power 0.54 where the t test has 0.74. Beyond
`EXACT_UP_TO` pairs the two differ by less than 0.01 and the t test's power is taken (`power`).

Whether one sample is shown needs no list of all 2^n sums. Let its sum be positive. Flipping the signs of a set of pairs
gives a sum at least as large in absolute value where the set's own sum is at most zero, or the rest's is; so p is the
share of sets with a sum of at most zero, over 2^(n-1). Those are counted from the sums of two halves, sorted together.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from ssgan_bench.reporting.power import MOST_PAIRS, POWER, detectable_effect, paired_t_power, pairs_for
from ssgan_bench.reporting.stats import EXACT_UP_TO, pairs_needed

ALPHA = 0.05
MOST_DRAWS = 6000
"""Simulated samples: a power near 0.8 has a standard error of at most 0.006."""
MOST_SUMS = 2**20
"""Half sums held at once, which leaves 2,048 samples at 16 pairs and 512 at 20. Their standard error stays below 0.006,
for only where the two tests disagree is simulated: in 1 to 3 % of such samples."""


@functools.lru_cache(maxsize=32)
def _noise(n: int) -> NDArray[np.float64]:
    """Draw standard normal differences, (draws, n): the same for every effect, so that power varies smoothly."""
    draws = min(MOST_DRAWS, MOST_SUMS // 2 ** ((n + 1) // 2 + 1))
    noise = np.random.default_rng(n).standard_normal((draws, n))
    noise.flags.writeable = False
    return noise


def _subset_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum every subset of each row: (draws, k) -> (draws, 2^k)."""
    sums = np.zeros((len(values), 1))
    for column in values.T:
        sums = np.concatenate([sums, sums + column[:, None]], axis=1)
    return sums


def sign_flip_p_values(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exact two-sided sign-flip p of each row, as `stats.sign_flip_p` without ties: (draws, n) -> (draws,)."""
    n = samples.shape[1]
    positive = samples * np.where(samples.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    left, right = _subset_sums(positive[:, : n // 2]), -_subset_sums(positive[:, n // 2 :])
    order = np.argsort(np.concatenate([left, right], axis=1), axis=1, kind="stable")
    is_left = order < left.shape[1]
    at_most_zero = np.sum(np.cumsum(is_left, axis=1) * ~is_left, axis=1)  # pairs of halves with left <= -right
    return np.asarray(at_most_zero / 2.0 ** (n - 1))


@functools.lru_cache(maxsize=512)
def exact_power(effect_in_sd: float, n: int, family: int, alpha: float = ALPHA) -> float:
    """Probability that the sign-flip test shows a true difference at the strictest step of Holm's correction.

    Args:
        effect_in_sd: true mean of the paired differences over their standard deviation.
        n: pairs; NaN is returned below 2.
        family: number of comparisons that share the level, at least 1.
        alpha: level of the family.

    Raises:
        ValueError: the effect is not finite or the family is empty.
    """
    if not math.isfinite(effect_in_sd) or family < 1:
        raise ValueError(f"expected a finite effect and a family of at least 1, got {effect_in_sd} and {family}")
    if n < 2:
        return math.nan
    if n > EXACT_UP_TO:
        return paired_t_power(effect_in_sd, n, alpha / family)
    samples, level = _noise(n) + abs(effect_in_sd), alpha / family
    shown = sign_flip_p_values(samples) <= level * (1 + 1e-9)
    t = np.abs(samples.mean(axis=1)) * math.sqrt(n) / samples.std(axis=1, ddof=1)
    shown_by_t = t >= special.stdtrit(n - 1, 1 - level / 2)
    difference = float(np.mean(shown)) - float(np.mean(shown_by_t))  # of the same samples, so mostly equal
    return min(max(paired_t_power(effect_in_sd, n, level) + difference, 0.0), 1.0)


def pairs_needed_exact(effect_in_sd: float, family: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """Fewest pairs with which the sign-flip test has the given power; infinity beyond `MOST_PAIRS`.

    The search starts at the t test's number: no exact test of normal differences has more power than that.

    Raises:
        ValueError: the effect is zero or not finite.
    """
    fewest = pairs_for(effect_in_sd, alpha / family, power)
    if math.isinf(fewest):
        return fewest
    n = max(int(fewest), pairs_needed(family, alpha))
    while n <= MOST_PAIRS and exact_power(effect_in_sd, n, family, alpha) < power:
        n += 1
    return n if n <= MOST_PAIRS else math.inf


@functools.lru_cache(maxsize=64)
def detectable_effect_exact(n: int, family: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """Smallest true effect, in standard deviations, that the sign-flip test shows with the given power.

    NaN below 2 pairs; infinity where the p floor of n pairs is above the level, so that nothing can be shown.
    """
    if n < 2:
        return math.nan
    if n < pairs_needed(family, alpha):
        return math.inf
    low = detectable_effect(n, alpha / family, power)
    if n > EXACT_UP_TO:
        return low
    high = 1.5 * low
    while exact_power(high, n, family, alpha) < power:
        high *= 1.5
    low *= 0.9  # no exact test has more power than the t test, but a simulation may
    return float(optimize.brentq(lambda effect: exact_power(effect, n, family, alpha) - power, low, high, xtol=2e-3))
