"""Two evidences of one study, paired run by run: the numbers behind "did I reproduce it?".

A pair is the same arm at the same levels with the same seeds, run twice: at two commits, on two machines, or once by
the authors and once by a user.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ssgan_bench.config import ConfigError
from ssgan_bench.records.store import RecordStore
from ssgan_bench.reporting.evidence import Evidence, read_evidence, write_evidence
from ssgan_bench.reporting.evidence_columns import METRICS
from ssgan_bench.reporting.frames import ALPHA, Condition, condition_of, conditions
from ssgan_bench.reporting.stats import Estimate, holm, mean_interval, p_floor, sign_flip_p
from ssgan_bench.reporting.units import Seeds, by_unit

Run = Mapping[str, Any]
"""A row of `runs.csv`."""
Key = tuple[str, Condition, int, int]
"""Arm, levels in the order of the sorted factor keys, split seed, model seed."""


@dataclass(frozen=True)
class Pair:
    """The same cell in both evidences, run in both."""

    arm: str
    condition: Condition
    first: Run
    second: Run

    @cached_property
    def identical(self) -> bool:
        """Whether both ended alike with metrics that are equal bit for bit."""
        equal = all(
            a == b or (math.isnan(a) and math.isnan(b))
            for a, b in ((self.first[name], self.second[name]) for name in METRICS)
        )
        return bool(self.first["status"] == self.second["status"] and equal)


@dataclass(frozen=True)
class Group:
    """The pairs of one arm at one condition in which both runs have the study's metric."""

    arm: str
    condition: Condition
    identical: int
    first: Estimate
    second: Estimate
    difference: Estimate
    """Second minus first; `n` of all three counts units (see `by_unit`)."""
    num_pairs: int
    """Pairs of runs."""
    largest: float
    """Largest absolute difference of a pair."""


@dataclass(frozen=True)
class ArmTest:
    """An arm's difference over all its conditions: what the verdict rests on.

    One test per arm, since one per arm and condition could show nothing with the seeds that a study has.
    """

    arm: str
    num_conditions: int
    difference: Estimate
    """Second minus first: per pair of seeds the mean over the conditions, then over units (see `by_unit`)."""
    p: float
    """Exact two-sided sign-flip p; NaN below two units."""
    p_holm: float
    """Adjusted over the arms."""


@dataclass(frozen=True)
class Comparison:
    """Everything that a page about two evidences says."""

    first: Evidence
    second: Evidence
    pairs: list[Pair]
    groups: list[Group]
    tests: list[ArmTest]
    only_first: list[Key]
    """Runs that the other evidence did not plan, or has not run yet."""
    only_second: list[Key]

    @property
    def outcome(self) -> str:
        """One of "nothing", "identical", "different", "undecided", "agrees"."""
        if not self.pairs:
            return "nothing"
        if all(pair.identical for pair in self.pairs):
            return "identical"
        if any(test.p_holm <= ALPHA for test in self.tests):
            return "different"
        return "agrees" if self.smallest_p <= ALPHA else "undecided"

    @property
    def smallest_p(self) -> float:
        """Smallest adjusted p that the tests could give at all; 1 without tests."""
        most = max((test.difference.n for test in self.tests), default=0)
        return min(1.0, p_floor(most) * len(self.tests)) if most else 1.0


def load(folder: Path) -> Evidence:
    """Read the evidence that a report folder or an evidence folder holds, or that a run folder's records give.

    Raises:
        ConfigError: it is none of these, or what is there cannot be read.
    """
    if (folder / "evidence" / "study.json").is_file():
        return read_evidence(folder / "evidence")
    if (folder / "study.json").is_file():
        return read_evidence(folder)
    if (folder / "plan.json").is_file():
        with tempfile.TemporaryDirectory() as temporary:
            write_evidence(RecordStore(folder), Path(temporary))
            return read_evidence(Path(temporary))
    raise ConfigError(
        f"{folder}: no report, evidence or run folder; name one that holds evidence/, study.json or plan.json"
    )


def _by_key(evidence: Evidence) -> dict[Key, Run]:
    factors = sorted(evidence.study.factors, key=lambda factor: factor.key)
    rows = [{str(name): value for name, value in row.items()} for row in evidence.runs.to_dict("records")]
    return {
        (cell.arm, condition_of(cell.levels, factors), cell.split_seed, cell.model_seed): row
        for cell, row in zip(evidence.study.cells, rows, strict=True)
        if row["status"] != "missing"
    }


def _refuse_unlike(first: Evidence, second: Evidence, names: tuple[str, str]) -> None:
    for what in ("study", "preset", "protocol_version", "metric"):
        a, b = getattr(first.study, what), getattr(second.study, what)
        if a != b:
            raise ConfigError(
                f"{names[0]} has {what} {a!r}, {names[1]} has {b!r}; only runs of one study, preset and protocol can "
                "be paired: compare two folders that agree in it"
            )
    keys = [sorted(factor.key for factor in evidence.study.factors) for evidence in (first, second)]
    if keys[0] != keys[1]:
        varied = [_listed(own) or "nothing" for own in keys]
        raise ConfigError(
            f"{names[0]} varies {varied[0]}, {names[1]} varies {varied[1]}; runs are paired by levels: compare two "
            "folders that vary the same"
        )


def compare(first: Evidence, second: Evidence, names: tuple[str, str]) -> Comparison:
    """Pair the runs of two evidences and compare them arm by arm and condition by condition.

    Args:
        first: the reference.
        second: what is held against it.
        names: what to call them in an error.

    Raises:
        ConfigError: they are of different studies, presets, protocols, metrics or factors.
    """
    _refuse_unlike(first, second, names)
    study = first.study
    ours, theirs = _by_key(first), _by_key(second)
    sorted_factors = sorted(study.factors, key=lambda factor: factor.key)
    places = [sorted_factors.index(factor) for factor in study.factors]
    pairs = [
        Pair(key[0], tuple(key[1][i] for i in places), run, theirs[key]) for key, run in ours.items() if key in theirs
    ]
    return Comparison(
        first,
        second,
        pairs,
        _groups(first, pairs),
        _tests(first, pairs),
        [key for key in ours if key not in theirs],
        [key for key in theirs if key not in ours],
    )


def _measured(first: Evidence, pairs: list[Pair]) -> list[Pair]:
    """Keep the pairs in which both runs have the study's metric."""
    metric = first.study.metric
    return [pair for pair in pairs if not (math.isnan(pair.first[metric]) or math.isnan(pair.second[metric]))]


def _seeds(pair: Pair) -> Seeds:
    return int(pair.first["split_seed"]), int(pair.first["model_seed"])


def _groups(first: Evidence, pairs: list[Pair]) -> list[Group]:
    study, metric = first.study, first.study.metric
    found: dict[tuple[str, Condition], list[Pair]] = {}
    for pair in _measured(first, pairs):
        found.setdefault((pair.arm, pair.condition), []).append(pair)
    groups = []
    for key in ((arm.name, c) for arm in study.arms for c in conditions(study)):
        own = found.get(key, [])
        if own:
            both = {_seeds(pair): (pair.first[metric], pair.second[metric]) for pair in own}
            differences = {seeds: b - a for seeds, (a, b) in both.items()}
            sides = ({seeds: values[side] for seeds, values in both.items()} for side in (0, 1))
            first_mean, second_mean, difference = (
                mean_interval(list(by_unit(runs, study).values())) for runs in (*sides, differences)
            )
            identical, largest = sum(pair.identical for pair in own), max(map(abs, differences.values()))
            groups.append(Group(*key, identical, first_mean, second_mean, difference, len(own), largest))
    return groups


def _tests(first: Evidence, pairs: list[Pair]) -> list[ArmTest]:
    metric = first.study.metric
    measured = _measured(first, pairs)
    rows: list[tuple[str, int, list[float]]] = []
    for arm in (arm.name for arm in first.study.arms):
        own = [pair for pair in measured if pair.arm == arm]
        by_seed: dict[Seeds, list[float]] = {}
        for pair in own:
            by_seed.setdefault(_seeds(pair), []).append(pair.second[metric] - pair.first[metric])
        if own:
            runs = {seeds: _mean_difference(values) for seeds, values in by_seed.items()}
            means = list(by_unit(runs, first.study).values())
            rows.append((arm, len({pair.condition for pair in own}), means))
    p = [sign_flip_p(means) if len(means) > 1 else math.nan for _, _, means in rows]
    return [
        ArmTest(arm, count, mean_interval(means), raw, adjusted)
        for (arm, count, means), raw, adjusted in zip(rows, p, holm(p).tolist(), strict=True)
    ]


def _mean_difference(values: list[float]) -> float:
    """Mean of a seed's differences; zero where they cancel but for rounding, whose signs a test would read."""
    total = math.fsum(values)
    return 0.0 if abs(total) <= 1e-9 * math.fsum(map(abs, values)) else total / len(values)


def setup_differences(comparison: Comparison) -> list[tuple[str, str, str]]:
    """List what differs in plan, configuration and environment: (what, in the first, in the second)."""
    one, two = comparison.first.study, comparison.second.study
    rows = [("seeds", _listed(one.seeds), _listed(two.seeds)), ("baseline", one.baseline, two.baseline)]
    rows.append(("arms", _listed(a.name for a in one.arms), _listed(a.name for a in two.arms)))
    other = {factor.key: factor.levels for factor in two.factors}
    rows += [(f"levels of {f.key}", _listed(f.levels), _listed(other[f.key])) for f in one.factors]
    rows.append(("family", _listed(one.family), _listed(two.family)))
    rows += [(name, _planned(getattr(one, name)), _planned(getattr(two, name))) for name in DECLARED]
    shared = [arm.name for arm in one.arms if arm.name in two.arm_configs]
    changed: dict[tuple[str, str, str], list[str]] = {}
    for arm in shared:
        a, b = one.arm_configs[arm], two.arm_configs[arm]
        for key in sorted(a.keys() | b.keys()):
            here, there = (str(config[key]) if key in config else "absent" for config in (a, b))
            changed.setdefault((key, here, there), []).append(arm)
    rows += [(f"{k} ({'all arms' if arms == shared else _listed(arms)})", a, b) for (k, a, b), arms in changed.items()]
    rows += [(name, _seen(comparison.first, name), _seen(comparison.second, name)) for name in PROVENANCE]
    return [row for row in rows if row[1] != row[2]]


DECLARED = ("margin", "yardsticks", "sample_quality", "expectation")
"""Further fields of the plan, on which the verdicts or what was measured rest."""
PROVENANCE = (
    *("commit", "device", "device_name", "num_threads", "python", "torch", "torchvision", "optuna", "ssgan_bench"),
    *("platform", "dataset_sha256", "schema_version"),
)


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values)


def _planned(value: Any) -> str:
    """Write a declared field of the plan."""
    if isinstance(value, tuple):
        return _listed(value) or "none"
    return "none" if value in (None, "") else str(value)


def _seen(evidence: Evidence, name: str) -> str:
    """Write the distinct values of a column over the runs that have one, the most frequent first."""
    values = [v for v in evidence.runs[name].tolist() if v not in ("", None) and v == v]
    counts = Counter(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
    return _listed(sorted(counts, key=lambda text: (-counts[text], text))) or "unknown"
