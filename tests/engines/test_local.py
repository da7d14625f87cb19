"""Warm processes: each serves many tasks, a dead one loses only its own task, none outlives the engine."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.engines.base import FatalError, Outcome
from ssgan_bench.engines.local import LocalEngine
from ssgan_bench.records.search_schema import SeedScore
from ssgan_bench.trials.checkpoint_place import CheckpointFolder, CheckpointPlace
from ssgan_bench.trials.task import Runner, ScoreResult, Task

PATIENCE = 600
"""Seconds that nothing here takes, however busy the machine is."""


@dataclass(frozen=True)
class Spec:
    """Makes a runner that does what a task says and scores with its process's number."""

    folder: Path
    start: str = ""

    def __call__(self, checkpoints: CheckpointPlace | None) -> Runner:
        if self.start == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.start == "damaged":
            raise ConfigError("the data set is damaged")
        self.folder.joinpath(f"checkpoints-{os.getpid()}").write_text(repr(checkpoints))
        return self.run

    def run(self, task: Task) -> ScoreResult:
        assert isinstance(task.work, dict)
        what = task.work["do"]
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while what == "wait" and not (self.folder / "go").exists():
            time.sleep(0.02)
        if what == "full":
            raise OSError(28, "No space left on device")
        trace = "Traceback" if what == "fail" else ""
        return ScoreResult(SeedScore(seed=os.getpid(), error_rate=0.5), traceback=trace)


@pytest.fixture
def engines() -> Iterator[list[LocalEngine]]:
    started: list[LocalEngine] = []
    yield started
    for engine in started:
        engine.stop()


def start(engines: list[LocalEngine], engine: LocalEngine, *tasks: str) -> LocalEngine:
    """Submit a task "0", "1", ... for each word."""
    engines.append(engine)
    for number, what in enumerate(tasks):
        engine.submit(Task(str(number), {"do": what}))
    return engine


def collect(engine: LocalEngine, count: int) -> dict[str, Outcome]:
    found: list[Outcome] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        found += engine.outcomes(1.0)
    assert len(found) == count
    return {outcome.task_id: outcome for outcome in found}


def process_of(outcome: Outcome) -> int:
    assert isinstance(outcome.result, ScoreResult)
    assert outcome.result.score is not None
    return outcome.result.score.seed


def test_one_worker_runs_tasks_in_their_order_in_one_process(engines: list[LocalEngine], tmp_path: Path) -> None:
    engine = start(engines, LocalEngine(Spec(tmp_path), 1, CheckpointFolder(tmp_path)), "ok", "ok", "ok")
    outcomes = collect(engine, 3)
    assert list(outcomes) == ["0", "1", "2"]
    (process,) = {process_of(outcome) for outcome in outcomes.values()}
    assert process != os.getpid()
    assert (tmp_path / f"checkpoints-{process}").read_text() == repr(CheckpointFolder(tmp_path))


def test_a_killed_worker_loses_its_own_task_and_the_next_one_gets_a_new_process(
    engines: list[LocalEngine], tmp_path: Path
) -> None:
    engine = start(engines, LocalEngine(Spec(tmp_path), 2), "wait", "die", "ok", "ok")
    outcomes = collect(engine, 3)
    assert outcomes.pop("1") == Outcome("1", lost="the worker process ended with code -9")
    (tmp_path / "go").touch()
    outcomes |= collect(engine, 1)
    assert outcomes.keys() == {"0", "2", "3"}
    assert process_of(outcomes["0"]) != process_of(outcomes["2"]) == process_of(outcomes["3"])


def test_a_process_whose_run_failed_is_used_again_unless_told_otherwise(
    engines: list[LocalEngine], tmp_path: Path
) -> None:
    for fresh in (False, True):
        engine = start(engines, LocalEngine(Spec(tmp_path), 1, fresh_after_failure=fresh), "fail", "ok", "ok")
        first, second, third = map(process_of, collect(engine, 3).values())
        assert ((first != second), (second != third)) == (fresh, False)


@pytest.mark.parametrize(
    ("how", "task", "says"),
    [
        ("damaged", "ok", "the data set is damaged"),
        ("", "full", "No space left on device"),
        ("killed", "ok", "3 worker processes ended before taking a cell, the last with exit code -9"),
    ],
)
def test_what_concerns_every_task_is_fatal(
    how: str, task: str, says: str, engines: list[LocalEngine], tmp_path: Path
) -> None:
    engine = start(engines, LocalEngine(Spec(tmp_path, how), 1), task)
    with pytest.raises(FatalError, match=says):
        collect(engine, 1)


def test_nothing_comes_before_its_time_and_stop_ends_even_a_paused_worker(
    engines: list[LocalEngine], tmp_path: Path
) -> None:
    engine = start(engines, LocalEngine(Spec(tmp_path), 1), "ok", "wait")
    process = process_of(collect(engine, 1)["0"])
    assert engine.outcomes(0.1) == []
    os.kill(process, signal.SIGSTOP)
    assert engine.outcomes(0.1) == []
    engine.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
