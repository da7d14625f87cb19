"""The tables of a report: each one as rendered text (`Table`) and as numbers (CSV text)."""

import math
from collections.abc import Sequence
from typing import Any

from ssgan_bench.reporting import collapse
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Table
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.frames import Comparison, Condition, conditions
from ssgan_bench.reporting.signs import mark, signs
from ssgan_bench.reporting.wording import (
    NONE,
    condition_text,
    counted,
    estimate_text,
    level_text,
    number,
    p_text,
    range_text,
)


def levels_of(condition: Condition, analysis: Analysis) -> dict[str, Any]:
    """Key a condition's levels by the factors' keys."""
    return dict(zip((f.key for f in analysis.evidence.study.factors), condition, strict=True))


def keys_of(analysis: Analysis) -> list[str]:
    """List the factors' keys."""
    return [factor.key for factor in analysis.evidence.study.factors]


def texts_of(condition: Condition) -> tuple[str, ...]:
    """Write each level of a condition."""
    return tuple(level_text(level) for level in condition)


def main_table(analysis: Analysis) -> Table:
    """Mean metric with interval and n: one row per arm, one column per condition."""
    study, unit = analysis.evidence.study, analysis.unit
    found = {(m.arm, m.condition): m for m in analysis.means}
    marks = {(group.arm, group.condition): mark(group) for group in signs(analysis.evidence)}
    shown = conditions(study)
    usual = max((m.planned for m in analysis.means), default=0)
    crossed = analysis.unit_noun == "split"
    rows = []
    for arm in study.arms:
        cells = [arm.label]
        for c in shown:
            mean = found.get((arm.name, c))
            if mean is None:
                cells.append(NONE)
            else:
                lost = f"{mean.runs} of {mean.planned} runs" if crossed else f"n={mean.runs} of {mean.planned}"
                notes = ([] if mean.runs == usual else [lost]) + [marks.get((arm.name, c), "")]
                beside = ", ".join(filter(None, notes))
                cells.append(f"{estimate_text(mean.estimate, unit)}{f' ({beside})' if beside else ''}")
        rows.append(tuple(cells))
    heads = [condition_text(c, study.factors) if study.factors else unit.axis for c in shown]
    with_interval = any(not math.isnan(m.estimate.low) for m in analysis.means)
    over = "mean [95 % t interval] over" if with_interval else "mean, no interval, over" if usual > 1 else "from"
    fewer = ", fewer where given" if any(m.runs != usual for m in analysis.means) else ""
    splits = range_text([m.estimate.n for m in analysis.means])
    grouped = f" averaged within n = {splits} splits" if crossed else ""
    head = f"{unit.axis[0].upper()}{unit.axis[1:]}"
    caption = f"{head}: {over} {counted(usual, 'run')}{grouped}{fewer}. Lower is better."
    return Table(("arm", *heads), tuple(rows), caption, "tables/main.csv")


def main_csv(analysis: Analysis) -> str:
    """The main table as numbers, rates in [0, 1]."""
    columns = ["arm", *keys_of(analysis), "metric", "mean", "low", "high", "sd", "n", "runs", "planned"]
    return csv_text(
        columns,
        (
            {"arm": m.arm, **levels_of(m.condition, analysis), "metric": analysis.evidence.study.metric}
            | {**vars(m.estimate), "runs": m.runs, "planned": m.planned}
            for m in analysis.means
        ),
    )


def holm_text(row: Comparison) -> str:
    """Write the adjusted p value that decides, or that the comparison is none of the declared tests."""
    return p_text(row.decisive_p_holm) if row.in_family else "not in the family"


def better_in(share: float, n: int) -> str:
    """Write in how many pairs an arm is better, ties counting half, e.g. "7 of 8"."""
    return f"{share * n:g} of {n}" if n else NONE


def differences_table(analysis: Analysis) -> Table:
    """Paired differences to the baseline with interval, p values and effect size."""
    study, unit = analysis.evidence.study, analysis.unit
    with_margin = study.margin is not None
    rows = [
        (
            analysis.label(row.arm),
            *texts_of(row.condition),
            estimate_text(row.difference, unit, sign=True),
            analysis.verdict_text(row.verdict),
            p_text(row.p),
            holm_text(row),
            *([p_text(row.tost_p_holm)] if with_margin else []),
            number(row.g_z, 2, sign=True),
            better_in(row.share_better, row.difference.n),
        )
        for row in analysis.comparisons
    ]
    outside = "; what is outside is described, not tested" if analysis.described else ""
    heads = ("difference", "verdict", "p", "p (Holm)", *(["p equivalent (Holm)"] if with_margin else []), "g_z")
    equivalent = (
        f" p equivalent: two one-sided t tests of a difference below {analysis.margin_text}, after Holm over the same "
        "comparisons."
    )
    return Table(
        ("arm", *(f.label for f in study.factors), *heads, "better in"),
        tuple(rows),
        f"Difference{unit.in_difference}: arm minus {analysis.label(study.baseline)}, paired by {analysis.unit_noun}, "
        "negative is better, with its 95 % t interval (not corrected); exact two-sided sign-flip p; "
        f"after Holm over {analysis.family_text}{outside}; Hedges' g_z; better in: {analysis.unit_noun}s in which the "
        f"arm is better, ties half. Verdict: at 5 % after Holm.{_where_collapsed(analysis)}"
        f"{equivalent if with_margin else ''} {ASSUMPTIONS}",
        "tables/differences.csv",
    )


ROBUST_COLUMNS = (
    "interquartile mean",
    "20 % trimmed mean",
    "probability of improvement",
    "sign test p",
    "collapsed",
    "collapse p",
    "n",
)
ASSUMPTIONS = (
    "What each number assumes besides independent pairs: sign-flip p, that differences are symmetric about zero under "
    "the null; sign test and McNemar p, nothing; t intervals and equivalence, nearly normal differences."
)


def _where_collapsed(analysis: Analysis) -> str:
    """Say that a second test decides too, where a run of the family collapsed."""
    if not any(any(row.collapses) for row in analysis.family):
        return ""
    return (
        " Where a run of either arm collapsed, the larger p of sign-flip and sign test enters Holm's correction; "
        "“observed” is what sign flips alone would show."
    )


def robust_table(analysis: Analysis) -> Table:
    """Summaries that depend less on single runs than means do (Agarwal et al. 2021)."""
    unit = analysis.unit
    rows = [
        (
            analysis.label(row.arm),
            *texts_of(row.condition),
            number(unit.scale * row.iqm, unit.decimals, sign=True),
            estimate_text(row.trimmed, unit, sign=True),
            number(row.improvement, 2),
            p_text(row.sign_p),
            f"{row.collapses[0]} / {row.collapses[1]}",
            p_text(row.collapse_p),
            str(row.difference.n),
        )
        for row in analysis.comparisons
    ]
    caption = (
        f"Interquartile mean of the n paired differences{unit.in_difference}: the mean of their middle half (of all "
        f"below n = 4), negative is better. Probability of improvement: of a run of the arm having a lower {unit.name} "
        f"than a run of {analysis.label(analysis.evidence.study.baseline)}, whatever the seeds; 0.5 is no order. "
        "Trimmed mean: without a fifth of the differences at either end, 95 % interval after Yuen. Sign test p: of as "
        f"many better as worse pairs. Collapsed: runs of arm / baseline {collapse.RULE}; p: exact McNemar test of "
        "equally many. Sign test p and collapse p are not corrected."
    )
    factors = analysis.evidence.study.factors
    columns = ("arm", *(f.label for f in factors), *ROBUST_COLUMNS)
    return Table(columns, tuple(rows), caption, "tables/differences.csv")


def _difference_row(row: Comparison, analysis: Analysis, reading: str) -> dict[str, Any]:
    identity = {"reading": reading, "arm": row.arm, **levels_of(row.condition, analysis)}
    shown = ("p", "in_family", "p_holm", "g_z", "verdict", "iqm", "share_better", "tost_p", "tost_p_holm")
    robust = ("sign_p", "decisive_p_holm", "collapse_p")
    further = {"probability_of_improvement": row.improvement, "margin": analysis.evidence.study.margin}
    further |= {"collapsed": row.collapses[0], "baseline_collapsed": row.collapses[1]}
    further |= {f"trimmed_{name}": getattr(row.trimmed, name) for name in ("mean", "low", "high")}
    return identity | vars(row.difference) | {name: getattr(row, name) for name in (*shown, *robust)} | further


def differences_csv(analysis: Analysis) -> str:
    """The paired differences as numbers, in both readings of lost runs where there are any."""
    keys = keys_of(analysis)
    columns = ["reading", "arm", *keys, "mean", "low", "high", "sd", "n", "p", "in_family", "p_holm"]
    columns += [
        "sign_p",
        "decisive_p_holm",
        "collapsed",
        "baseline_collapsed",
        "collapse_p",
        "g_z",
        "iqm",
        "trimmed_mean",
        "trimmed_low",
        "trimmed_high",
        "share_better",
        "probability_of_improvement",
        "margin",
        "tost_p",
        "tost_p_holm",
        "verdict",
    ]
    rows = [_difference_row(row, analysis, "dropped") for row in analysis.comparisons]
    rows += [_difference_row(row, analysis, "counted_as_worst") for row in analysis.pessimistic]
    return csv_text(columns, rows)


def readings_table(analysis: Analysis) -> Table:
    """The comparisons that lost runs touch, with these runs dropped and counted as the worst case."""
    study, unit = analysis.evidence.study, analysis.unit
    rows = []
    for dropped, worst in zip(analysis.comparisons, analysis.pessimistic, strict=True):
        counts = dropped.difference.n != worst.difference.n or abs(dropped.difference.mean - worst.difference.mean) > 0
        if counts or dropped.verdict != worst.verdict:
            sides = ((estimate_text(r.difference, unit, sign=True), holm_text(r)) for r in (dropped, worst))
            verdicts = dict.fromkeys(analysis.verdict_text(row.verdict) for row in (dropped, worst))
            cells = (analysis.label(dropped.arm), *texts_of(dropped.condition), " → ".join(verdicts))
            rows.append((*cells, *(text for side in sides for text in side)))
    worst_text = f"{number(unit.scale * analysis.worst_case, unit.decimals)}{unit.suffix}"
    chance = "chance level, or the worst run where that is worse"
    origin = chance if study.metric == "error_rate" else "the worst value of any run"
    return Table(
        (
            *("arm", *(f.label for f in study.factors), "verdict"),
            *("difference, dropped", "p (Holm)", "difference, as worst", "p (Holm)"),
        ),
        tuple(rows),
        "Comparisons with lost runs, read twice: failed and diverged runs dropped, and each counted as "
        f"{worst_text} ({origin}). Missing runs are "
        "left out of both. Holm is over the declared family in each reading.",
        "tables/differences.csv",
        left=2 + len(study.factors),
    )


def plain(table: Table) -> str:
    """Write a table as aligned plain text for a terminal."""
    lines: Sequence[Sequence[str]] = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i < table.left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
