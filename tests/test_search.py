"""A search keeps its number of trials and its values whatever happens to its processes, and never sees the test set."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_search
import pytest
import torch
from fake_program import FakeProgram, ended
from fake_search import DEFAULT, PROVENANCE, error_of, make_plan
from tiny_study import tiny_plan

from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.coordinator import coordinate
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.engines.base import Outcome
from ssgan_bench.ledger import Entry
from ssgan_bench.records.search_schema import SearchPlan, SearchRecord, SeedScore
from ssgan_bench.records.store import SearchStore
from ssgan_bench.search import SearchWork, importances
from ssgan_bench.trials import run
from ssgan_bench.trials.run import CellRunner
from ssgan_bench.trials.task import RunnerSpec, ScoreResult, Task

CHANCE = 0.9


class Here:
    """An engine that scores in this process what a function of the configuration says, and stops after some runs.

    The chance level stands for a run that diverged.
    """

    capacity = 1

    def __init__(self, error: Callable[[RunConfig], float], most: int):
        self._error, self._left = error, most
        self._task: Task

    def submit(self, task: Task) -> None:
        self._task = task

    def outcomes(self, timeout: float) -> list[Outcome]:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        config = RunConfig.model_validate(self._task.work)
        try:
            error = self._error(config)
        except MemoryError as failure:
            result = ScoreResult(None, PROVENANCE, 1.0, f"MemoryError: {failure}", "Traceback ... MemoryError")
        else:
            diverged_step = 3 if error == CHANCE else None
            score = SeedScore(seed=config.model_seed, error_rate=error, diverged_step=diverged_step)
            result = ScoreResult(score, PROVENANCE, 1.0)
        return [Outcome(self._task.task_id, result)]

    def stop(self) -> None:
        pass


class FakeMirror:
    """Remembers how each trial stood last."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def put(self, entry: Entry) -> None:
        self.entries[entry.key] = entry


def run_search(
    plan: SearchPlan, folder: Path, error: Callable[[RunConfig], float] = error_of, most: int = -1
) -> dict[str, SearchRecord]:
    """Run a search in this process until it is done, or was interrupted after `most` runs; its records by id."""
    store = SearchStore(folder)
    work = SearchWork(plan, store, FakeMirror())  # type: ignore[arg-type]
    with contextlib.suppress(KeyboardInterrupt):
        coordinate(work, Here(error, most), lambda progress: None)
    return {record.trial_id: record for record in store.records()}


def choices(records: dict[str, SearchRecord]) -> dict[str, tuple[Any, ...]]:
    return {key: (record.status, record.params, record.scores) for key, record in records.items()}


def states(folder: Path) -> Counter[str]:
    """Of the trials in the storage."""
    connection = sqlite3.connect(folder / "optuna.db")
    try:
        return Counter(state for (state,) in connection.execute("select state from trials"))
    finally:
        connection.close()


def test_every_arm_gets_its_number_of_trials_beginning_with_its_own_values(tmp_path: Path) -> None:
    plan = make_plan()
    records = run_search(plan, tmp_path)
    assert sorted(records) == sorted(plan.trial_ids)
    assert records["a-0000"].params == records["b-0000"].params == DEFAULT
    for record in records.values():
        assert all(plan.arms[0].space[key].contains(value) for key, value in record.params.items())
        assert [score.seed for score in record.scores] == list(plan.tuning_seeds)
    assert len({str(record.params) for record in records.values()}) > 10


def test_the_search_learns_from_its_trials(tmp_path: Path) -> None:
    """TPE's later half is better than its random start, on a bowl."""
    plan = make_plan(num_trials=18, num_seeds=1, arms=("a",))
    means = [record.mean_error for _, record in sorted(run_search(plan, tmp_path).items())]
    assert sum(means[10:]) / 8 < 0.8 * sum(means[1:6]) / 5


def test_an_interrupted_search_continues_to_the_very_same_trials(tmp_path: Path) -> None:
    """Between trials and in the middle of them; whatever the storage holds."""
    plan = make_plan()
    whole = run_search(plan, tmp_path / "whole")
    for most in (3, 1, 7, 5):
        run_search(plan, tmp_path / "parts", most=most)
    parts = run_search(plan, tmp_path / "parts")
    assert choices(parts) == choices(whole)


def test_a_search_chooses_and_prunes_as_it_did_before(tmp_path: Path) -> None:
    """Pinned: made by the queue of workers that this coordinator took the place of (version 0.4)."""
    kept = json.loads(Path(__file__).with_name("search_choices.json").read_text())
    for plan, expected in zip((make_plan(), make_plan(num_trials=12, num_seeds=6)), kept, strict=True):
        records = run_search(plan, tmp_path / str(len(plan.tuning_seeds)))
        found = {
            key: [record.status, record.params, [[score.seed, score.error_rate] for score in record.scores]]
            for key, record in records.items()
        }
        assert found == expected


def test_the_storage_is_told_how_every_trial_went(tmp_path: Path) -> None:
    plan = make_plan(num_trials=3, num_seeds=2, arms=("a",))
    mirror = FakeMirror()
    work = SearchWork(plan, SearchStore(tmp_path), mirror)  # type: ignore[arg-type]
    coordinate(work, Here(error_of, -1), lambda progress: None)
    again = FakeMirror()
    SearchWork(plan, SearchStore(tmp_path), again)  # type: ignore[arg-type]
    assert again.entries == mirror.entries  # a lost storage is filled from the records
    for key, record in work.progress.finished.items():
        assert isinstance(record, SearchRecord)
        trial = mirror.entries[key].frozen()
        assert (trial.state.name, trial.value, trial.params) == ("COMPLETE", record.mean_error, record.params)
        assert trial.intermediate_values == {0: record.scores[0].error_rate, 1: record.scores[1].error_rate}


def test_a_lost_worker_costs_the_run_of_one_seed_which_is_made_again_with_the_same_values(tmp_path: Path) -> None:
    plan = make_plan()
    lost: list[str] = []

    class Losing(Here):
        def outcomes(self, timeout: float) -> list[Outcome]:
            if self._task.task_id == "b-0002/501" and len(lost) < self.times:
                lost.append(self._task.task_id)
                return [Outcome(self._task.task_id, lost="killed")]
            return super().outcomes(timeout)

    whole = run_search(plan, tmp_path / "whole")
    for Losing.times in (1, 2):  # type: ignore[attr-defined]
        lost.clear()
        store = SearchStore(tmp_path / str(Losing.times))  # type: ignore[attr-defined]
        work = SearchWork(plan, store, FakeMirror())  # type: ignore[arg-type]
        progress = coordinate(work, Losing(error_of, -1), lambda progress: None)
        records = {record.trial_id: record for record in store.records()}
        if len(lost) == 1:
            assert choices(records) == choices(whole)
        else:  # twice: given up in this call, and the others go on
            assert (progress.failed, sorted(records.keys() ^ whole.keys())) == ({"b-0002": "killed"}, ["b-0002"])


def test_a_trial_that_raises_is_kept_and_repeated_with_other_values(tmp_path: Path) -> None:
    broken: list[dict[str, Any]] = []

    def error(config: RunConfig) -> float:
        if config.data.num_labels == 21 and config.network.width != 8 and len(broken) < 2:
            broken.append({"network.width": config.network.width})
            raise MemoryError("too wide")
        return error_of(config)

    assert run_search(make_plan(), tmp_path, error)["b-0001"].status == "failed"  # tried twice in a call
    records = run_search(make_plan(), tmp_path, error)
    assert len(records) == 12
    assert all(record.status == "complete" for record in records.values())
    failed = records["b-0001"].failures
    assert [failure.error for failure in failed] == ["MemoryError: too wide"] * 2
    values = [failure.params["network.width"] for failure in failed]
    assert values == [entry["network.width"] for entry in broken]
    assert len({*values, records["b-0001"].params["network.width"]}) == 3
    assert "MemoryError" in (tmp_path / "failures" / "b-0001.txt").read_text()


def test_a_diverged_run_is_a_score_with_its_step_and_no_failure(tmp_path: Path) -> None:
    records = run_search(
        make_plan(), tmp_path, lambda config: CHANCE if config.network.width > 32 else error_of(config)
    )
    assert {record.status for record in records.values()} == {"complete"}
    scores = [score for record in records.values() for score in record.scores]
    assert {(score.diverged_step, score.error_rate == CHANCE) for score in scores} == {(None, False), (3, True)}


def test_only_a_trial_worse_on_four_seeds_is_pruned_and_never_at_the_last(tmp_path: Path) -> None:
    plan = make_plan(num_trials=10, num_seeds=6, arms=("a",))

    def error(config: RunConfig) -> float:
        default = config.network.width == 8 and config.train.labeled_batch_size == 16
        return (0.1 if default else 0.5) + config.model_seed % 3 / 100

    records = run_search(plan, tmp_path, error)
    assert records["a-0000"].status == "complete"
    assert {len(record.scores) for record in records.values() if record.status == "pruned"} == {4}
    assert sum(record.status == "pruned" for record in records.values()) >= 5
    four = plan.model_copy(update={"num_trials": 4, "tuning_seeds": plan.tuning_seeds[:4]})
    records = run_search(four, tmp_path / "four", error)  # pruning after the fourth would save nothing
    assert {record.status for record in records.values()} == {"complete"}


def test_importance_names_the_key_that_matters(tmp_path: Path) -> None:
    plan = make_plan(num_trials=16, num_seeds=1, arms=("a",))
    records = list(run_search(plan, tmp_path, lambda config: config.network.width / 100).values())
    (shares,) = importances(plan, records).values()
    assert list(shares) == list(plan.arms[0].space)
    assert shares["network.width"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    equal = [r.model_copy(update={"scores": records[0].scores}) for r in records]
    assert importances(plan, equal) == {"a": {}}


# The runner's side: what a search may read.

PLAN = tiny_plan()
CONFIG = RunConfig.model_validate(PLAN.cells[0].config)


def runner(folder: Path) -> CellRunner:
    return CellRunner(RunnerSpec("x", "quick", folder, "cpu", commit=None))


def test_a_search_run_never_touches_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = runner(tmp_path).validation_error(CONFIG)

    def refuse(*_: Any) -> Any:
        raise AssertionError("read the test set")

    monkeypatch.setattr(DeviceData, "test_set", refuse)
    assert runner(tmp_path).validation_error(CONFIG) == expected


def test_garbage_in_the_test_set_changes_no_search_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = runner(tmp_path).validation_error(CONFIG)
    changed = runner(tmp_path)
    data, _ = changed._data(CONFIG)
    assert data.test_images is not None
    assert data.test_labels is not None
    data.test_images.copy_(255 - data.test_images)
    data.test_labels.copy_((data.test_labels + 1) % 10)
    assert changed.validation_error(CONFIG) == expected
    validation = torch.from_numpy(data.splits(CONFIG).validation)
    data.labels[validation] = (data.labels[validation] + 1) % 10
    assert changed.validation_error(CONFIG) != expected


def test_a_search_run_scores_what_the_curve_of_a_recorded_run_ends_with(tmp_path: Path) -> None:
    record = runner(tmp_path).run(PLAN.cells[0]).record
    error_rate, diverged_step = runner(tmp_path).validation_error(CONFIG)
    assert (error_rate, diverged_step) == (record.curves[-1].validation["error_rate"], None)


def test_a_diverged_search_run_scores_chance_and_says_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any) -> Iterator[Any]:
        raise run.DivergedError(7, "supervised_loss")
        yield

    monkeypatch.setattr(run, "train", train)
    assert runner(tmp_path).validation_error(CONFIG) == (0.9, 7)


def test_damaged_data_and_a_full_disk_are_no_fault_of_the_trial_and_other_errors_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(problem: Exception) -> Callable[[RunConfig], Any]:
        def error(config: RunConfig) -> Any:
            raise problem

        return error

    content = CONFIG.model_dump(mode="json")
    for problem in (ConfigError("damaged"), OSError(28, "No space left on device")):
        scorer = runner(tmp_path)
        monkeypatch.setattr(scorer, "validation_error", refuse(problem))
        with pytest.raises(type(problem)):
            scorer(Task("a-0000/1", content))
    scorer = runner(tmp_path)
    monkeypatch.setattr(scorer, "validation_error", refuse(MemoryError("too wide")))
    result = scorer(Task("a-0000/1", content))
    assert isinstance(result, ScoreResult)
    assert (result.score, result.error) == (None, "MemoryError: too wide")
    assert "Traceback" in result.traceback


# Real processes.


class Search(FakeProgram):
    """A fake search in a folder."""

    def __init__(self, folder: Path):
        super().__init__(fake_search.__file__, folder)

    def start(self, behavior: str = "ok", workers: int = 1, seconds: float = 0.02) -> subprocess.Popen[str]:
        return self.start_with(behavior, workers, FAKE_SECONDS=str(seconds))

    def run(self, behavior: str = "ok", workers: int = 1) -> tuple[int, str]:
        return ended(self.start(behavior, workers))

    def records(self) -> dict[str, SearchRecord]:
        return {record.trial_id: record for record in SearchStore(self.folder).records()}


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    search = Search(tmp_path / "search")
    yield search
    search.kill_everything()


def test_kills_at_random_moments_change_no_trial(search: Search, tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    process = search.start(seconds=0.2)
    deadline = time.monotonic() + 600
    while not search.records() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(random.Random(seed).uniform(0, 2))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = choices(search.records())
    assert search.run() == (0, "12 finished;\n"), f"seed {seed}"
    after = choices(search.records())
    assert before.items() <= after.items(), f"seed {seed}"
    assert after == choices(run_search(make_plan(), tmp_path / "undisturbed")), f"seed {seed}"
    assert states(search.folder)["COMPLETE"] == 12, f"seed {seed}"


def test_a_killed_worker_of_two_loses_no_trial(search: Search) -> None:
    assert search.run("killed-once", workers=2) == (0, "12 finished;\n")
    assert sorted(search.records()) == sorted(make_plan().trial_ids)
    assert states(search.folder)["COMPLETE"] == 12
