"""Evidence -> the numbers of a report: means by arm and condition, comparisons with the baseline, curves.

A condition is one combination of factor levels. Rates stay in [0, 1] here.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.evidence import Evidence, StudyEvidence
from ssgan_bench.reporting.stats import Estimate, hedges_gz, holm, mean_interval, p_floor, sign_flip_p

Level = int | float | str | bool
Condition = tuple[Level, ...]
"""One level per factor, in the plan's order of factors; empty for a study without factors."""
Seeds = tuple[int, int]
"""(split_seed, model_seed): what makes two runs of different arms a pair."""
Values = dict[tuple[str, Condition], dict[Seeds, float]]

ALPHA = 0.05


@dataclass(frozen=True)
class Mean:
    """The metric of one arm at one condition, over its complete runs."""

    arm: str
    condition: Condition
    estimate: Estimate
    planned: int


@dataclass(frozen=True)
class Comparison:
    """An arm minus the baseline at one condition, paired by seeds; negative is better."""

    arm: str
    condition: Condition
    difference: Estimate
    p: float
    """Exact two-sided sign-flip p; NaN below two pairs."""
    p_holm: float
    """The same, adjusted over the declared family; NaN outside it."""
    g_z: float
    in_family: bool
    """Whether the study declared this comparison a test; if not, it is described and claims nothing."""

    @property
    def verdict(self) -> str:
        """State what is shown at the 5 % level after Holm: better, worse, or no difference shown; else described."""
        if not self.in_family:
            return "described only"
        if not self.p_holm <= ALPHA:
            return "no difference shown"
        return "better" if self.difference.mean < 0 else "worse"


def condition_of(levels: dict[str, Level], factors: Sequence[FactorInfo]) -> Condition:
    """Order a cell's levels as the study's factors are."""
    return tuple(levels[factor.key] for factor in factors)


def conditions(study: StudyEvidence) -> list[Condition]:
    """List the planned combinations of levels; the first factor (the x axis) varies fastest."""
    planned = {condition_of(cell.levels, study.factors) for cell in study.cells}
    product = itertools.product(*(factor.levels for factor in reversed(study.factors)))
    return [condition for reverse in product if (condition := tuple(reversed(reverse))) in planned]


def in_family(study: StudyEvidence, condition: Condition) -> bool:
    """Tell whether comparisons at a condition are tests of the declared family."""
    return not condition or condition[0] in study.family


def panels(study: StudyEvidence) -> list[Condition]:
    """List the combinations of all factors but the first, one figure panel each."""
    return list(dict.fromkeys(condition[1:] for condition in conditions(study)))


def has_result(runs: pd.DataFrame, metric: str) -> pd.Series:
    """Mark the runs that are complete and have the study's metric."""
    return (runs["status"] == "complete") & runs[metric].notna()


def worst_case(evidence: Evidence) -> float:
    """Value that stands for a failed or diverged run in the pessimistic reading.

    Chance level for the error rate, 1 - 1/K for the largest number of classes K of any run, unless a run was
    worse; for another metric, which has no chance level, and before any run recorded K, the worst value reached.
    NaN where there is neither.
    """
    study = evidence.study
    measured = evidence.runs.loc[has_result(evidence.runs, study.metric), study.metric]
    candidates = [float(value) for value in measured]
    if study.metric == "error_rate":
        candidates += [1 - 1 / float(classes) for classes in evidence.runs["num_classes"].dropna()]
    return max(candidates, default=math.nan)


def values(evidence: Evidence, stand_in: float | None = None) -> Values:
    """Collect the metric by arm and condition, then by seeds.

    Args:
        evidence: what was run.
        stand_in: value of a failed or diverged run; None leaves these runs out. Missing runs are always
            left out, for whether they would have failed is unknown.
    """
    study, runs = evidence.study, evidence.runs
    found: Values = {(arm.name, c): {} for arm in study.arms for c in conditions(study)}
    rows = zip(study.cells, runs["status"], runs[study.metric], has_result(runs, study.metric), strict=True)
    for cell, status, value, usable in rows:
        lost = status in ("failed", "diverged")
        if usable or (lost and stand_in is not None):
            seeds = (cell.split_seed, cell.model_seed)
            key = (cell.arm, condition_of(cell.levels, study.factors))
            found[key][seeds] = float(value) if usable or stand_in is None else stand_in
    return found


def means(evidence: Evidence) -> list[Mean]:
    """Summarize each arm at each condition, arms in plan order."""
    study = evidence.study
    planned: dict[tuple[str, Condition], int] = {}
    for cell in study.cells:
        key = (cell.arm, condition_of(cell.levels, study.factors))
        planned[key] = planned.get(key, 0) + 1
    found = values(evidence)
    return [
        Mean(arm.name, c, mean_interval(list(found[arm.name, c].values())), planned[arm.name, c])
        for arm in study.arms
        for c in conditions(study)
        if (arm.name, c) in planned
    ]


def comparisons(evidence: Evidence, stand_in: float | None = None) -> list[Comparison]:
    """Compare every other arm with the baseline at every condition.

    Holm's correction runs over the family that the study declared, some levels of the first factor; what is
    outside has no adjusted p.
    """
    study = evidence.study
    found = values(evidence, stand_in)
    planned = {(cell.arm, condition_of(cell.levels, study.factors)) for cell in study.cells}
    keys = [
        (arm.name, c)
        for arm in study.arms
        for c in conditions(study)
        if arm.name != study.baseline and {(arm.name, c), (study.baseline, c)} <= planned
    ]
    differences = []
    for arm, c in keys:
        ours, theirs = found[arm, c], found[study.baseline, c]
        differences.append([ours[seeds] - theirs[seeds] for seeds in sorted(ours.keys() & theirs.keys())])
    p_values = [sign_flip_p(d) if len(d) > 1 else math.nan for d in differences]
    tested = [i for i, (_, c) in enumerate(keys) if in_family(study, c)]
    adjusted = dict(zip(tested, holm([p_values[i] for i in tested]).tolist(), strict=True))
    return [
        Comparison(
            arm, c, mean_interval(d), p, adjusted.get(i, math.nan), hedges_gz(d) if d else math.nan, i in adjusted
        )
        for i, ((arm, c), d, p) in enumerate(zip(keys, differences, p_values, strict=True))
    ]


def single_seed(study: StudyEvidence) -> bool:
    """Tell whether the plan has one seed only, so that nothing can be said about chance."""
    return len({(cell.split_seed, cell.model_seed) for cell in study.cells}) < 2


def smallest_p(family: Sequence[Comparison]) -> tuple[float, float]:
    """Smallest p value that a family of comparisons could give at all, raw and after Holm (NaN without pairs)."""
    pairs = max((row.difference.n for row in family), default=0)
    floor = p_floor(pairs)
    return floor, min(1.0, floor * len(family)) if pairs else math.nan


def curve_means(evidence: Evidence) -> pd.DataFrame:
    """Average each curve over the complete runs of an arm and condition, with the t interval.

    Returns:
        One row per arm, condition (a tuple), kind (loss or validation), name and step: mean, low, high, n.
    """
    study = evidence.study
    complete = evidence.curves[evidence.curves["status"] == "complete"]
    where = {cell.cell_id: condition_of(cell.levels, study.factors) for cell in study.cells}
    rows = []
    grouped: dict[tuple[str, Condition, str, str, float], list[tuple[float, float]]] = {}
    columns = ("arm", "cell_id", "kind", "name", "step", "epoch", "value")
    for arm, cell_id, kind, name, step, epoch, value in zip(*(complete[c] for c in columns), strict=True):
        grouped.setdefault((arm, where[cell_id], kind, name, step), []).append((value, epoch))
    for (arm, condition, kind, name, step), points in grouped.items():
        estimate = mean_interval([value for value, _ in points])
        rows.append(
            (
                arm,
                condition,
                kind,
                name,
                step,
                points[0][1],
                estimate.mean,
                estimate.low,
                estimate.high,
                estimate.n,
            )
        )
    names = ["arm", "condition", "kind", "name", "step", "epoch", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=pd.Index(names))
