"""Run all cells of a plan on an engine. This process is the only one that writes: records, sample grids, tracebacks.

What is finished is what has a record; Optuna's storage is told and never asked. So whatever is killed, the same command
goes on where the records end.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from ssgan_bench.engines.base import Engine, Outcome
from ssgan_bench.records.schema import Cell, RunRecord, StudyPlan
from ssgan_bench.records.store import RecordStore
from ssgan_bench.trials.checkpoint_place import CheckpointFolder
from ssgan_bench.trials.progress import Progress
from ssgan_bench.trials.task import CellResult, Task

MAX_ATTEMPTS = 2
"""Tries of one cell within one call; the next call tries failed cells again."""
POLL_SECONDS = 2.0
"""How often progress is reported when nothing happens."""


class Work(ABC):
    """What is to be run: the cells of a plan, or the trials of a search."""

    def __init__(self, total: int):
        self.progress = Progress(total)

    @abstractmethod
    def next(self) -> Task | None:
        """The next task to hand out; None while there is none, which an outcome may change."""

    @abstractmethod
    def take(self, outcome: Outcome) -> None:
        """Keep what became of a task that `next` gave, on disk before anything else.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """


def coordinate(work: Work, engine: Engine, report_progress: Callable[[Progress], None]) -> Progress:
    """Hand out tasks and take outcomes until nothing is left, and return the final counts.

    Args:
        work: says what to run and keeps what comes back.
        engine: where to run it; stopped at the end, whatever happens.
        report_progress: called at every change and every few seconds.

    Raises:
        OSError: something that concerns every task; finished runs are kept.
        KeyboardInterrupt: Ctrl-C; the engine is stopped when it is raised.
    """
    in_flight: set[str] = set()
    try:
        while True:
            while len(in_flight) < engine.capacity and (task := work.next()) is not None:
                engine.submit(task)
                in_flight.add(task.task_id)
            work.progress.running = len(in_flight)
            report_progress(work.progress)
            if not in_flight:
                return work.progress
            for outcome in engine.outcomes(POLL_SECONDS):
                if outcome.task_id in in_flight:  # else it came before: the engine computed it twice
                    in_flight.remove(outcome.task_id)
                    work.take(outcome)
    finally:
        engine.stop()


class Ledger(Protocol):
    """Who is told how cells go; see `ssgan_bench.ledger`. Nothing here waits for it or depends on it."""

    def cell_started(self, cell: Cell) -> None:
        """A cell was handed out."""

    def cell_ended(self, cell: Cell, record: RunRecord | None) -> None:
        """A cell has a record, or its worker was lost."""


class CellWork(Work):
    """The cells of a plan that have no finished record, in its order; one that failed is tried again at the end."""

    def __init__(self, plan: StudyPlan, store: RecordStore, ledger: Ledger, checkpoints: CheckpointFolder):
        """Take over what is on disk, whoever wrote it, and tell the ledger of it.

        Args:
            plan: the cells.
            store: where their records are.
            ledger: mirrors what happens.
            checkpoints: where the engine's workers keep those of long runs.
        """
        super().__init__(len(plan.cells))
        self._store, self._ledger, self._checkpoints = store, ledger, checkpoints
        self._cells = {cell.cell_id: cell for cell in plan.cells}
        self._attempts: Counter[str] = Counter()
        self._waiting: deque[str] = deque()
        for cell_id, cell in self._cells.items():
            record = store.record(cell_id)
            if record is not None and record.is_finished:
                self.progress.finished[cell_id] = record
                ledger.cell_ended(cell, record)
                checkpoints.discard(cell_id)  # in case that a kill came between the record and this
            else:
                self._waiting.append(cell_id)

    def next(self) -> Task | None:
        if not self._waiting:
            return None
        cell = self._cells[self._waiting.popleft()]
        self._attempts[cell.cell_id] += 1
        self._ledger.cell_started(cell)
        return Task(cell.cell_id, cell)

    def take(self, outcome: Outcome) -> None:
        cell = self._cells[outcome.task_id]
        record = None
        if isinstance(outcome.result, CellResult):
            record = self._keep(outcome.result)
        self._ledger.cell_ended(cell, record)
        if record is not None and record.is_finished:
            self.progress.finished[cell.cell_id] = record
            self.progress.failed.pop(cell.cell_id, None)
            return
        self.progress.failed[cell.cell_id] = outcome.lost if record is None else record.error or "failed"
        if self._attempts[cell.cell_id] < MAX_ATTEMPTS:
            self._waiting.append(cell.cell_id)

    def _keep(self, result: CellResult) -> RunRecord:
        record = result.record
        cell_id = record.cell.cell_id
        for name, png in result.samples.items():
            self._store.write_sample(cell_id, name, png)
        if result.traceback:
            self._store.write_failure(cell_id, result.traceback)
        self._store.write_record(record)
        self._checkpoints.discard(cell_id)
        self.progress.last = record
        return record
