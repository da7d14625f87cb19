"""Held against published values: does Welch's interval of the difference of two means contain zero?"""

import math
from dataclasses import dataclass

from scipy import special

from ssgan_bench.records.schema import PublishedValue
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.frames import SEEDS_FOR_A_CLAIM, Mean, condition_of
from ssgan_bench.reporting.stats import Estimate
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import NONE, condition_text, estimate_text, number

FEWEST = 4
"""Runs below which nothing is judged: their standard deviation is hardly known."""
LEVEL = 0.95
PATH = "tables/published.csv"
PUBLISHED = ("published_mean", "published_sd", "published_n")
NUMBERS = ("difference", "low", "high", "standard_error", "degrees_of_freedom", "agrees")
COMPARED = ("difference [95 %]", "degrees of freedom", "agrees")


@dataclass(frozen=True)
class AgainstPublished:
    """A mean beside a published one, in the unit of the metric."""

    own: Mean
    published: PublishedValue

    @property
    def standard_error(self) -> float:
        """Of the difference of two independent means with standard deviations of their own; NaN for n < 2."""
        own, published = self.own.estimate, self.published
        if own.n < 2:
            return math.nan
        return math.sqrt(own.sd**2 / own.n + published.sd**2 / published.n)

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's, for the difference of two means (Welch 1947); NaN for n < 2 or without any spread."""
        own, published = self.own.estimate, self.published
        if not self.standard_error > 0:
            return math.nan
        parts = ((own.sd**2 / own.n, own.n), (published.sd**2 / published.n, published.n))
        return self.standard_error**4 / sum(part**2 / (n - 1) for part, n in parts)

    @property
    def difference(self) -> Estimate:
        """Own minus published mean with Welch's 95 % t interval; its `sd` is the standard error, its `n` our own.

        Without any spread the interval is one point; NaN ends for n < 2, a NaN mean without a run.
        """
        own, error = self.own.estimate, self.standard_error
        mean, df = own.mean - self.published.mean, self.degrees_of_freedom
        half = float(special.stdtrit(df, (1 + LEVEL) / 2)) * error if error > 0 else error
        return Estimate(mean, mean - half, mean + half, error, own.n)

    @property
    def agrees(self) -> bool | None:
        """Whether the interval of the difference contains zero; None with fewer than `FEWEST` runs."""
        if self.own.estimate.n < FEWEST:
            return None
        return self.difference.low <= 0 <= self.difference.high


def against_published(analysis: Analysis) -> list[AgainstPublished]:
    """Find the mean that belongs to each published value, in their order."""
    factors = analysis.evidence.study.factors
    own = {(mean.arm, mean.condition): mean for mean in analysis.means}
    return [
        AgainstPublished(own[value.arm, condition_of(value.levels, factors)], value)
        for value in analysis.evidence.study.published
    ]


def published_text(value: PublishedValue, scale: float) -> str:
    """Write mean and standard deviation, multiplied by `scale`, e.g. "0.93 ± 0.065"."""
    return f"{number(scale * value.mean, 2)} ± {scale * value.sd:.3g}"


def sentences(analysis: Analysis) -> list[str]:
    """Say of each published value whether the mean here agrees with it; nothing where there is no run."""
    return [_sentence(row, analysis) for row in against_published(analysis) if row.own.estimate.n]


def _sentence(row: AgainstPublished, analysis: Analysis) -> str:
    study, unit, own, value = analysis.evidence.study, analysis.unit, row.own.estimate, row.published
    where = condition_text(row.own.condition, study.factors)
    start = (
        f"Published: {published_text(value, unit.scale)}{unit.suffix} at {where} ({value.source}, {value.n} "
        f"repetitions); here {estimate_text(own, unit)}{unit.suffix}"
    )
    if row.agrees is None:
        return f"{start}: too few runs to judge ({own.n}; it takes {FEWEST})."
    few = f"; {own.n} {analysis.unit_noun}s, so this is an indication" if own.n < SEEDS_FOR_A_CLAIM else ""
    return (
        f"{start}, which {'agrees' if row.agrees else 'does NOT agree'} with it (difference "
        f"{estimate_text(row.difference, unit, sign=True)}{unit.difference}, Welch's 95 % t interval{few})."
    )


def _verdict(row: AgainstPublished) -> str:
    return {True: "yes", False: "no", None: "too few runs"}[row.agrees]


def section(analysis: Analysis, csv: dict[str, str]) -> Section:
    """Build the section: every published value beside the mean of the same arm and condition."""
    unit, rows = analysis.unit, against_published(analysis)
    csv[PATH] = csv_text(
        ["arm", *keys_of(analysis), "mean", "sd", "n", *PUBLISHED, *NUMBERS, "source"],
        (
            {"arm": row.own.arm, **levels_of(row.own.condition, analysis), **vars(row.own.estimate)}
            | {f"published_{name}": getattr(row.published, name) for name in ("mean", "sd", "n")}
            | {"difference": row.difference.mean, "low": row.difference.low, "high": row.difference.high}
            | {"standard_error": row.standard_error, "degrees_of_freedom": row.degrees_of_freedom}
            | {"agrees": _verdict(row), "source": row.published.source}
            for row in rows
        ),
    )
    factors = analysis.evidence.study.factors
    table = Table(
        ("arm", *(f.label for f in factors), "source", "published", "here", "n", *COMPARED),
        tuple(
            (
                analysis.label(row.own.arm),
                *texts_of(row.own.condition),
                row.published.source,
                published_text(row.published, unit.scale),
                estimate_text(row.own.estimate, unit),
                str(row.own.estimate.n),
                estimate_text(row.difference, unit, sign=True) if row.own.estimate.n else NONE,
                number(row.degrees_of_freedom, 1),
                _verdict(row),
            )
            for row in rows
        ),
        f"{unit.axis[0].upper()}{unit.axis[1:]}. Published: mean ± standard deviation. Here: mean [95 % t interval]. "
        "Difference: here minus published, with Welch's interval and Satterthwaite's degrees of freedom, since each "
        "mean has its own standard deviation. Agrees: the interval contains zero.",
        PATH,
        left=2 + len(factors),
    )
    text = (
        "A published value is no arm of this study: other code, other labeled images, other machines. Of truly "
        "equal results 5 % do not agree; agreement is no proof of equality, least of all where the interval is wide. "
        f"With fewer than {FEWEST} runs nothing is judged."
    )
    return Section("published", "Against published values", (Text(text), table))
