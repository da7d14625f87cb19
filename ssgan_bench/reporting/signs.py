"""Signs that runs are not what their arm can do, counted by arm and condition; and how they are said.

The rules for one run are in evaluation/training_signs.py, that for a collapse among siblings in `collapse`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.collapse import FEWEST_RUNS, RULE, collapsed
from ssgan_bench.reporting.evidence import Evidence
from ssgan_bench.reporting.frames import Condition, condition_of, conditions, has_result
from ssgan_bench.reporting.wording import PERCENT, condition_text, counted, level_text, listed, number


@dataclass(frozen=True)
class Count:
    """How many runs show a sign, of those of which it is known."""

    runs: int
    of: int

    @property
    def text(self) -> str:
        """Write it, e.g. "6 of 8"; empty where no run shows the sign."""
        return f"{self.runs} of {self.of}" if self.runs else ""


@dataclass(frozen=True)
class Signs:
    """The complete runs of one arm at one condition."""

    arm: str
    condition: Condition
    collapsed: Count
    """Far above their siblings; known with 4 runs or more."""
    fell_back: Count
    """Far above their own best on the validation set."""
    at_chance: Count
    still_falling: Count
    training_error: float
    """Mean error rate on the labeled images; NaN where not measured."""
    unreached: float
    """Mean share of test images that no label reached; NaN but for graph methods."""


def signs(evidence: Evidence) -> list[Signs]:
    """Count the signs of every arm and condition that has a complete run, arms in plan order."""
    study, runs = evidence.study, evidence.runs
    keys = [(cell.arm, condition_of(cell.levels, study.factors)) for cell in study.cells]
    complete = has_result(runs, "error_rate").tolist()
    found = []
    for arm in study.arms:
        for condition in conditions(study):
            rows = [i for i, key in enumerate(keys) if key == (arm.name, condition) and complete[i]]
            if rows:
                found.append(_of_group(arm.name, condition, runs.iloc[rows]))
    return found


def _of_group(arm: str, condition: Condition, runs: pd.DataFrame) -> Signs:
    def count(column: str) -> Count:
        known = [value for value in runs[column] if value is not None]
        return Count(sum(known), len(known))

    return Signs(
        arm=arm,
        condition=condition,
        collapsed=Count(int(collapsed(runs["error_rate"]).sum()), len(runs) if len(runs) >= FEWEST_RUNS else 0),
        fell_back=count("collapsed"),
        at_chance=count("at_chance"),
        still_falling=count("still_falling"),
        training_error=float(runs["training_error_rate"].mean()),
        unreached=float(runs["unreached_share"].mean()),
    )


def mark(found: Signs) -> str:
    """Write beside a mean what it hides, e.g. "4 of 9 collapsed"; empty where nothing."""
    parts = ((found.collapsed, "collapsed"), (found.at_chance, "at chance"))
    return ", ".join(f"{count.text} {what}" for count, what in parts if count.runs)


def lines(analysis: Analysis) -> list[str]:
    """Say each sign that runs show, with the arms, conditions and counts; nothing for a study without any."""
    found = signs(analysis.evidence)
    error = f"{analysis.evidence.study.evaluated_on} error"
    said = [
        _line(found, analysis, f"Collapsed ({RULE})", lambda group: group.collapsed),
        _line(
            found,
            analysis,
            "Ended far above their own best (validation error 10 percentage points and half as much again)",
            lambda group: group.fell_back,
        ),
        _line(
            found,
            analysis,
            f"At chance ({error} not shown to be below that of always guessing the most frequent class, at 1 %)",
            lambda group: group.at_chance,
        ),
        _line(
            found,
            analysis,
            "Still falling at the end, so that longer training may change the comparison",
            lambda group: group.still_falling,
        ),
    ]
    return [line for line in said if line]


def _line(found: Sequence[Signs], analysis: Analysis, what: str, count_of: Callable[[Signs], Count]) -> str:
    counts = [(group, count_of(group)) for group in found]
    shown = [(group, count) for group, count in counts if count.runs]
    if not shown:
        return ""
    total = f"{sum(count.runs for _, count in shown)} of {counted(sum(count.of for _, count in counts), 'run')}"
    places = []
    for arm in dict.fromkeys(group.arm for group, _ in shown):
        own = [(group.condition, count.text) for group, count in shown if group.arm == arm]
        places.append(f"{analysis.label(arm)}{_where(own, analysis)}")
    return f"{what}: {total}; {'; '.join(places)}."


def _where(own: Sequence[tuple[Condition, str]], analysis: Analysis) -> str:
    """Say at which conditions, e.g. " at Labels = 20 (4 of 9) and 50 (1 of 9)"."""
    factors = analysis.evidence.study.factors
    if len(conditions(analysis.evidence.study)) == 1:
        return f" ({own[0][1]})"
    if len(factors) == 1:
        return f" at {factors[0].label} = {listed([f'{level_text(c[0])} ({text})' for c, text in own])}"
    return f" at {listed([f'{condition_text(c, factors)} ({text})' for c, text in own])}"


def unreached_text(analysis: Analysis) -> str:
    """Say how many evaluated images the labels did not reach, for every graph method; empty without one."""
    parts = []
    found = [group for group in signs(analysis.evidence) if not math.isnan(group.unreached)]
    for arm in dict.fromkeys(group.arm for group in found):
        own = [(g.condition, f"{number(PERCENT * g.unreached, 1)} %") for g in found if g.arm == arm]
        parts.append(f"{analysis.label(arm)}{_where(own, analysis)}")
    if not parts:
        return ""
    evaluated_on = analysis.evidence.study.evaluated_on.capitalize()
    return f"{evaluated_on} images that no label reached, mean share over runs: {'; '.join(parts)}."
