"""What counts as one independent observation of a study: a seed, or a split where a split is run with several seeds."""

import math
from collections.abc import Mapping

from ssgan_bench.reporting.evidence import StudyEvidence

Seeds = tuple[int, int]
"""(split_seed, model_seed): what makes two runs of different arms a pair."""


def several_splits(study: StudyEvidence) -> bool:
    """Tell whether the choice of labeled images varies, so that splits are what is sampled."""
    return len({cell.split_seed for cell in study.cells}) > 1


def models_per_split(study: StudyEvidence) -> int:
    """Largest number of model seeds that a split is run with, where splits vary; 1 is one run per split."""
    runs: dict[int, set[int]] = {}
    for cell in study.cells:
        runs.setdefault(cell.split_seed, set()).add(cell.model_seed)
    return max(map(len, runs.values()), default=1) if several_splits(study) else 1


def unit_noun(study: StudyEvidence) -> str:
    """Name what n counts: "seed", or "split" where each split is run with several model seeds."""
    return "split" if models_per_split(study) > 1 else "seed"


def by_unit(runs: Mapping[Seeds, float], study: StudyEvidence) -> dict[int, float]:
    """Reduce runs to independent units: the mean over model seeds of each split, in the order of split seeds.

    Runs of one split share their labeled images and are no independent evidence about others, so n is the number of
    splits. A study of a single split counts model seeds instead, and says nothing about other splits.
    """
    at = 0 if several_splits(study) else 1
    grouped: dict[int, list[float]] = {}
    for seeds in sorted(runs):
        grouped.setdefault(seeds[at], []).append(runs[seeds])
    return {
        unit: values[0] if len(values) == 1 else math.fsum(values) / len(values) for unit, values in grouped.items()
    }


def paired(ours: Mapping[Seeds, float], theirs: Mapping[Seeds, float], study: StudyEvidence) -> list[float]:
    """Differences ours minus theirs by unit: taken between runs of equal seeds, then averaged within a split."""
    shared = ours.keys() & theirs.keys()
    return list(by_unit({seeds: ours[seeds] - theirs[seeds] for seeds in shared}, study).values())
