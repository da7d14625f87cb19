"""Held against published values: is a mean within two standard errors of what others report for the same runs?"""

import math
from dataclasses import dataclass

from ssgan_bench.records.schema import PublishedValue
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.frames import SEEDS_FOR_A_CLAIM, Mean, condition_of
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import NONE, condition_text, estimate_text, number

MOST_ERRORS = 2.0
"""Standard errors of the difference within which a mean agrees with a published one."""
PATH = "tables/published.csv"
PUBLISHED = ("published_mean", "published_sd", "published_n")
COMPARED = ("difference", "standard error", "within two standard errors")


@dataclass(frozen=True)
class AgainstPublished:
    """A mean beside a published one, in the unit of the metric."""

    own: Mean
    published: PublishedValue

    @property
    def difference(self) -> float:
        """Own minus published mean; NaN without a run."""
        return self.own.estimate.mean - self.published.mean

    @property
    def standard_error(self) -> float:
        """Of the difference of two independent means with standard deviations of their own; NaN for n < 2."""
        own, published = self.own.estimate, self.published
        if own.n < 2:
            return math.nan
        return math.sqrt(own.sd**2 / own.n + published.sd**2 / published.n)

    @property
    def agrees(self) -> bool | None:
        """Whether the difference is within two standard errors; None where there is no standard error."""
        if math.isnan(self.standard_error):
            return None
        return abs(self.difference) <= MOST_ERRORS * self.standard_error


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
    """Say of each published value whether the mean here agrees with it."""
    return [_sentence(row, analysis) for row in against_published(analysis) if row.agrees is not None]


def _sentence(row: AgainstPublished, analysis: Analysis) -> str:
    study, unit, own, value = analysis.evidence.study, analysis.unit, row.own.estimate, row.published
    where = condition_text(row.own.condition, study.factors)
    within = "within" if row.agrees else "NOT within"
    whose = f"{value.source}, {value.n} repetitions"
    inside = "contains it" if own.low <= value.mean <= own.high else "does not contain it"
    few = f"; {own.n} {analysis.unit_noun}s, so this is an indication" if own.n < SEEDS_FOR_A_CLAIM else ""
    return (
        f"Published: {published_text(value, unit.scale)}{unit.suffix} at {where} ({whose}); here "
        f"{estimate_text(own, unit)}{unit.suffix}, which is {within} two standard errors of it "
        f"(difference {number(unit.scale * row.difference, unit.decimals, sign=True)}, standard error "
        f"{number(unit.scale * row.standard_error, unit.decimals + 1)}{unit.difference}; the t interval here, which "
        f"allows for the unknown spread, {inside}{few})."
    )


def _verdict(row: AgainstPublished) -> str:
    return {True: "yes", False: "no", None: NONE}[row.agrees]


def section(analysis: Analysis, csv: dict[str, str]) -> Section:
    """Build the section: every published value beside the mean of the same arm and condition."""
    unit, rows = analysis.unit, against_published(analysis)
    csv[PATH] = csv_text(
        ["arm", *keys_of(analysis), "mean", "sd", "n", *PUBLISHED, "difference", "standard_error", "source"],
        (
            {"arm": row.own.arm, **levels_of(row.own.condition, analysis), **vars(row.own.estimate)}
            | {f"published_{name}": getattr(row.published, name) for name in ("mean", "sd", "n")}
            | {"difference": row.difference, "standard_error": row.standard_error, "source": row.published.source}
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
                number(unit.scale * row.difference, unit.decimals, sign=True),
                number(unit.scale * row.standard_error, unit.decimals + 1),
                _verdict(row),
            )
            for row in rows
        ),
        f"{unit.axis[0].upper()}{unit.axis[1:]}. Published: mean ± standard deviation. Here: mean [95 % t interval]. "
        "Standard error: of the difference of the two means, each with its own standard deviation.",
        PATH,
        left=2 + len(factors),
    )
    text = (
        "A published value is no arm of this study: other code, other labeled images, other machines. Agreement within "
        f"two standard errors is no proof of equality. With fewer than {SEEDS_FOR_A_CLAIM} {analysis.unit_noun}s their "
        "standard deviation is hardly known, and neither agreement nor disagreement says much."
    )
    return Section("published", "Against published values", (Text(text), table))
