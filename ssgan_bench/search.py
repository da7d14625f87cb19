"""A search: for each arm an Optuna study whose trials TPE samples and a Wilcoxon test prunes between tuning seeds.

The studies are in memory, made from the records whenever a search goes on, so that no storage can change or stop it;
the storage is told of every trial (ledger.py). Every trial has a sampler of its own, seeded by (sampler seed, arm,
number), so that one worker makes the same search however often it is interrupted. Several workers do not: what has
finished when a trial begins depends on their speed.
"""

import warnings
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.coordinator import MAX_ATTEMPTS, Work
from ssgan_bench.engines.base import Outcome
from ssgan_bench.ledger import Entry, Mirror, folder_id
from ssgan_bench.records.schema import Provenance
from ssgan_bench.records.search_schema import (
    Dimension,
    FailedTry,
    SearchArm,
    SearchPlan,
    SearchRecord,
    SeedScore,
)
from ssgan_bench.records.store import SearchStore
from ssgan_bench.seeding import stream_seed
from ssgan_bench.trials.plan import merged, nested
from ssgan_bench.trials.task import ScoreResult, Task

PRUNE_P = 0.1
"""One-sided p of the Wilcoxon test against the best trial so far, below which a trial ends early."""
SEEDS_BEFORE_PRUNING = 4
"""The smallest p of n pairs is 2^-n: fewer than four seeds could never fall below `PRUNE_P`."""
MAX_RANDOM_TRIALS = 10
"""Trials before TPE begins: a third of them, at most so many (Optuna's default)."""
STATE_OF_STATUS = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass
class _UnderWay:
    """A trial whose tuning seeds are being run, one after the other."""

    arm: SearchArm
    number: int
    trial: optuna.Trial
    failures: tuple[FailedTry, ...]
    """Its earlier tries."""
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    scores: list[SeedScore] = field(default_factory=list)
    seconds: float = 0.0
    provenance: Provenance | None = None


class SearchWork(Work):
    """The trials of a search that have no finished record, in its order; each seed of a trial is a task."""

    def __init__(self, plan: SearchPlan, store: SearchStore, mirror: Mirror):
        """Take over what is on disk, whoever wrote it, and tell the storage of it.

        Args:
            plan: the search.
            store: where the records of its trials are.
            mirror: has the studies that `study_names` lists.
        """
        super().__init__(len(plan.trial_ids))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._plan, self._store, self._mirror = plan, store, mirror
        self._names = dict(zip((arm.name for arm in plan.arms), study_names(plan, store.folder), strict=True))
        pruner = _pruner()
        self._studies = {arm.name: optuna.create_study(pruner=pruner) for arm in plan.arms}
        self._attempts: Counter[str] = Counter()
        self._waiting: deque[str] = deque()
        self._between_seeds: deque[str] = deque()
        """Trials under way that no worker runs a seed of."""
        self._under_way: dict[str, _UnderWay] = {}
        for trial_id in plan.trial_ids:
            record = store.record(trial_id)
            if record is None or not record.is_finished:
                self._waiting.append(trial_id)
                continue
            arm, _ = plan.trial(trial_id)
            self.progress.finished[trial_id] = record
            self._studies[arm.name].add_trial(finished_trial(arm, record))
            self._tell(arm, trial_id, record.params, record.scores, record.status)

    def next(self) -> Task | None:
        if self._between_seeds:
            trial_id = self._between_seeds.popleft()
        elif self._waiting:
            trial_id = self._waiting.popleft()
            self._under_way[trial_id] = self._begin(trial_id)
        else:
            return None
        trial = self._under_way[trial_id]
        self._tell(trial.arm, trial_id, trial.trial.params, trial.scores, "running")
        seed = self._plan.tuning_seeds[len(trial.scores)]
        return Task(f"{trial_id}/{seed}", run_config(trial.arm, trial.trial.params, seed))

    def take(self, outcome: Outcome) -> None:
        trial_id = outcome.task_id.rpartition("/")[0]
        trial = self._under_way[trial_id]
        if not isinstance(outcome.result, ScoreResult):
            self._lose(trial_id, outcome.lost)
            return
        result = outcome.result
        trial.seconds += result.seconds
        trial.provenance = trial.provenance or result.provenance
        if result.score is None:
            trial.failures += (FailedTry(params=trial.trial.params, error=result.error),)
            self._store.write_failure(trial_id, result.traceback)
            self._end(trial_id, "failed")
            return
        trial.scores.append(result.score)
        trial.trial.report(result.score.error_rate, len(trial.scores) - 1)
        if len(trial.scores) == len(self._plan.tuning_seeds):
            self._end(trial_id, "complete")
        elif len(trial.scores) >= SEEDS_BEFORE_PRUNING and trial.trial.should_prune():
            self._end(trial_id, "pruned")
        else:
            self._between_seeds.append(trial_id)

    def _begin(self, trial_id: str) -> _UnderWay:
        """Let the arm's study choose parameters, from what its earlier trials have reached."""
        arm, number = self._plan.trial(trial_id)
        earlier = self._store.record(trial_id)
        failures = () if earlier is None else earlier.failures
        study = self._studies[arm.name]
        study.sampler = TPESampler(
            seed=stream_seed(self._plan.sampler_seed, f"search/{arm.name}/{number}", len(failures)) % 2**32,
            n_startup_trials=min(MAX_RANDOM_TRIALS, max(2, self._plan.num_trials // 3)),
            multivariate=True,
            constant_liar=True,
        )
        if number == 0 and arm.default is not None and not failures:
            study.enqueue_trial(dict(arm.default))
        return _UnderWay(arm, number, study.ask(_distributions(arm)), failures)

    def _lose(self, trial_id: str, why: str) -> None:
        """Run the seed whose worker was lost again, with the same parameters, or give the trial up."""
        trial = self._under_way[trial_id]
        self.progress.failed[trial_id] = why
        self._attempts[trial_id] += 1
        if self._attempts[trial_id] < MAX_ATTEMPTS:
            self._between_seeds.append(trial_id)
            return
        del self._under_way[trial_id]
        self._studies[trial.arm.name].tell(trial.trial, state=TrialState.FAIL)
        self._tell(trial.arm, trial_id, trial.trial.params, trial.scores, "failed")

    def _end(self, trial_id: str, status: str) -> None:
        """Write the record of a trial. One that raised an exception is tried again, with other parameters."""
        trial = self._under_way.pop(trial_id)
        params = trial.trial.params
        record = SearchRecord(
            protocol_version=PROTOCOL_VERSION,
            study=self._plan.study,
            preset=self._plan.preset,
            trial_id=trial_id,
            arm=trial.arm.name,
            trial=trial.number,
            status=status,  # type: ignore[arg-type]
            params=params,
            scores=tuple(trial.scores),
            failures=trial.failures,
            seconds=trial.seconds,
            provenance=trial.provenance,
            started_at=trial.started_at,
        )
        self._store.write_record(record)
        self.progress.last = record
        value = record.mean_error if status == "complete" else None
        self._studies[trial.arm.name].tell(trial.trial, value, state=STATE_OF_STATUS[status])
        self._tell(trial.arm, trial_id, params, record.scores, status)
        if record.is_finished:
            self.progress.finished[trial_id] = record
            self.progress.failed.pop(trial_id, None)
            return
        self.progress.failed[trial_id] = record.error or "failed"
        self._attempts[trial_id] += 1
        if self._attempts[trial_id] < MAX_ATTEMPTS:
            self._waiting.appendleft(trial_id)

    def _tell(
        self, arm: SearchArm, trial_id: str, params: Mapping[str, Any], scores: Sequence[SeedScore], status: str
    ) -> None:
        errors = tuple(score.error_rate for score in scores)
        entry = Entry(
            self._names[arm.name],
            trial_id,
            params,
            _distributions(arm),
            STATE_OF_STATUS.get(status, TrialState.RUNNING),
            sum(errors) / len(errors) if status == "complete" else None,
            errors,
            {"status": status, "seeds": [score.seed for score in scores]},
        )
        self._mirror.put(entry)


def study_names(plan: SearchPlan, folder: Path) -> list[str]:
    """Name the Optuna studies of a search, one per arm, in the order of its arms."""
    start = f"{plan.study}-{plan.preset}-search-{plan.fingerprint()[:12]}"
    return [f"{start}-{arm.name}-{folder_id(folder)}" for arm in plan.arms]


def run_config(arm: SearchArm, params: dict[str, Any], seed: int) -> dict[str, Any]:
    """Put chosen values and a tuning seed into an arm's configuration."""
    return merged(arm.config, nested(params)) | {"split_seed": seed, "model_seed": seed}


def _pruner() -> WilcoxonPruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=PRUNE_P, n_startup_steps=SEEDS_BEFORE_PRUNING)


def _distributions(arm: SearchArm) -> dict[str, BaseDistribution]:
    return {key: distribution(dimension) for key, dimension in arm.space.items()}


def distribution(dimension: Dimension) -> BaseDistribution:
    """Write a dimension as Optuna's distribution."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low: Any = dimension.low
    high: Any = dimension.high
    kind = IntDistribution if dimension.is_integer else FloatDistribution
    return kind(low, high, log=dimension.log)


def finished_trial(arm: SearchArm, record: SearchRecord) -> FrozenTrial:
    """Write a finished record as Optuna's trial."""
    return create_trial(
        state=STATE_OF_STATUS[record.status],
        value=record.mean_error if record.status == "complete" else None,
        params=record.params,
        distributions=_distributions(arm),
        intermediate_values={step: score.error_rate for step, score in enumerate(record.scores)},
        user_attrs={"trial": record.trial_id, "status": record.status},
    )


def importances(plan: SearchPlan, records: Sequence[SearchRecord]) -> dict[str, dict[str, float]]:
    """Share of the variance of the mean validation error that each key explains, by arm (functional ANOVA).

    Over complete trials, from a random forest fitted to them; an arm has none where they are fewer than two or all
    reached the same.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, dict[str, float]] = {}
    for arm in plan.arms:
        study = optuna.create_study()
        for record in records:
            if record.arm == arm.name and record.status == "complete":
                study.add_trial(finished_trial(arm, record))
        if len({trial.value for trial in study.trials}) < 2:
            found[arm.name] = {}
            continue
        shares: Mapping[str, float] = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
        found[arm.name] = {key: float(shares.get(key, 0.0)) for key in arm.space}
    return found
