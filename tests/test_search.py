"""A search keeps its number of trials and its values whatever happens to its processes, and never sees the test set."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_search
import pytest
import torch
from fake_search import DEFAULT, PROVENANCE, error_of, make_plan

from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.records.schema import Provenance
from ssgan_bench.records.search_schema import SearchPlan, SearchRecord
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.trials import run
from ssgan_bench.trials.plan import make_plan as make_study_plan
from ssgan_bench.trials.presence import Presence
from ssgan_bench.trials.queue import sqlite_url
from ssgan_bench.trials.run import CellRunner
from ssgan_bench.trials.search import SearchTrials, importances
from ssgan_bench.trials.search_run import TrialRunner
from ssgan_bench.trials.study_file import read_study

STUDY = Path(__file__).parents[2] / "studies" / "labeled_rate.toml"
CHANCE = 0.9
RunSearch = Callable[..., dict[str, SearchRecord]]


class FakeValidator:
    """Gives what a function of the configuration says; the chance level stands for a run that diverged."""

    def __init__(self, error: Callable[[RunConfig], float]):
        self._error = error

    def provenance(self, config: RunConfig) -> Provenance:
        return PROVENANCE

    def validation_error(self, config: RunConfig) -> tuple[float, int | None]:
        error = self._error(config)
        return error, 3 if error == CHANCE else None


@pytest.fixture
def run_search(tmp_path: Path) -> Iterator[RunSearch]:
    """Run trials of a plan in this process, one after the other, until none waits or `most` are done."""
    opened: list[SearchTrials] = []

    def run_some(
        plan: SearchPlan,
        error: Callable[[RunConfig], float] = error_of,
        folder: Path = tmp_path,
        most: int = 10**6,
        database: str = "optuna.db",
    ) -> dict[str, SearchRecord]:
        trials = SearchTrials(sqlite_url(folder / database), plan, folder, create=True)
        opened.append(trials)
        store = SearchStore(folder)
        runner = TrialRunner(plan, store, FakeValidator(error))
        presence = Presence(folder)
        done = 0
        while trials.update(runner.finished_record, lambda trial_id: True).waiting and done < most:
            claim = trials.claim(presence.name)
            assert claim is not None
            record = runner.start(claim, trials)()
            trials.finish(claim, record)
            done += 1
        presence.close()
        return {record.trial_id: record for record in store.records()}

    yield run_some
    for trials in opened:
        trials.close()


def choices(records: dict[str, SearchRecord]) -> dict[str, tuple[Any, ...]]:
    return {key: (record.status, record.params, record.scores) for key, record in records.items()}


def states(folder: Path, database: str = "optuna.db") -> Counter[str]:
    connection = sqlite3.connect(folder / database)
    try:
        return Counter(state for (state,) in connection.execute("select state from trials"))
    finally:
        connection.close()


def test_every_arm_gets_its_number_of_trials_beginning_with_its_own_values(
    run_search: RunSearch, tmp_path: Path
) -> None:
    plan = make_plan()
    records = run_search(plan)
    assert sorted(records) == sorted(plan.trial_ids)
    assert states(tmp_path) == {"COMPLETE": 12}
    assert records["a-0000"].params == records["b-0000"].params == DEFAULT
    for record in records.values():
        assert all(plan.arms[0].space[key].contains(value) for key, value in record.params.items())
        assert [score.seed for score in record.scores] == list(plan.tuning_seeds)
    assert len({str(record.params) for record in records.values()}) > 10


def test_the_search_learns_from_its_trials(run_search: RunSearch) -> None:
    """TPE's later half is better than its random start, on a bowl."""
    plan = make_plan(num_trials=18, num_seeds=1, arms=("a",))
    means = [record.mean_error for _, record in sorted(run_search(plan).items())]
    assert sum(means[10:]) / 8 < 0.8 * sum(means[1:6]) / 5


def test_an_interrupted_search_continues_to_the_very_same_trials(run_search: RunSearch, tmp_path: Path) -> None:
    plan = make_plan()
    whole = run_search(plan, folder=tmp_path / "whole")
    for most in (1, 3, 4):
        run_search(plan, folder=tmp_path / "parts", most=most)
    parts = run_search(plan, folder=tmp_path / "parts")
    assert choices(parts) == choices(whole)
    assert states(tmp_path / "parts") == {"COMPLETE": 12}


def test_a_dead_workers_trial_is_repeated_with_the_same_values_in_its_place(
    run_search: RunSearch, tmp_path: Path
) -> None:
    plan = make_plan()
    whole = run_search(plan, folder=tmp_path / "whole")
    folder = tmp_path / "parts"
    run_search(plan, folder=folder, most=7)
    trials = SearchTrials(sqlite_url(folder / "optuna.db"), plan, folder)
    dead = Presence(folder)
    claim = trials.claim(dead.name)
    assert claim is not None
    params = trials.params(claim)
    trials.report(claim, 0, 0.0)
    dead.close()  # as a killed process would
    trials.close()
    parts = run_search(plan, folder=folder)
    assert parts[claim.cell_id].params == params
    assert choices(parts) == choices(whole)
    assert states(folder) == {"COMPLETE": 12, "FAIL": 1}


def test_a_lost_database_is_filled_from_the_records(run_search: RunSearch, tmp_path: Path) -> None:
    plan = make_plan()
    whole = run_search(plan, folder=tmp_path / "whole")
    run_search(plan, folder=tmp_path / "parts", most=8)
    parts = run_search(plan, folder=tmp_path / "parts", database="another.db")
    assert choices(parts) == choices(whole)
    assert states(tmp_path / "parts", "another.db") == {"COMPLETE": 12}


def test_a_trial_that_raises_is_kept_and_repeated_with_other_values(run_search: RunSearch, tmp_path: Path) -> None:
    broken: list[dict[str, Any]] = []

    def error(config: RunConfig) -> float:
        if config.data.num_labels == 21 and config.network.width != 8 and len(broken) < 2:
            broken.append({"network.width": config.network.width})
            raise MemoryError("too wide")
        return error_of(config)

    records = run_search(make_plan(), error)
    assert len(records) == 12
    assert all(record.status == "complete" for record in records.values())
    failed = records["b-0001"].failures
    assert [failure.error for failure in failed] == ["MemoryError: too wide"] * 2
    values = [failure.params["network.width"] for failure in failed]
    assert values == [entry["network.width"] for entry in broken]
    assert len({*values, records["b-0001"].params["network.width"]}) == 3
    assert "MemoryError" in (tmp_path / "failures" / "b-0001.txt").read_text()
    assert states(tmp_path) == {"COMPLETE": 12, "FAIL": 2}


def test_a_diverged_run_is_a_score_with_its_step_and_no_failure(run_search: RunSearch) -> None:
    records = run_search(make_plan(), lambda config: CHANCE if config.network.width > 32 else error_of(config))
    assert {record.status for record in records.values()} == {"complete"}
    scores = [score for record in records.values() for score in record.scores]
    assert {(score.diverged_step, score.error_rate == CHANCE) for score in scores} == {(None, False), (3, True)}


def test_damaged_data_and_a_full_disk_are_no_fault_of_the_trial(run_search: RunSearch) -> None:
    for problem in (ConfigError("damaged"), OSError(28, "No space left on device")):

        def error(config: RunConfig, problem: Exception = problem) -> float:
            raise problem

        with pytest.raises(type(problem)):
            run_search(make_plan(), error)


def test_only_a_trial_worse_on_four_seeds_is_pruned_and_never_at_the_last(
    run_search: RunSearch, tmp_path: Path
) -> None:
    plan = make_plan(num_trials=10, num_seeds=6, arms=("a",))

    def error(config: RunConfig) -> float:
        default = config.network.width == 8 and config.train.labeled_batch_size == 16
        return (0.1 if default else 0.5) + config.model_seed % 3 / 100

    records = run_search(plan, error)
    assert records["a-0000"].status == "complete"
    assert {len(record.scores) for record in records.values() if record.status == "pruned"} == {4}
    assert sum(record.status == "pruned" for record in records.values()) >= 5
    four = plan.model_copy(update={"num_trials": 4, "tuning_seeds": plan.tuning_seeds[:4]})
    records = run_search(four, error, folder=tmp_path / "four")  # pruning after the fourth would save nothing
    assert {record.status for record in records.values()} == {"complete"}


def test_importance_names_the_key_that_matters(run_search: RunSearch) -> None:
    plan = make_plan(num_trials=16, num_seeds=1, arms=("a",))
    records = list(run_search(plan, lambda config: config.network.width / 100).values())
    (shares,) = importances(plan, records).values()
    assert list(shares) == list(plan.arms[0].space)
    assert shares["network.width"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    equal = [r.model_copy(update={"scores": records[0].scores}) for r in records]
    assert importances(plan, equal) == {"a": {}}


# The runner's side: what a search may read.

PLAN = make_study_plan(
    read_study(STUDY), "x", "quick", {"data.num_labels": 20, "train.epochs": 1, "network.width": 4}, seeds=1
)
CONFIG = RunConfig.model_validate(PLAN.cells[0].config)


def runner(folder: Path) -> CellRunner:
    return CellRunner(PLAN, RecordStore(folder), folder, "cpu", commit=None)


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
    record = runner(tmp_path).run(PLAN.cells[0])
    error_rate, diverged_step = runner(tmp_path).validation_error(CONFIG)
    assert (error_rate, diverged_step) == (record.curves[-1].validation["error_rate"], None)


def test_a_diverged_search_run_scores_chance_and_says_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any) -> Iterator[Any]:
        raise run.DivergedError(7, "supervised_loss")
        yield

    monkeypatch.setattr(run, "train", train)
    assert runner(tmp_path).validation_error(CONFIG) == (0.9, 7)


# Real processes.


class Search:
    """A fake search in a folder, run as a program in a process group of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, behavior: str = "ok", workers: int = 1, seconds: float = 0.02) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(Path(fake_search.__file__)), str(self.folder), behavior, str(workers)],
            env={**os.environ, "FAKE_SECONDS": str(seconds)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, behavior: str = "ok", workers: int = 1) -> tuple[int, str]:
        process = self.start(behavior, workers)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def records(self) -> dict[str, SearchRecord]:
        return {record.trial_id: record for record in SearchStore(self.folder).records()}

    def kill_everything(self) -> None:
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    search = Search(tmp_path / "search")
    yield search
    search.kill_everything()


def test_kills_at_random_moments_change_no_trial(search: Search, run_search: RunSearch, tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    process = search.start(seconds=0.2)
    deadline = time.monotonic() + 120
    while not search.records() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(random.Random(seed).uniform(0, 2))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = choices(search.records())
    assert search.run() == (0, "12 finished;\n"), f"seed {seed}"
    after = choices(search.records())
    assert before.items() <= after.items(), f"seed {seed}"
    assert after == choices(run_search(make_plan(), folder=tmp_path / "undisturbed")), f"seed {seed}"
    assert states(search.folder)["COMPLETE"] == 12, f"seed {seed}"


def test_a_killed_worker_of_two_loses_no_trial(search: Search) -> None:
    assert search.run("killed-once", workers=2) == (0, "12 finished;\n")
    assert sorted(search.records()) == sorted(make_plan().trial_ids)
    assert states(search.folder) == {"COMPLETE": 12, "FAIL": 1}
