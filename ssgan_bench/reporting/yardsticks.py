"""What a user would pick instead: the study's arms against its yardsticks, described and never tested."""

from collections.abc import Sequence

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.findings import AgainstYardstick, candidates
from ssgan_bench.reporting.frames import Condition
from ssgan_bench.reporting.signs import unreached_text
from ssgan_bench.reporting.tables import better_in, keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import condition_text, counted, estimate_text, level_text, listed, number

MOST_LISTED = 4
"""Conditions with their differences named one by one in a sentence."""
PATH = "tables/yardsticks.csv"


def _leaders(rows: Sequence[AgainstYardstick]) -> list[AgainstYardstick]:
    """Find the arm with the lowest mean difference at each condition."""
    places = dict.fromkeys(row.condition for row in rows)
    return [min((r for r in rows if r.condition == c), key=lambda row: row.difference.mean) for c in places]


def _kind(analysis: Analysis) -> str:
    """Name what is held against the yardsticks."""
    asked = candidates(analysis.evidence.study)
    return "GAN arm" if all(arm.has_generator for arm in analysis.evidence.study.arms if arm.name in asked) else "arm"


def sentences(analysis: Analysis) -> list[str]:
    """Say whether an arm was observed to beat the best yardstick, which, where, by how much, and in which readings."""
    leaders = _leaders([row for row in analysis.against_yardsticks if row.is_candidate])
    others = [row for row in analysis.against_yardsticks if not row.is_candidate]
    if not leaders:
        return []
    return [_asked(leaders, analysis), *_not_asked(_leaders(others), analysis), *_with_lost_runs(leaders, analysis)]


def _asked(leaders: Sequence[AgainstYardstick], analysis: Analysis) -> str:
    """Answer the question of the yardsticks for the arms that it is asked of."""
    kind, unit = _kind(analysis), analysis.unit
    names = " or ".join(analysis.label(name) for name in dict.fromkeys(row.yardstick for row in leaders))
    ahead = [row for row in leaders if row.difference.mean < 0]
    behind = [row.condition for row in leaders if not row.difference.mean < 0]
    if not ahead:
        near = min(leaders, key=lambda row: row.difference.mean)
        where = f" at any of {counted(len(leaders), 'condition')}" if len(leaders) > 1 else ""
        return (
            f"No {kind} was observed to beat the best yardstick ({names}){where}; the nearest, "
            f"{analysis.label(near.arm)}{analysis.at([near.condition])}, differs from it by "
            f"{estimate_text(near.difference, unit, sign=True)}{unit.difference}{_pairs_left(near, analysis)}."
        )
    none = f", and by no {kind}{analysis.at(behind)}" if behind else ""
    return (
        f"The best yardstick ({names}) was observed to be beaten{_by(ahead, analysis)}{none} (mean "
        f"differences{unit.in_difference} with 95 % t intervals, described, not tested)."
    )


def _not_asked(leaders: Sequence[AgainstYardstick], analysis: Analysis) -> list[str]:
    """Say which other arm is ahead of the best yardstick, which the question leaves out but a user would pick."""
    ahead = [row for row in leaders if row.difference.mean < 0]
    return [f"Of the arms without a GAN, it was observed to be beaten{_by(ahead, analysis)}."] if ahead else []


def _by(ahead: Sequence[AgainstYardstick], analysis: Analysis) -> str:
    """Name the arms that are ahead, where they are most, e.g. " by A at Labels = 20 (−1.2 [−2.0, −0.4])"."""
    most = sorted(ahead, key=lambda row: row.difference.mean)[:MOST_LISTED]
    shown = [row for row in ahead if row in most]
    parts = [
        f"{analysis.label(arm)}{_places([row for row in shown if row.arm == arm], analysis)}"
        for arm in dict.fromkeys(row.arm for row in shown)
    ]
    many = f" at {len(ahead)} conditions, most of all" if len(shown) < len(ahead) else ""
    return f"{many} by {'; by '.join(parts)}"


def _counted(row: AgainstYardstick, analysis: Analysis) -> AgainstYardstick | None:
    """The same arm at the same condition with lost runs counted, where they change anything; else None."""
    for other in analysis.pessimistic_yardsticks:
        if (other.arm, other.condition) == (row.arm, row.condition):
            return None if other == row else other
    return None


def _pairs_left(row: AgainstYardstick, analysis: Analysis) -> str:
    """Say on how many pairs a row rests where runs were lost."""
    return f", n = {row.difference.n} without lost runs" if _counted(row, analysis) else ""


def _with_lost_runs(leaders: Sequence[AgainstYardstick], analysis: Analysis) -> list[str]:
    """Say what becomes of the leads where failed and diverged runs count as failures of their arm."""
    worst = _leaders([row for row in analysis.pessimistic_yardsticks if row.is_candidate])
    dropped = {row.condition: row for row in leaders}
    if all(row == dropped.get(row.condition) for row in worst):
        return []
    unit = analysis.unit
    value = f"{number(unit.scale * analysis.worst_case, unit.decimals)}{unit.suffix}"
    ahead = {row.condition for row in leaders if row.difference.mean < 0}
    gained = [row for row in worst if row.difference.mean < 0 and row.condition not in ahead]
    undone = [row for row in worst if not row.difference.mean < 0 and row.condition in ahead]
    clauses = []
    if undone:
        near = min(undone, key=lambda row: row.difference.mean)
        where = analysis.at([near.condition]) if len(undone) > 1 else ""
        clauses.append(
            f"no {_kind(analysis)} is ahead{analysis.at([row.condition for row in undone])} (the nearest{where}, "
            f"{analysis.label(near.arm)}, by {estimate_text(near.difference, unit, sign=True)}, n = "
            f"{near.difference.n})"
        )
    if gained:
        clauses.append(f"the best yardstick is also beaten{_by(gained, analysis)}")
    if not clauses and ahead:
        clauses = [f"it is still beaten{_by([row for row in worst if row.difference.mean < 0], analysis)}"]
    end = " and ".join(clauses) or f"no {_kind(analysis)} is ahead either"
    return [f"Counting each failed or diverged run as {value} instead, {end}."]


def _places(rows: Sequence[AgainstYardstick], analysis: Analysis) -> str:
    """Say where an arm is ahead and by how much, e.g. " at Labels = 20 (−1.2 [−2.0, −0.4]) and 50 (...)"."""
    study = analysis.evidence.study
    sizes = [
        f"({estimate_text(row.difference, analysis.unit, sign=True)}{_pairs_left(row, analysis)}{_doubt(row)})"
        for row in rows
    ]
    if not analysis.at([rows[0].condition]):
        return f" {sizes[0]}"
    single = len(study.factors) == 1
    texts = [level_text(row.condition[0]) if single else condition_text(row.condition, study.factors) for row in rows]
    places = listed([f"{text} {size}" for text, size in zip(texts, sizes, strict=True)])
    return f" at {study.factors[0].label} = {places}" if single else f" at {places}"


def _doubt(row: AgainstYardstick) -> str:
    return "" if row.difference.high < 0 else ", may be chance"


def _row(row: AgainstYardstick, analysis: Analysis) -> tuple[str, ...]:
    difference = estimate_text(row.difference, analysis.unit, sign=True)
    pairs = better_in(row.share_better, row.difference.n)
    texts = (analysis.label(row.arm), *texts_of(row.condition), analysis.label(row.yardstick), difference, pairs)
    if not analysis.pessimistic_yardsticks:
        return texts
    worst = _counted(row, analysis)
    return (*texts, "the same" if worst is None else estimate_text(worst.difference, analysis.unit, sign=True))


def section(analysis: Analysis, csv: dict[str, str]) -> Section:
    """Build the section: each other arm minus the best yardstick of every condition."""
    study, unit, rows = analysis.evidence.study, analysis.unit, analysis.against_yardsticks
    anchor, title = "yardsticks", "Against the yardsticks"
    names = listed([analysis.label(name) for name in study.yardsticks])
    if not rows:
        return Section(anchor, title, (Text(f"No condition has a yardstick ({names}) and an arm with a result."),))
    columns = ["arm", *keys_of(analysis), "lost_runs", "yardstick", "mean", "low", "high", "sd", "n", "share_better"]
    readings = {"left out": rows, "counted": analysis.pessimistic_yardsticks}
    csv[PATH] = csv_text(
        columns,
        (
            {"arm": row.arm, **levels_of(row.condition, analysis), "lost_runs": reading, "yardstick": row.yardstick}
            | {**vars(row.difference), "share_better": row.share_better}
            for reading, own in readings.items()
            for row in own
        ),
    )
    last = ("lost runs counted",) if analysis.pessimistic_yardsticks else ()
    value = f"{number(unit.scale * analysis.worst_case, unit.decimals)}{unit.suffix}"
    counting = f" Lost runs counted: each failed or diverged run as {value}." if last else ""
    table = Table(
        ("arm", *(f.label for f in study.factors), "best yardstick", "difference", "better in", *last),
        tuple(_row(row, analysis) for row in rows),
        f"Difference{unit.in_difference}: arm minus the best yardstick, paired by {analysis.unit_noun}, negative is "
        f"better, with its 95 % t interval; better in: {analysis.unit_noun}s in which the arm is better, ties half."
        f"{counting}",
        PATH,
        left=2 + len(study.factors),
    )
    unmeasured = _without(rows, [m.condition for m in analysis.means], analysis)
    text = (
        f"Yardsticks are what a user would pick instead: {names}. Every other arm is compared with the "
        "yardstick that has the lowest mean at that condition, which is chosen from the same runs and so favors the "
        "yardstick; that one of several arms may be ahead by luck favors the arms. Hence no p value and no verdict."
        f"{unmeasured}"
    )
    unreached = unreached_text(analysis)
    return Section(anchor, title, (Text(text), table, *([Text(unreached)] if unreached else [])))


def _without(rows: Sequence[AgainstYardstick], planned: Sequence[Condition], analysis: Analysis) -> str:
    present = {row.condition for row in rows}
    absent = [condition for condition in dict.fromkeys(planned) if condition not in present]
    return f" There is no pair of results{analysis.at(absent)}." if absent else ""
