"""How many labels the baseline needs to match each arm: sentence, table and section."""

import math
from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure as Drawing

from ssgan_bench.reporting import figures
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Figure, Figures, Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.findings import Efficiency
from ssgan_bench.reporting.frames import panels
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import NONE, condition_text, range_text

MOST_LISTED = 4
"""Arms given one by one in a sentence."""
PATH = "tables/label_efficiency.csv"


def count_text(labels: float, row: Efficiency) -> str:
    """Write a number of labels; beyond the baseline's curve only on which side, e.g. ">240"."""
    if math.isnan(labels):
        return NONE
    if math.isinf(labels):
        return f"<{row.fewest:,}" if labels < 0 else f">{row.most:,}"
    return f"{round(labels):,}"


def needed_text(row: Efficiency) -> str:
    """Write the labels needed with their interval, e.g. "62 [48, >240]"."""
    needed, low, high = (count_text(x, row) for x in (row.labels.needed, row.labels.low, row.labels.high))
    return needed if low == NONE else f"{needed} [{low}, {high}]"


def sentences(analysis: Analysis) -> list[str]:
    """Say at the smallest declared level how many labels the baseline needs for the error of each arm."""
    study, rows = analysis.evidence.study, analysis.efficiency
    tested = [row for row in rows if row.condition[0] in study.family] or rows
    if not tested:
        return []
    place = min((row.condition for row in tested), key=lambda condition: float(condition[0]))
    here = sorted((row for row in rows if row.condition == place), key=lambda row: -row.labels.needed)
    parts = [f"{needed_text(row)} for {analysis.label(row.arm)}" for row in here[:MOST_LISTED]]
    few = f" (the {MOST_LISTED} largest of {len(here)})" if len(here) > MOST_LISTED else ""
    baseline = analysis.label(study.baseline)
    return [
        f"Label efficiency: to match the arms{analysis.at([place])}, the baseline {baseline} needs "
        f"this many labels [95 % bootstrap interval]{few}: {'; '.join(parts)}."
    ]


def _table(analysis: Analysis) -> Table:
    study, rows = analysis.evidence.study, analysis.efficiency
    return Table(
        ("arm", *(factor.label for factor in study.factors), "labels needed", "times as many", "n"),
        tuple(
            (
                analysis.label(row.arm),
                *texts_of(row.condition),
                needed_text(row),
                _ratio(row),
                str(row.labels.n),
            )
            for row in rows
        ),
        f"Labels needed by the baseline ({analysis.label(study.baseline)}) for the mean error of each arm, with a 95 % "
        "interval; and how many times the arm's own labels that is. < and >: beyond the measured levels, never "
        "extrapolated.",
        PATH,
    )


def _ratio(row: Efficiency) -> str:
    own, needed = float(row.condition[0]), row.labels.needed
    if not math.isinf(needed):
        return f"{needed / own:.1f}"
    end = (row.fewest if needed < 0 else row.most) / own
    return f"{'<' if needed < 0 else '>'}{end:.1f}"


def _csv(analysis: Analysis) -> str:
    columns = ["arm", *keys_of(analysis)]
    names = ("needed", "low", "high")
    columns += [column for name in names for column in (name, f"{name}_beyond")] + ["n"]
    records = []
    for row in analysis.efficiency:
        record = {"arm": row.arm, **levels_of(row.condition, analysis), "n": row.labels.n}
        for name in names:
            value = float(getattr(row.labels, name))
            beyond = math.isinf(value)
            record |= {name: None if beyond else value, f"{name}_beyond": count_text(value, row) if beyond else ""}
        records.append(record)
    return csv_text(columns, records)


def section(analysis: Analysis, csv: dict[str, str], drawings: dict[str, Callable[[], Drawing]]) -> Section:
    """Build the section: a figure per panel, the table, and how the numbers were made."""
    study, rows = analysis.evidence.study, analysis.efficiency
    csv[PATH] = _csv(analysis)
    found = [panel for panel in panels(study) if any(row.condition[1:] == panel for row in rows)]
    shown = []
    for i, panel in enumerate(found):
        name = "label_efficiency" if len(found) == 1 else f"label_efficiency_{i + 1}"
        drawings[name] = partial(figures.draw_label_efficiency, analysis, panel)
        where = condition_text(panel, study.factors[1:])
        shown.append(
            Figure(name, f"labels the baseline needs against labels of the arm{f'; {where}' if where else ''}")
        )
    baseline = analysis.label(study.baseline)
    n = range_text([row.labels.n for row in rows])
    caption = (
        f"Labels needed by the baseline ({baseline}) to match each arm; bars: 95 % bootstrap interval, n = {n} "
        f"{analysis.unit_noun}s. Above the diagonal the arm saves labels. Triangles, and bars that pass a dotted line: "
        "beyond the measured levels."
    )
    text = (
        f"The baseline is {baseline}. Its mean error is read as a curve over the number of labels: least-squares "
        "nonincreasing fit, straight between levels in the logarithms of labels and error, not extended beyond them. "
        "The fewest labels at which it reaches an arm's mean error are the labels needed. Between distant levels that "
        "straight line is an assumption, which the interval does not cover. An error of zero counts as half an error. "
        f"The interval resamples {analysis.unit_noun}s, the same for arm and baseline, with percentiles widened to the "
        "width of a t interval; simulated, it covers 95 % with 8 and 10 seeds and 91 % with 5. It is not corrected for "
        "the number of arms and levels, and no test."
    )
    return Section(
        "label-efficiency", "Label efficiency", (Figures(tuple(shown), caption, PATH), _table(analysis), Text(text))
    )
