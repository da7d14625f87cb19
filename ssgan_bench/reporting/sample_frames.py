"""Evidence -> the numbers of sample quality: means by arm and condition, floor, rank correlations with the error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ssgan_bench.reporting.evidence import Evidence
from ssgan_bench.reporting.evidence_columns import DISTANCES
from ssgan_bench.reporting.frames import Condition, condition_of, conditions, has_result
from ssgan_bench.reporting.stats import Estimate, mean_interval
from ssgan_bench.reporting.units import by_unit

LEAST_RANKED = 3
"""Fewer pairs have no rank correlation worth stating: two are always -1 or 1."""


@dataclass(frozen=True)
class SampleMeans:
    """All distances of one arm at one condition, over the units (see `by_unit`) of its measured runs."""

    arm: str | None
    """None for the floor: real images against real ones, over split seeds."""
    condition: Condition
    reference: str
    """The classifier in whose features images were compared, e.g. "digits_1a2b3c4d"."""
    estimates: dict[str, Estimate]


@dataclass(frozen=True)
class Correlation:
    """Spearman correlation of Frechet distance and test error; below zero: better classifiers, worse generators."""

    arm: str | None
    """The arm whose runs are ranked; None where the arms' means are."""
    condition: Condition
    rho: float
    """NaN below `LEAST_RANKED` pairs and where one side is constant."""
    n: int


def sample_runs(evidence: Evidence) -> pd.DataFrame:
    """Complete runs whose images were measured, with their condition (a tuple) and test error, in plan order."""
    runs = evidence.runs[has_result(evidence.runs, "error_rate")]
    measured = evidence.sample_quality.merge(runs[["cell_id", "error_rate"]], on="cell_id")
    places = {cell.cell_id: condition_of(cell.levels, evidence.study.factors) for cell in evidence.study.cells}
    measured["condition"] = pd.Series([places[i] for i in measured["cell_id"]], dtype=object)
    return measured


def references(runs: pd.DataFrame, condition: Condition) -> list[str]:
    """Name the reference classifiers of the runs at a condition; more than one do not compare."""
    return sorted(set(_at(runs, condition)["reference_classifier"]))


def _at(runs: pd.DataFrame, condition: Condition, arm: str | None = None) -> pd.DataFrame:
    here = runs[[c == condition for c in runs["condition"]]]
    return here if arm is None else here[here["arm"] == arm]


def measured_conditions(evidence: Evidence, runs: pd.DataFrame) -> list[Condition]:
    """List the conditions with measured runs, in the report's order."""
    found = set(runs["condition"])
    return [condition for condition in conditions(evidence.study) if condition in found]


def measured_arms(evidence: Evidence, runs: pd.DataFrame) -> list[str]:
    """List the arms with measured runs, in plan order."""
    found = set(runs["arm"])
    return [arm.name for arm in evidence.study.arms if arm.name in found]


def _by_unit(evidence: Evidence, own: pd.DataFrame, name: str) -> list[float]:
    """Values of a column over the units of one arm's runs at one condition, in the order of units."""
    runs = zip(own["split_seed"], own["model_seed"], own[name], strict=True)
    return list(by_unit({(int(split), int(model)): float(v) for split, model, v in runs}, evidence.study).values())


def sample_means(evidence: Evidence, runs: pd.DataFrame) -> list[SampleMeans]:
    """Summarize each arm at each condition, then the floor there."""
    rows = []
    for condition in measured_conditions(evidence, runs):
        reference = references(runs, condition)[0]
        for arm in measured_arms(evidence, runs):
            if len(own := _at(runs, condition, arm)):
                estimates = {name: mean_interval(_by_unit(evidence, own, name)) for name in DISTANCES}
                rows.append(SampleMeans(arm, condition, reference, estimates))
        once = _at(runs, condition).drop_duplicates("split_seed")  # arms of a seed share their real images
        floor = {name: mean_interval(once[f"floor_{name}"]) for name in DISTANCES}
        rows.append(SampleMeans(None, condition, reference, floor))
    return rows


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rho, ties at their mean rank; NaN below `LEAST_RANKED` pairs and where one side is constant."""
    if len(x) < LEAST_RANKED:
        return math.nan
    ranks = [pd.Series(values, dtype=float).rank().to_numpy() for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def correlations(evidence: Evidence, runs: pd.DataFrame) -> list[Correlation]:
    """Rank the arms' means at each condition, and the units (see `by_unit`) of each arm at each condition."""
    rows = []
    for condition in measured_conditions(evidence, runs):
        groups = [(arm, _at(runs, condition, arm)) for arm in measured_arms(evidence, runs)]
        groups = [(arm, own) for arm, own in groups if len(own)]
        units = {arm: [_by_unit(evidence, own, name) for name in ("frechet", "error_rate")] for arm, own in groups}
        means = [(float(np.mean(frechet)), float(np.mean(error))) for frechet, error in units.values()]
        rows.append(Correlation(None, condition, rank_correlation(*zip(*means, strict=True)), len(means)))
        for arm, (frechet, error) in units.items():
            rows.append(Correlation(arm, condition, rank_correlation(frechet, error), len(frechet)))
    return rows
