"""Numbers and conditions in words: the only place where a rate becomes a percentage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.evidence import Evidence
from ssgan_bench.reporting.frames import Condition, Level
from ssgan_bench.reporting.stats import Estimate

PERCENT = 100.0
"""What a rate is multiplied by."""
NONE = "–"
"""Shown where a quantity does not exist."""


@dataclass(frozen=True)
class Unit:
    """How the study's metric is written."""

    name: str
    """In running text, e.g. "test error"."""
    axis: str
    """With the unit, for an axis or a table head."""
    scale: float
    """What a stored value is multiplied by."""
    suffix: str
    """After a value in running text."""
    difference: str
    """Unit of a difference in running text, with a leading space; empty without one."""
    decimals: int
    limits: tuple[float, float]
    """What a stored value can be at all; a t interval of few seeds goes further."""

    @property
    def in_difference(self) -> str:
        """For after "difference", e.g. " in percentage points"; empty without a unit."""
        return f" in{self.difference}" if self.difference else ""


def unit_of(evidence: Evidence) -> Unit:
    """Choose the notation of the study's metric; one more decimal where the sets evaluated are large."""
    metric, evaluated_on = evidence.study.metric, evidence.study.evaluated_on
    if metric == "error_rate":
        sizes = evidence.runs[f"num_{evaluated_on}"].dropna()
        decimals = 2 if len(sizes) and float(sizes.min()) >= 2000 else 1
        name = f"{evaluated_on} error"
        return Unit(name, f"{name} (%)", PERCENT, " %", " percentage points", decimals, (0.0, 1.0))
    names = {"nll": f"{evaluated_on} negative log-likelihood", "ece": f"{evaluated_on} calibration error"}
    name = names.get(metric, metric)
    axis = f"{name} (nats)" if metric == "nll" else name
    limits = (0.0, math.inf) if metric == "nll" else (0.0, 1.0)
    return Unit(name, axis, 1.0, " nats" if metric == "nll" else "", " nats" if metric == "nll" else "", 3, limits)


def number(value: float, decimals: int, *, sign: bool = False) -> str:
    """Write a number with fixed decimals and a true minus sign; a dash for NaN."""
    if not math.isfinite(value):
        return NONE
    text = f"{value:.{decimals}f}"
    zero = float(text) == 0
    text = text.lstrip("-")
    return text if zero else f"−{text}" if value < 0 else f"+{text}" if sign else text


def p_text(p: float) -> str:
    """Write a p value with two significant digits, ties away from zero: exact p values such as 1/8 often tie."""
    if not math.isfinite(p):
        return NONE
    if p < 1e-4:
        return f"{p:.0e}"
    digits = max(2, 1 - math.floor(math.log10(p)))
    rounded = Decimal(p).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return "1" if rounded == 1 else f"{rounded:f}"


def possible(estimate: Estimate, unit: Unit, *, difference: bool = False) -> tuple[float, float]:
    """Cut an interval at what the metric, or a difference of two values of it, can be; NaN ends stay NaN.

    For what is shown only: a t interval of few seeds knows no limits, and the CSV files keep it whole.
    """
    lowest, highest = unit.limits
    if difference:
        lowest, highest = lowest - highest, highest - lowest
    # max and min would turn NaN into a limit, depending on their order.
    low = lowest if estimate.low < lowest else estimate.low
    return low, highest if estimate.high > highest else estimate.high


def estimate_text(estimate: Estimate, unit: Unit, *, sign: bool = False) -> str:
    """Write a mean with its interval, e.g. "12.3 [11.8, 12.8]"; the mean alone where there is no interval.

    Args:
        estimate: in the stored unit.
        unit: how it is written, and what it can be.
        sign: whether it is a difference, written with its sign.
    """
    low, high = possible(estimate, unit, difference=sign)
    mean, low_text, high_text = (number(unit.scale * x, unit.decimals, sign=sign) for x in (estimate.mean, low, high))
    return mean if low_text == NONE else f"{mean} [{low_text}, {high_text}]"


def level_text(level: Level) -> str:
    """Write a level: thousands separated, floats short, booleans as true and false."""
    if isinstance(level, bool):
        return str(level).lower()
    if isinstance(level, int):
        return f"{level:,}"
    return f"{level:g}" if isinstance(level, float) else level


def condition_text(condition: Condition, factors: Sequence[FactorInfo]) -> str:
    """Write a condition with the factors' labels, e.g. "Labeled images = 20, Width = 64"."""
    pairs = zip(factors, condition, strict=True)
    return ", ".join(f"{factor.label} = {level_text(level)}" for factor, level in pairs)


def conditions_text(found: Sequence[Condition], factors: Sequence[FactorInfo]) -> str:
    """Write several conditions briefly, e.g. "Labeled images = 20, 50 and 100"."""
    if len(factors) == 1:
        return f"{factors[0].label} = {listed([level_text(condition[0]) for condition in found])}"
    return listed([f"({condition_text(condition, factors)})" for condition in found])


def listed(items: Sequence[str]) -> str:
    """Join items as prose: "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def counted(n: int, noun: str) -> str:
    """Write a count with its noun in the right number, e.g. "1 run", "2 runs"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def range_text(numbers: Sequence[float], decimals: int = 0) -> str:
    """Write the span of some numbers, or the one value they share; a dash where there is none."""
    finite = [n for n in numbers if math.isfinite(n)]
    if not finite:
        return NONE
    low, high = (f"{f(finite):,.{decimals}f}" for f in (min, max))
    return low if low == high else f"{low}–{high}"
