"""A search: for each arm an Optuna study whose trials TPE samples and a Wilcoxon test prunes between tuning seeds.

With queue.py, the only file that imports Optuna. A trial waits without parameters until a worker takes it; then they
are sampled from what the arm's earlier trials reached. Every trial has a sampler of its own, seeded by (sampler seed,
arm, number), so that one worker makes the same search however often it is interrupted. Several workers do not: what
has finished when a trial begins depends on their speed.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ssgan_bench.records.search_schema import Dimension, Record, SearchArm, SearchPlan, SearchRecord
from ssgan_bench.seeding import stream_seed
from ssgan_bench.trials import presence
from ssgan_bench.trials.queue import Claim, Counts, Trials, experimental_accepted, talks_to_database

PRUNE_P = 0.1
"""One-sided p of the Wilcoxon test against the best trial so far, below which a trial ends early."""
SEEDS_BEFORE_PRUNING = 4
"""The smallest p of n pairs is 2^-n: fewer than four seeds could never fall below `PRUNE_P`."""
MAX_RANDOM_TRIALS = 10
"""Trials before TPE begins: a third of them, at most so many (Optuna's default)."""
STATE_OF_STATUS = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class SearchTrials(Trials):
    """The trials of all arms, one Optuna study per arm."""

    def __init__(self, url: str, plan: SearchPlan, folder: Path, *, create: bool = False):
        self._plan = plan
        self._arm_index = {arm.name: index for index, arm in enumerate(plan.arms)}
        self._order = {trial_id: index for index, trial_id in enumerate(plan.trial_ids)}
        self._taken: dict[str, optuna.Trial] = {}
        start = f"{plan.study}-{plan.preset}-search-{plan.fingerprint()[:12]}"
        super().__init__(
            url, folder, lambda folder_id: [f"{start}-{arm.name}-{folder_id}" for arm in plan.arms], create=create
        )

    @talks_to_database
    def update(self, finished_record: Callable[[str], Record | None], may_try: Callable[[str], bool]) -> Counts:
        with self._lock:
            for study in self._studies:
                with experimental_accepted():
                    optuna.storages.fail_stale_trials(study)  # workers on other machines
            waiting, running, closed = set[str](), set[str](), set[str]()
            interrupted: dict[str, dict[str, Any]] = {}
            for trial in self._trials():
                trial_id, name = trial.user_attrs["trial"], trial.user_attrs.get("worker", "")
                if trial.state == TrialState.WAITING:
                    waiting.add(trial_id)
                elif trial.state == TrialState.RUNNING and presence.is_alive(self._folder, name):
                    running.add(trial_id)
                elif trial.state == TrialState.RUNNING:
                    record = finished_record(trial_id)
                    self._close(trial._trial_id, record)
                    presence.forget(self._folder, name)
                    if record is None:
                        interrupted[trial_id] = trial.params
                    else:
                        closed.add(trial_id)
                elif trial.state == TrialState.FAIL and trial.user_attrs.get("status") != "failed":
                    interrupted[trial_id] = trial.params
                elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                    closed.add(trial_id)
            for trial_id in self._order:
                if trial_id in waiting or trial_id in running:
                    continue
                arm, number = self._plan.trial(trial_id)
                study = self._studies[self._arm_index[arm.name]]
                record = finished_record(trial_id)
                if isinstance(record, SearchRecord):
                    if trial_id not in closed:  # the database was lost, or is another one
                        study.add_trial(finished_trial(arm, record))
                elif may_try(trial_id):
                    params = interrupted.get(trial_id, {})
                    if params.keys() != arm.space.keys():  # none, or killed while they were being sampled
                        params = arm.default if number == 0 and arm.default is not None else {}
                    study.enqueue_trial(params, user_attrs={"trial": trial_id})
                    waiting.add(trial_id)
            return Counts(len(waiting), len(running))

    @talks_to_database
    def claim(self, worker_name: str) -> Claim | None:
        with self._lock:  # also while sampling: the next trial is to know this one's parameters
            found = self._trials(TrialState.WAITING)
            for trial in sorted(found, key=lambda trial: self._order[trial.user_attrs["trial"]]):
                if self.take(trial._trial_id, worker_name):
                    claim = Claim(trial._trial_id, trial.user_attrs["trial"])
                    self._taken = {claim.cell_id: self._sample(claim)}
                    return claim
        return None

    def params(self, claim: Claim) -> dict[str, Any]:
        """Parameters of the trial that this process took last."""
        return dict(self._taken[claim.cell_id].params)

    @talks_to_database
    def report(self, claim: Claim, step: int, error_rate: float) -> bool:
        """Note what the run with tuning seed number `step` reached; returns whether the trial is to end here."""
        trial = self._taken[claim.cell_id]
        trial.report(error_rate, step)
        done = step + 1
        return SEEDS_BEFORE_PRUNING <= done < len(self._plan.tuning_seeds) and trial.should_prune()

    @talks_to_database
    def finish(self, claim: Claim, record: Record | None) -> None:
        self._close(claim.trial_id, record)

    def _close(self, trial_id: int, record: Record | None) -> None:
        # A trial that raised an exception is repeated with other parameters; one whose worker died, with the same.
        status = "interrupted" if record is None else record.status
        values = [record.mean_error] if isinstance(record, SearchRecord) and status == "complete" else None
        self.set_state(trial_id, status, STATE_OF_STATUS.get(status, TrialState.FAIL), values)

    def _sample(self, claim: Claim) -> optuna.Trial:
        arm, number = self._plan.trial(claim.cell_id)
        tries = sum(
            trial.user_attrs["trial"] == claim.cell_id and trial.user_attrs.get("status") == "failed"
            for trial in self._trials(TrialState.FAIL)
        )
        sampler = TPESampler(
            seed=stream_seed(self._plan.sampler_seed, f"search/{arm.name}/{number}", tries) % 2**32,
            n_startup_trials=min(MAX_RANDOM_TRIALS, max(2, self._plan.num_trials // 3)),
            multivariate=True,
            constant_liar=True,
        )
        with experimental_accepted():
            pruner = WilcoxonPruner(p_threshold=PRUNE_P, n_startup_steps=SEEDS_BEFORE_PRUNING)
        # A new view of the study, with nothing remembered from the last trial, as `ask` would take it.
        name = self._studies[self._arm_index[arm.name]].study_name
        study = optuna.load_study(storage=self._storage, study_name=name, sampler=sampler, pruner=pruner)
        study.get_trials(deepcopy=False)  # its cache does not know the claimed trial yet
        trial = optuna.Trial(study, claim.trial_id)
        for key, dimension in arm.space.items():
            suggest(trial, key, dimension)
        return trial

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return [
            trial
            for study_id in self._study_ids
            for trial in self._storage.get_all_trials(study_id, deepcopy=False, states=states or None)
            if trial.user_attrs.get("trial") in self._order
        ]


def distribution(dimension: Dimension) -> BaseDistribution:
    """Write a dimension as Optuna's distribution."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low: Any = dimension.low
    high: Any = dimension.high
    kind = IntDistribution if dimension.is_integer else FloatDistribution
    return kind(low, high, log=dimension.log)


def suggest(trial: optuna.Trial, key: str, dimension: Dimension) -> None:
    """Let Optuna choose the value of one key."""
    low: Any = dimension.low
    high: Any = dimension.high
    if dimension.choices is not None:
        trial.suggest_categorical(key, dimension.choices)
    elif dimension.is_integer:
        trial.suggest_int(key, low, high, log=dimension.log)
    else:
        trial.suggest_float(key, low, high, log=dimension.log)


def finished_trial(arm: SearchArm, record: SearchRecord) -> FrozenTrial:
    """Write a finished record as Optuna's trial."""
    return create_trial(
        state=STATE_OF_STATUS[record.status],
        value=record.mean_error if record.status == "complete" else None,
        params=record.params,
        distributions={key: distribution(dimension) for key, dimension in arm.space.items()},
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
