"""A worker process: warm, takes one cell (or trial of a search) after the other, or several cells that take turns.

It ends when none is left or its coordinator is gone.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, TypeAlias

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import RunRecord, StudyPlan
from ssgan_bench.records.search_schema import Record, SearchPlan
from ssgan_bench.records.store import RecordStore, SearchStore

if TYPE_CHECKING:
    from ssgan_bench.training.lanes import Lane
    from ssgan_bench.trials.queue import Claim, Trials
    from ssgan_bench.trials.search_run import TrialRunner

MOST_RUNS_AT_ONCE = 16
"""Half of the streams of one priority that PyTorch has."""
Turn: TypeAlias = Callable[[], Record | None]
"""Goes on with a run for one step, or a trial of a search to its end; returns the record once it is kept."""


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
    runs_at_once: int = 1
    """Cells of a study that take turns in the process; trials of a search never do."""

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

        self._runner = CellRunner(
            plan, RecordStore(spec.folder), spec.data_root, spec.device, spec.commit, spec.runs_at_once
        )
        self._cells = {cell.cell_id: cell for cell in plan.cells}

    def finished_record(self, cell_id: str) -> Record | None:
        return self._runner.finished_record(cell_id)

    def start(self, claim: "Claim", trials: "Trials") -> Turn:
        turns = self._runner.run_in_turns(self._cells[claim.cell_id])

        def turn() -> Record | None:
            try:
                next(turns)
            except StopIteration as end:
                record: RunRecord = end.value
                if trials.still_owns(claim):
                    self._runner.keep(record)
                return record
            return None

        return turn


def _make_work(spec: WorkerSpec) -> "_CellWork | TrialRunner":
    if isinstance(spec.plan, StudyPlan):
        return _CellWork(spec, spec.plan)
    from ssgan_bench.trials.run import CellRunner
    from ssgan_bench.trials.search_run import TrialRunner

    runner = CellRunner(spec.plan, RecordStore(spec.folder), spec.data_root, spec.device, spec.commit)
    return TrialRunner(spec.plan, SearchStore(spec.folder), runner)


@dataclass
class _Run:
    """A cell, or a trial of a search, that this worker has taken."""

    claim: "Claim"
    heartbeat: Flag
    lane: "Lane"
    turn: Turn | None = None


def _work(spec: WorkerSpec, events: Connection) -> None:
    from ssgan_bench.training.allocator import keep_freed_memory
    from ssgan_bench.training.lanes import make_lanes
    from ssgan_bench.trials.presence import Presence

    keep_freed_memory()
    runner = _make_work(spec)
    queue = spec.open_trials()
    presence = Presence(spec.folder)
    free_lanes = make_lanes(spec.device, spec.runs_at_once)
    runs: list[_Run] = []

    def take() -> bool:
        """Take the next cell, if there is one."""
        claim = queue.claim(presence.name)
        if claim is None:
            return False
        runs.append(_Run(claim, queue.start_heartbeat(claim), free_lanes.pop()))
        events.send(Event("started", claim.cell_id))
        return True

    def turn(run: _Run) -> Record | None:
        """Take a turn of a run; returns its record at the end."""
        if run.turn is None:
            known = runner.finished_record(run.claim.cell_id)  # another coordinator may have been faster
            if known is not None:
                return known
            run.turn = runner.start(run.claim, queue)
        with run.lane():
            return run.turn()

    may_take, has_failed = True, False
    try:
        while True:
            while may_take and free_lanes:
                may_take = take()
            if not runs:
                break
            for run in list(runs):
                record = turn(run)
                if record is None:
                    continue
                queue.finish(run.claim, record)
                runs.remove(run)
                run.heartbeat.set()
                free_lanes.append(run.lane)
                events.send(Event("finished", run.claim.cell_id))
                # The CUDA context may be damaged, or memory too little for so many: others go on in fresh processes.
                is_suspect = spec.device.startswith("cuda") or spec.runs_at_once > 1
                has_failed |= record.status == "failed" and is_suspect
                may_take = not has_failed
    finally:
        for run in runs:  # none, unless an error ends this process
            run.heartbeat.set()
            with contextlib.suppress(OSError):  # a full disk may hold the database too
                queue.finish(run.claim, None)
    presence.close()
    queue.close()
    if has_failed:
        sys.exit(1)
