"""How many seeds a difference takes: power of the two-sided paired t test, by the noncentral t distribution.

The verdicts rest on the exact sign-flip test, whose own power is in `exact_power`. The t test's is its limit for many
pairs and a bound for few: with 8 pairs and a level of 0.05 / 6 the exact test has power 0.67 where the t test has 0.8.
"""

import math

from scipy import optimize, special

POWER = 0.8
"""Probability of showing a true difference that a plan asks for, by convention."""
MOST_PAIRS = 100_000
"""Beyond this many pairs the answer is "no affordable number"."""


def paired_t_power(effect: float, pairs: int, alpha: float = 0.05) -> float:
    """Probability that a two-sided paired t test shows a true difference.

    Args:
        effect: true mean of the differences over their standard deviation.
        pairs: number of pairs; NaN is returned below 2.
        alpha: level of the test.
    """
    if pairs < 2:
        return math.nan
    df, center = pairs - 1, abs(effect) * math.sqrt(pairs)
    critical = float(special.stdtrit(df, 1 - alpha / 2))
    # Rejecting on the wrong side is less likely than a normal below -center: 1e-9 at 6, beyond which SciPy gives NaN.
    wrong_side = float(special.nctdtr(df, center, -critical)) if center < 6 else 0.0
    missed = float(special.nctdtr(df, center, critical))
    return 1 - (0.0 if math.isnan(missed) else missed) + wrong_side  # NaN where it underflows


def pairs_for(effect: float, alpha: float = 0.05, power: float = POWER) -> float:
    """Fewest pairs with which a paired t test shows a true effect with the given power.

    Args:
        effect: true mean of the differences over their standard deviation, not zero.
        alpha: level of the test.
        power: wanted probability of showing it.

    Returns:
        A whole number, or infinity where more than `MOST_PAIRS` would be needed.

    Raises:
        ValueError: the effect is zero or not finite.
    """
    if not math.isfinite(effect) or effect == 0:
        raise ValueError(f"expected an effect other than zero, got {effect}")
    enough = 2
    while paired_t_power(effect, enough, alpha) < power:
        if enough > MOST_PAIRS:
            return math.inf
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if paired_t_power(effect, middle, alpha) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def detectable_effect(pairs: int, alpha: float = 0.05, power: float = POWER) -> float:
    """Smallest true effect that a paired t test shows with the given power; NaN below 2 pairs."""
    if pairs < 2:
        return math.nan
    high = 1.0
    while paired_t_power(high, pairs, alpha) < power:
        high *= 2
    return float(optimize.brentq(lambda effect: paired_t_power(effect, pairs, alpha) - power, 0.0, high))
