"""Evidence -> what a study's design allows beyond comparisons with the baseline; each list is empty where it does not.

Arms against yardsticks (a study that names any), label efficiency (the first factor is the number of labels), the share
of a redrawn mask in a gain (arms with both label protocols), and variance components (splits crossed with model seeds).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssgan_bench.reporting.evidence import Evidence, StudyEvidence
from ssgan_bench.reporting.frames import Condition, condition_of, conditions, panels, values
from ssgan_bench.reporting.label_curve import LabelsNeeded, labels_needed
from ssgan_bench.reporting.stats import Estimate, mean_interval, share_lower
from ssgan_bench.reporting.units import by_unit, paired
from ssgan_bench.reporting.variance import Components, components

LABELS_KEY = "data.num_labels"
PROTOCOL_KEY = "data.label_protocol"
FEWEST_LEVELS = 3
"""Levels of a label curve: two would be a straight line, whatever lies between."""


@dataclass(frozen=True)
class AgainstYardstick:
    """An arm minus the best yardstick at one condition, paired by seeds; negative is better. Described only."""

    arm: str
    condition: Condition
    yardstick: str
    """The yardstick with the lowest mean there: chosen after the runs, so that the choice favors the yardstick."""
    difference: Estimate
    share_better: float
    is_candidate: bool
    """Whether the question is asked of this arm; see `candidates`."""


@dataclass(frozen=True)
class Efficiency:
    """How many labels the baseline needs for the mean error of an arm at one condition."""

    arm: str
    condition: Condition
    labels: LabelsNeeded
    fewest: int
    """Smallest label count of the baseline's curve; the count needed is never extrapolated."""
    most: int


@dataclass(frozen=True)
class Leak:
    """The gain of an arm with a redrawn mask over the labels alone, and the parts it is the sum of; described only.

    Estimates are over the units that all three arms have; positive is a gain.
    """

    arm: str
    """With the redrawn mask."""
    alone: str
    """A classifier trained on a fixed labeled subset alone."""
    condition: Condition
    apparent: Estimate
    """`alone` minus `arm`: what a comparison that overlooks the mask would give."""
    leak: Estimate
    """The same arm with a fixed labeled subset minus `arm`."""
    honest: Estimate
    """`alone` minus the same arm with a fixed labeled subset."""


@dataclass(frozen=True)
class Spread:
    """The variance between runs of one arm at one condition, by origin."""

    arm: str
    condition: Condition
    components: Components
    planned_splits: int


def candidates(study: StudyEvidence) -> list[str]:
    """List the arms that a study with yardsticks asks about: the GAN arms, or all others in a study without any."""
    others = [arm for arm in study.arms if arm.name not in study.yardsticks]
    return [arm.name for arm in others if arm.has_generator] or [arm.name for arm in others]


def against_yardsticks(evidence: Evidence, stand_in: float | None = None) -> list[AgainstYardstick]:
    """Compare every other arm with the best yardstick of each condition that has both, in the order of conditions.

    Args:
        evidence: what was run.
        stand_in: value of a failed or diverged run; None leaves these runs out.
    """
    study, found, asked = evidence.study, values(evidence, stand_in), candidates(evidence.study)
    others = [arm.name for arm in study.arms if arm.name not in study.yardsticks]
    rows = []
    for c in conditions(study):
        means = {
            name: float(np.mean(list(by_unit(found[name, c], study).values())))
            for name in study.yardsticks
            if found[name, c]
        }
        if not means:
            continue
        best = min(means, key=means.__getitem__)
        for arm in others:
            if differences := paired(found[arm, c], found[best, c], study):
                estimate, share = mean_interval(differences), share_lower(differences)
                rows.append(AgainstYardstick(arm, c, best, estimate, share, arm in asked))
    return rows


def least_error(evidence: Evidence) -> float:
    """What a mean of zero counts as where logarithms are taken: half an error in the smallest test set of any run.

    For another metric than the error rate, or without a known test set, a number below anything that is measured.
    """
    sizes = evidence.runs["num_test"].dropna()
    return 0.5 / float(sizes.min()) if evidence.study.metric == "error_rate" and len(sizes) else 1e-9


def label_efficiency(evidence: Evidence) -> list[Efficiency]:
    """Read the baseline's label curve at the mean error of every other arm, at every number of labels.

    Uses the units (seeds) that have the arm's run and the baseline's runs at all levels.
    """
    study = evidence.study
    if not study.factors or study.factors[0].key != LABELS_KEY:
        return []
    counts = sorted(level for level in study.factors[0].levels if isinstance(level, int))
    if len(counts) < FEWEST_LEVELS:
        return []
    found = values(evidence)
    others = [arm.name for arm in study.arms if arm.name != study.baseline]
    rows = []
    for panel, arm, level in itertools.product(panels(study), others, counts):
        places: list[Condition] = [(count, *panel) for count in counts]
        ours = by_unit(found.get((arm, (level, *panel)), {}), study)
        theirs = [by_unit(found.get((study.baseline, place), {}), study) for place in places]
        shared = [unit for unit in ours if all(unit in one for one in theirs)]
        if shared:
            curve = [[one[unit] for one in theirs] for unit in shared]
            needed = labels_needed(counts, curve, [ours[unit] for unit in shared], least_error(evidence))
            rows.append(Efficiency(arm, (level, *panel), needed, counts[0], counts[-1]))
    return rows


def label_leaks(evidence: Evidence) -> list[Leak]:
    """Take apart the gain of each arm that has a redrawn mask, a twin with fixed labels, and labels alone beside it."""
    study, found = evidence.study, values(evidence)
    configs = study.arm_configs
    fixed = [name for name, config in configs.items() if config.get(PROTOCOL_KEY) == "fixed"]
    supervised = [arm.name for arm in study.arms if arm.name in fixed and arm.kind == "supervised"]
    if not supervised:
        return []
    alone = study.baseline if study.baseline in supervised else supervised[0]
    rows = []
    for arm, config in configs.items():
        twin = next((name for name in fixed if configs[name] == config | {PROTOCOL_KEY: "fixed"}), None)
        if arm in fixed or twin in (None, alone):
            continue
        for c in conditions(study):
            ours, twins, theirs = found[arm, c], found[twin, c], found[alone, c]
            ours = {seeds: error for seeds, error in ours.items() if seeds in twins and seeds in theirs}
            twins = {seeds: twins[seeds] for seeds in ours}
            if ours:
                pairs = (theirs, ours), (twins, ours), (theirs, twins)
                rows.append(Leak(arm, alone, c, *(mean_interval(paired(a, b, study)) for a, b in pairs)))
    return rows


def crossing(study: StudyEvidence) -> tuple[list[int], list[int]]:
    """Find the split seeds and the model seeds that the plan crosses in full; two empty lists where it does not.

    Only seeds that occur with several of the other kind can be crossed; a plan that runs each of those splits with each
    of those model seeds is a crossed design, whatever other runs it has.
    """
    pairs = {(cell.split_seed, cell.model_seed) for cell in study.cells}
    splits = sorted({s for s, _ in pairs if sum(s == other for other, _ in pairs) > 1})
    models = sorted({m for _, m in pairs if sum(m == other for _, other in pairs) > 1})
    full = len(splits) > 1 and len(models) > 1 and set(itertools.product(splits, models)) <= pairs
    return (splits, models) if full else ([], [])


def spreads(evidence: Evidence) -> list[Spread]:
    """Take the variance between runs apart for every arm and condition of a crossed design.

    A split with a lost run is left out: the analysis of variance needs a full table.
    """
    study = evidence.study
    splits, models = crossing(study)
    if not splits:
        return []
    found = values(evidence)
    planned = {(cell.arm, condition_of(cell.levels, study.factors)) for cell in study.cells}
    rows = []
    for arm, c in itertools.product((arm.name for arm in study.arms), conditions(study)):
        if (arm, c) in planned:
            runs = found[arm, c]
            table = [[runs[s, m] for m in models] for s in splits if all((s, m) in runs for m in models)]
            shape = (len(table), len(models))
            rows.append(Spread(arm, c, components(np.reshape(np.asarray(table), shape)), len(splits)))
    return rows


def known(rows: Sequence[Spread]) -> list[Spread]:
    """Keep the rows that have estimates: at least two splits without a lost run."""
    return [row for row in rows if not math.isnan(row.components.rest.variance)]
