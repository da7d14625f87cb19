"""A worker process: warm, takes one cell (or trial of a search) after the other.

It ends when none is left or its coordinator is gone.
"""

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import Record, SearchPlan, StudyPlan
from ssgan_bench.records.store import RecordStore, SearchStore

if TYPE_CHECKING:
    from ssgan_bench.trials.queue import Claim, Trials
    from ssgan_bench.trials.search_run import TrialRunner


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker needs to know; travels to the new process."""

    url: str
    plan: StudyPlan | SearchPlan
    """Cells to run, or a search to make."""
    folder: Path
    """Of the plan's records."""
    data_root: Path
    device: str
    commit: str | None

    def ids(self) -> list[str]:
        """What is to be run: cells, or trials of a search."""
        if isinstance(self.plan, SearchPlan):
            return self.plan.trial_ids
        return [cell.cell_id for cell in self.plan.cells]

    def store(self) -> RecordStore | SearchStore:
        """Where its records are."""
        return SearchStore(self.folder) if isinstance(self.plan, SearchPlan) else RecordStore(self.folder)

    def open_trials(self, *, create: bool = False) -> "Trials":
        """Open its trials in the database; see `Trials`."""
        if isinstance(self.plan, SearchPlan):
            from ssgan_bench.trials.search import SearchTrials

            return SearchTrials(self.url, self.plan, self.folder, create=create)
        from ssgan_bench.trials.queue import Queue

        return Queue(self.url, self.plan, self.folder, create=create)


@dataclass(frozen=True)
class Event:
    """What a worker tells its coordinator."""

    kind: str
    """started | finished | fatal."""
    cell_id: str = ""
    text: str = ""
    """Only for fatal: what concerns every cell, such as a full disk."""


def work(spec: WorkerSpec, events: Connection) -> None:
    """Entry point of a worker process; SIGINT is blocked in it, since the coordinator decides what Ctrl-C means."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        _work(spec, events)
    except (ConfigError, OSError) as error:
        with contextlib.suppress(OSError):  # the coordinator may be gone
            events.send(Event("fatal", text=str(error)))
        sys.exit(1)


def _exit_with_parent() -> None:
    """No worker outlives a killed coordinator."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _CellWork:
    """Runs the cells of a study."""

    def __init__(self, spec: WorkerSpec, plan: StudyPlan):
        # Heavy imports belong to the worker alone; the command line starts without them.
        from ssgan_bench.trials.run import CellRunner

        self._runner = CellRunner(plan, RecordStore(spec.folder), spec.data_root, spec.device, spec.commit)
        self._cells = {cell.cell_id: cell for cell in plan.cells}

    def finished_record(self, cell_id: str) -> Record | None:
        return self._runner.finished_record(cell_id)

    def run_and_keep(self, claim: "Claim", trials: "Trials") -> Record:
        record = self._runner.run(self._cells[claim.cell_id])
        if trials.still_owns(claim):
            self._runner.keep(record)
        return record


def _make_work(spec: WorkerSpec) -> "_CellWork | TrialRunner":
    if isinstance(spec.plan, StudyPlan):
        return _CellWork(spec, spec.plan)
    from ssgan_bench.trials.run import CellRunner
    from ssgan_bench.trials.search_run import TrialRunner

    runner = CellRunner(spec.plan, RecordStore(spec.folder), spec.data_root, spec.device, spec.commit)
    return TrialRunner(spec.plan, SearchStore(spec.folder), runner)


def _work(spec: WorkerSpec, events: Connection) -> None:
    from ssgan_bench.training.allocator import keep_freed_memory
    from ssgan_bench.trials.presence import Presence

    keep_freed_memory()
    runner = _make_work(spec)
    queue = spec.open_trials()
    presence = Presence(spec.folder)
    while (claim := queue.claim(presence.name)) is not None:
        events.send(Event("started", claim.cell_id))
        heartbeat = queue.start_heartbeat(claim)
        try:
            record = runner.finished_record(claim.cell_id)  # another coordinator may have been faster
            if record is None:
                record = runner.run_and_keep(claim, queue)
            queue.finish(claim, record)
        except OSError:
            with contextlib.suppress(OSError):  # the same disk may hold the database
                queue.finish(claim, None)
            raise
        finally:
            heartbeat.set()
        events.send(Event("finished", claim.cell_id))
        if record.status == "failed" and spec.device.startswith("cuda"):
            sys.exit(1)  # the CUDA context may be damaged; the coordinator starts a fresh process
    presence.close()
    queue.close()
