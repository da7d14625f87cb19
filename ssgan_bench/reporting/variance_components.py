"""Where the variance between runs comes from, in a crossed design: sentence, table and section."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure as Drawing

from ssgan_bench.reporting import figures
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Block, Figure, Figures, Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.findings import Spread, crossing, known
from ssgan_bench.reporting.frames import condition_of
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.variance import Component
from ssgan_bench.reporting.wording import NONE, Unit, listed, number, range_text

MOST_LISTED = 4
"""Arms given one by one in a sentence."""
PATH = "tables/variance_components.csv"
PARTS = ("split", "model", "rest")
HEADS = {"split": "labeled images (split seed)", "model": "model seed", "rest": "both together, and rest"}


def parts_of(row: Spread) -> dict[str, Component]:
    """Key the three components by name."""
    return {name: getattr(row.components, name) for name in PARTS}


def shares(row: Spread) -> dict[str, float]:
    """Share of each component in their sum; NaN where all are zero."""
    parts = parts_of(row)
    total = sum(part.variance for part in parts.values())
    return {name: part.variance / total if total > 0 else float("nan") for name, part in parts.items()}


def sentences(analysis: Analysis) -> list[str]:
    """Say at the first declared condition how the variance divides, and which seed is shown to matter more."""
    study, rows = analysis.evidence.study, known(analysis.spreads)
    tested = [row for row in rows if not row.condition or row.condition[0] in study.family] or rows
    if not tested:
        return []
    place = tested[0].condition
    everywhere = [row for row in tested if row.condition == place]
    here = everywhere[:MOST_LISTED]
    texts = []
    for row in here:
        percent = [NONE if share != share else f"{100 * share:.0f}" for share in shares(row).values()]
        texts.append(f"{analysis.label(row.arm)} {listed(percent)} %")
    more = {
        "the choice of labeled images varies results more": [r for r in here if _above(r, "split", "model")],
        "the model seed varies results more": [r for r in here if _above(r, "model", "split")],
    }
    shown = [f"{text} for {listed([analysis.label(r.arm) for r in found])}" for text, found in more.items() if found]
    verdict = (
        f"By intervals that do not overlap, {'; '.join(shown)}." if shown else "Neither seed is shown to matter more."
    )
    few = f" (the first {MOST_LISTED} of {len(everywhere)} arms)" if len(everywhere) > MOST_LISTED else ""
    return [
        f"Of the variance between runs{analysis.at([place])}, the choice of labeled images, the model seed, and both "
        f"together with the rest make up{few}: {'; '.join(texts)}. {verdict}"
    ]


def _above(row: Spread, first: str, second: str) -> bool:
    parts = parts_of(row)
    return parts[first].low > parts[second].high


def sd_text(part: Component, unit: Unit) -> str:
    """Write a component as a standard deviation with its interval; 0* is a negative estimate."""
    values = (number(unit.scale * x**0.5, unit.decimals) for x in (part.variance, part.low, part.high))
    sd, low, high = values
    return sd if low == NONE else f"{sd}{'*' if part.truncated else ''} [{low}, {high}]"


def section(analysis: Analysis, csv: dict[str, str], drawings: dict[str, Callable[[], Drawing]]) -> Section:
    """Build the section: figure, table, and what the design can and cannot tell."""
    study, unit, rows = analysis.evidence.study, analysis.unit, analysis.spreads
    splits, models = crossing(study)
    anchor, title = "variance", "Where the variance comes from"
    columns = [
        "arm",
        *keys_of(analysis),
        "component",
        "variance",
        "low",
        "high",
        "truncated",
        "share",
        "splits",
        "models",
    ]
    csv[PATH] = csv_text(
        columns,
        (
            {"arm": row.arm, **levels_of(row.condition, analysis), "component": name, **vars(part)}
            | {"share": shares(row)[name], "splits": row.components.splits, "models": row.components.models}
            for row in rows
            for name, part in parts_of(row).items()
        ),
    )
    table = Table(
        ("arm", *(factor.label for factor in study.factors), *HEADS.values(), "splits"),
        tuple(
            (
                analysis.label(row.arm),
                *texts_of(row.condition),
                *(sd_text(part, unit) for part in parts_of(row).values()),
                f"{row.components.splits} of {row.planned_splits}",
            )
            for row in rows
        ),
        f"Standard deviation of the {unit.name} by origin{unit.in_difference}, with 95 % interval. *: the estimate of "
        "the variance was negative and is given as 0. Splits with a lost run are left out.",
        PATH,
    )
    blocks: list[Block] = []
    if known(rows):
        drawings["variance"] = partial(
            figures.draw_components, analysis, [(row, parts_of(row)) for row in known(rows)], HEADS
        )
        counts = range_text([row.components.splits for row in known(rows)])
        caption = (
            f"Standard deviation of the {unit.name} between runs by origin; bars: 95 % interval, n = {counts} splits "
            f"with {len(models)} model seeds each."
        )
        blocks.append(Figures((Figure("variance", "standard deviation between runs by origin"),), caption, PATH))
    used = {(cell.arm, condition_of(cell.levels, study.factors)) for cell in study.cells}
    text = (
        f"Every one of {len(splits)} splits was run with every one of {len(models)} model seeds, in {len(used)} "
        f"{'combination' if len(used) == 1 else 'combinations'} of arm and levels. Two-way random effects, one run per "
        "pair, estimated by the analysis of variance: what split and model seed do together (their interaction) cannot "
        "be told from other differences between runs. Intervals: chi-square for the rest, modified large-sample (Ting "
        "et al. 1990) for the others; they assume normal effects and covered 94 to 98 % in simulations."
    )
    return Section(anchor, title, (*blocks, table, Text(text)))
