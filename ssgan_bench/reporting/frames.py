"""Evidence -> the numbers of a report: means by arm and condition, comparisons with the baseline, curves.

A condition is one combination of factor levels. Rates stay in [0, 1] here.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.collapse import collapsed
from ssgan_bench.reporting.evidence import Evidence, StudyEvidence
from ssgan_bench.reporting.robust import decisive_p, mcnemar_p, sign_test_p, trimmed_mean_interval
from ssgan_bench.reporting.stats import (
    Estimate,
    hedges_gz,
    holm,
    interquartile_mean,
    mean_interval,
    p_floor,
    probability_of_improvement,
    share_lower,
    sign_flip_p,
    tost_p,
)
from ssgan_bench.reporting.units import Seeds, by_unit, paired

Level = int | float | str | bool
Condition = tuple[Level, ...]
"""One level per factor, in the plan's order of factors; empty for a study without factors."""
Values = dict[tuple[str, Condition], dict[Seeds, float]]

Verdict = Literal["better", "worse", "equivalent", "observed", "no difference shown", "described only"]

ALPHA = 0.05
SEEDS_FOR_A_CLAIM = 8
"""Fewest seeds that PROTOCOL.md accepts for a claim."""


@dataclass(frozen=True)
class Mean:
    """The metric of one arm at one condition, over its complete runs."""

    arm: str
    condition: Condition
    estimate: Estimate
    """Over units (see `by_unit`): `n` counts seeds, or splits in a design with several model seeds per split."""
    runs: int
    planned: int
    """Runs."""


@dataclass(frozen=True)
class Comparison:
    """An arm minus the baseline at one condition, paired by seeds; negative is better."""

    arm: str
    condition: Condition
    difference: Estimate
    p: float
    """Exact two-sided sign-flip p, of differences symmetric about zero; NaN below two pairs."""
    p_holm: float
    """The same, adjusted over the declared family; NaN outside it."""
    sign_p: float
    """Exact two-sided sign test p, of a median of zero; NaN without pairs."""
    decisive_p_holm: float
    """What the verdict rests on, adjusted over the declared family; NaN outside it. `p_holm` where no run of the family
    collapsed; else also the sign test has to reject in the comparisons with a collapsed run (`robust.decisive_p`)."""
    collapses: tuple[int, int]
    """Collapsed runs of the arm and of the baseline, among the pairs' runs."""
    collapse_p: float
    """Exact McNemar p of equally many collapses; described, not corrected; NaN without pairs."""
    g_z: float
    in_family: bool
    """Whether the study declared this comparison a test; if not, it is described and claims nothing."""
    iqm: float
    """Interquartile mean of the differences."""
    trimmed: Estimate
    """20 % trimmed mean of the differences with Yuen's interval."""
    improvement: float
    """Mann-Whitney probability that a run of the arm is better than a run of the baseline, ignoring the pairing."""
    share_better: float
    """Share of pairs in which the arm is better, ties counting half."""
    tost_p: float
    """Two one-sided t tests of equivalence within the study's margin; NaN without one or below two pairs."""
    tost_p_holm: float
    """The same, adjusted over the declared family, apart from `p_holm`; NaN outside it."""

    @property
    def equivalent(self) -> bool:
        """Whether the arm is shown to differ from the baseline by less than the margin, at the 5 % level after Holm."""
        return self.tost_p_holm <= ALPHA

    @property
    def verdict(self) -> Verdict:
        """State what is shown at the 5 % level after Holm; else described.

        A difference that is shown goes before an equivalence that is shown: both mean a difference below the margin.
        Observed is what sign flips alone would show although runs collapsed, for which they are not made.
        """
        if not self.in_family:
            return "described only"
        if self.decisive_p_holm <= ALPHA:
            return "better" if self.difference.mean < 0 else "worse"
        if self.equivalent:
            return "equivalent"
        return "observed" if self.p_holm <= ALPHA else "no difference shown"


def condition_of(levels: dict[str, Level], factors: Sequence[FactorInfo]) -> Condition:
    """Order a cell's levels as the study's factors are."""
    return tuple(levels[factor.key] for factor in factors)


def conditions(study: StudyEvidence) -> list[Condition]:
    """List the planned combinations of levels; the first factor (the x axis) varies fastest."""
    planned = {condition_of(cell.levels, study.factors) for cell in study.cells}
    product = itertools.product(*(factor.levels for factor in reversed(study.factors)))
    return [condition for reverse in product if (condition := tuple(reversed(reverse))) in planned]


def in_family(study: StudyEvidence, arm: str, condition: Condition) -> bool:
    """Tell whether an arm's comparison with the baseline is a test of the declared family; a yardstick's never is."""
    return arm not in study.yardsticks and (not condition or condition[0] in study.family)


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


def collapses(evidence: Evidence) -> dict[tuple[str, Condition], dict[Seeds, bool]]:
    """Mark the collapsed runs of each arm and condition, by their error rate whatever the study's metric is."""
    study, runs = evidence.study, evidence.runs
    errors: Values = {}
    rows = zip(study.cells, runs["error_rate"], has_result(runs, "error_rate"), strict=True)
    for cell, error, usable in rows:
        if usable:
            key = (cell.arm, condition_of(cell.levels, study.factors))
            errors.setdefault(key, {})[cell.split_seed, cell.model_seed] = float(error)
    return {
        key: dict(zip(found, collapsed(list(found.values())).tolist(), strict=True)) for key, found in errors.items()
    }


def means(evidence: Evidence) -> list[Mean]:
    """Summarize each arm at each condition, arms in plan order."""
    study = evidence.study
    planned: dict[tuple[str, Condition], int] = {}
    for cell in study.cells:
        key = (cell.arm, condition_of(cell.levels, study.factors))
        planned[key] = planned.get(key, 0) + 1
    found = values(evidence)
    summaries = []
    for arm, c in itertools.product((arm.name for arm in study.arms), conditions(study)):
        if (arm, c) in planned:
            estimate = mean_interval(list(by_unit(found[arm, c], study).values()))
            summaries.append(Mean(arm, c, estimate, len(found[arm, c]), planned[arm, c]))
    return summaries


def comparisons(evidence: Evidence, stand_in: float | None = None) -> list[Comparison]:
    """Compare every other arm with the baseline at every condition.

    Holm's correction runs over the family that the study declared, some levels of the first factor; what is
    outside has no adjusted p.
    """
    study = evidence.study
    found, lost_to = values(evidence, stand_in), collapses(evidence)
    planned = {(cell.arm, condition_of(cell.levels, study.factors)) for cell in study.cells}
    keys = [
        (arm.name, c)
        for arm in study.arms
        for c in conditions(study)
        if arm.name != study.baseline and {(arm.name, c), (study.baseline, c)} <= planned
    ]
    differences = [paired(found[arm, c], found[study.baseline, c], study) for arm, c in keys]
    p_values = [sign_flip_p(d) if len(d) > 1 else math.nan for d in differences]
    shared = [sorted(found[arm, c].keys() & found[study.baseline, c].keys()) for arm, c in keys]
    # A lost run that stands for chance level is a collapse too.
    flags = [
        [[lost_to.get((name, c), {}).get(s, stand_in is not None) for s in seeds] for name in (arm, study.baseline)]
        for (arm, c), seeds in zip(keys, shared, strict=True)
    ]
    decisive = [
        decisive_p(d, any_collapsed=any(ours) or any(theirs))
        for d, (ours, theirs) in zip(differences, flags, strict=True)
    ]
    tost = [math.nan if study.margin is None else tost_p(d, study.margin) for d in differences]
    tested = [i for i, (arm, c) in enumerate(keys) if in_family(study, arm, c)]
    adjusted = dict(zip(tested, holm([p_values[i] for i in tested]).tolist(), strict=True))
    decisive_adjusted = dict(zip(tested, holm([decisive[i] for i in tested]).tolist(), strict=True))
    tost_adjusted = dict(zip(tested, holm([tost[i] for i in tested]).tolist(), strict=True))
    rows = []
    for i, ((arm, c), d) in enumerate(zip(keys, differences, strict=True)):
        ours, theirs = ([found[name, c][s] for s in shared[i]] for name in (arm, study.baseline))
        rows.append(
            Comparison(
                arm=arm,
                condition=c,
                difference=mean_interval(d),
                p=p_values[i],
                p_holm=adjusted.get(i, math.nan),
                sign_p=sign_test_p(d),
                decisive_p_holm=decisive_adjusted.get(i, math.nan),
                collapses=(sum(flags[i][0]), sum(flags[i][1])),
                collapse_p=mcnemar_p(*flags[i]),
                g_z=hedges_gz(d) if d else math.nan,
                in_family=i in adjusted,
                iqm=interquartile_mean(d),
                trimmed=trimmed_mean_interval(d),
                improvement=probability_of_improvement(ours, theirs),
                share_better=share_lower(d),
                tost_p=tost[i],
                tost_p_holm=tost_adjusted.get(i, math.nan),
            )
        )
    return rows


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
    cells = {cell.cell_id: cell for cell in study.cells}
    rows = []
    epochs: dict[tuple[str, Condition, str, str, float], float] = {}
    grouped: dict[tuple[str, Condition, str, str, float], dict[Seeds, float]] = {}
    columns = ("arm", "cell_id", "kind", "name", "step", "epoch", "value")
    for arm, cell_id, kind, name, step, epoch, value in zip(*(complete[c] for c in columns), strict=True):
        cell = cells[cell_id]
        key = (arm, condition_of(cell.levels, study.factors), kind, name, step)
        grouped.setdefault(key, {})[cell.split_seed, cell.model_seed] = value
        epochs.setdefault(key, epoch)
    for key, points in grouped.items():
        estimate = mean_interval(list(by_unit(points, study).values()))
        rows.append((*key, epochs[key], estimate.mean, estimate.low, estimate.high, estimate.n))
    names = ["arm", "condition", "kind", "name", "step", "epoch", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=pd.Index(names))
