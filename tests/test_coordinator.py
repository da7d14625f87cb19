"""One writer: what it makes of outcomes, whichever engine gives them."""

import errno
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fake_study
import pytest

from ssgan_bench.coordinator import CellWork, coordinate
from ssgan_bench.engines.base import Outcome
from ssgan_bench.records.schema import Cell, RunRecord
from ssgan_bench.records.store import RecordStore
from ssgan_bench.trials.checkpoint_place import CheckpointFolder
from ssgan_bench.trials.progress import Progress
from ssgan_bench.trials.task import Task


class FakeEngine:
    """Answers tasks in turn, each with what `answer` says: any number of outcomes, also of others' tasks."""

    def __init__(self, answer: Callable[[Task], list[Outcome]], capacity: int = 2):
        self.capacity = capacity
        self.submitted: list[str] = []
        self.is_stopped = False
        self._answer, self._waiting = answer, list[Task]()

    def submit(self, task: Task) -> None:
        self.submitted.append(task.task_id)
        self._waiting.append(task)
        assert len(self._waiting) <= self.capacity

    def outcomes(self, timeout: float) -> list[Outcome]:
        return self._answer(self._waiting.pop(0))

    def stop(self) -> None:
        self.is_stopped = True


class FakeLedger:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def cell_started(self, cell: Cell) -> None:
        self.told.append((cell.cell_id, "started"))

    def cell_ended(self, cell: Cell, record: RunRecord | None) -> None:
        self.told.append((cell.cell_id, "lost" if record is None else record.status))


PLAN = fake_study.make_plan(["w", "x", "y", "z"])
IDS = [cell.cell_id for cell in PLAN.cells]


def answer(task: Task, status: str = "complete") -> Outcome:
    assert isinstance(task.work, Cell)
    return Outcome(task.task_id, fake_study.make_result(PLAN, task.work, status))


def run(folder: Path, engine: FakeEngine, ledger: FakeLedger | None = None) -> Progress:
    work = CellWork(PLAN, RecordStore(folder), ledger or FakeLedger(), CheckpointFolder(folder / "checkpoints"))
    return coordinate(work, engine, lambda progress: None)


def test_an_outcome_that_comes_twice_is_dropped(tmp_path: Path) -> None:
    """Also when the second one says otherwise, and when it comes long after."""
    first: list[Task] = []

    def twice(task: Task) -> list[Outcome]:
        first.append(task)
        late = [answer(first[0], "failed")] if len(first) == 3 else []
        return [answer(task), answer(task, "failed"), *late]

    ledger = FakeLedger()
    progress = run(tmp_path, FakeEngine(twice), ledger)
    assert (len(progress.finished), progress.failed) == (4, {})
    assert {record.status for record in RecordStore(tmp_path).records()} == {"complete"}
    assert Counter(ledger.told) == Counter((i, what) for i in IDS for what in ("started", "complete"))


def test_a_lost_cell_is_tried_again_and_an_answer_of_its_first_try_counts_once(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def lose_the_first(task: Task) -> list[Outcome]:
        tries[task.task_id] += 1
        if task.task_id == IDS[0] and tries[IDS[0]] == 1:
            return [Outcome(IDS[0], lost="the network is away"), answer(task)]  # given up just before it came
        return [answer(task)]

    engine = FakeEngine(lose_the_first)
    progress = run(tmp_path, engine)
    assert engine.submitted == [*IDS, IDS[0]]  # again, after the others
    assert (len(progress.finished), progress.failed) == (4, {})


def test_a_cell_is_tried_twice_in_a_call_and_again_in_the_next(tmp_path: Path) -> None:
    def fail_one(task: Task) -> list[Outcome]:
        return [answer(task, "failed" if task.task_id == IDS[1] else "complete")]

    for _ in range(2):
        engine = FakeEngine(fail_one)
        progress = run(tmp_path, engine)
        assert engine.submitted.count(IDS[1]) == 2
        assert progress.failed == {IDS[1]: "ValueError: told to fail"}
    assert set(engine.submitted) == {IDS[1]}
    assert "Traceback" in (tmp_path / "failures" / f"{IDS[1]}.txt").read_text()


def test_what_is_kept_of_a_run_is_its_record_and_samples_and_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    for cell_id in IDS:
        checkpoints.write(cell_id, b"half a run")
    run(tmp_path, FakeEngine(lambda task: [answer(task)]))
    for record in RecordStore(tmp_path).records():
        assert [(tmp_path / file).read_bytes() for file in record.sample_files] == [b"png"]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    checkpoints.write(IDS[0], b"left by a kill between record and discard")
    run(tmp_path, FakeEngine(lambda task: []))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_full_disk_ends_the_study_and_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RecordStore.write_record

    def write(self: RecordStore, record: RunRecord) -> None:
        if record.cell.cell_id == IDS[2]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here")
        original(self, record)

    engine = FakeEngine(lambda task: [answer(task)])
    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "write_record", write)
        with pytest.raises(OSError, match="No space left"):
            run(tmp_path, engine)
    assert engine.is_stopped
    engine = FakeEngine(lambda task: [answer(task)])
    assert len(run(tmp_path, engine).finished) == 4
    assert engine.submitted == IDS[2:]


def test_no_more_than_the_engine_takes_is_handed_out(tmp_path: Path) -> None:
    for capacity in (1, 3):
        run(tmp_path / str(capacity), FakeEngine(lambda task: [answer(task)], capacity))  # which asserts it
