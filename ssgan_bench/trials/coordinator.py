"""Run all cells of a plan, or all trials of a search: enqueue what is missing, watch the workers, stop cleanly."""

import math
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from ssgan_bench.records.search_schema import Record
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.trials.presence import Presence, folder_lock, sweep
from ssgan_bench.trials.worker import Event, WorkerSpec, work

MAX_ATTEMPTS = 2
"""Tries of one cell within one call; the next call tries failed cells again."""
MAX_FALSE_STARTS = 3
"""Workers that may end with an error before they took a cell."""
FALSE_STARTS = "false starts"
FAILURES = "failures"
"""Cells that failed, and workers that died with theirs."""
POLL_SECONDS = 2.0
"""How often to look for cells that another process finished or left behind."""
LINGER_SECONDS = 10.0
"""How long workers get to end by themselves when no cell is left; a paused one never does."""
STOP_SECONDS = 3.0
"""How long workers get to end before they are killed."""


class FatalError(RuntimeError):
    """Something that concerns every cell, such as a full disk; finished runs are kept."""


@dataclass
class Progress:
    """Counts of a study under way."""

    total: int
    finished: dict[str, Record] = field(default_factory=dict)
    """Records of complete and diverged cells, or of complete and pruned trials of a search, by id."""
    failed: dict[str, str] = field(default_factory=dict)
    """What the last try of each failed one said, by id."""
    running: int = 0
    """Cells that this process's workers run now; while it has none, those that others run."""
    last: Record | None = None

    @property
    def diverged(self) -> int:
        """Cells whose losses stopped being finite."""
        return sum(record.status == "diverged" for record in self.finished.values())

    @property
    def pruned(self) -> int:
        """Trials of a search that were stopped after some of their seeds."""
        return sum(record.status == "pruned" for record in self.finished.values())


class _Process:
    """One worker process and the pipe its events come through (a pipe each: a killed worker can break only its own)."""

    def __init__(self, context: Any, spec: WorkerSpec):
        self.events: Connection
        self.events, other_end = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(spec, other_end), daemon=True)
        # Ctrl-C reaches the whole group, but only the coordinator decides: the worker inherits the blocked signal.
        resource_tracker.ensure_running()  # multiprocessing's own helper, whose start would unblock it
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        other_end.close()
        self.cell_ids: set[str] = set()
        """What it runs now."""
        self.has_started = False

    def waitables(self) -> list[Any]:
        """What to wait for; a pipe that has ended would be ready for ever."""
        return [self.process.sentinel] if self.events.closed else [self.events, self.process.sentinel]

    def drain(self) -> Iterator[Event]:
        """Yield what has arrived."""
        try:
            while not self.events.closed and self.events.poll():
                yield self.events.recv()
        except (EOFError, OSError):
            self.events.close()


def run_plan(spec: WorkerSpec, num_workers: int, report_progress: Callable[[Progress], None]) -> Progress:
    """Run every cell or trial of `spec.plan` that has no finished record, and return the final counts.

    Args:
        spec: what workers need.
        num_workers: worker processes at once.
        report_progress: called at every change and every few seconds.

    Raises:
        FatalError: something that concerns every cell.
        KeyboardInterrupt: Ctrl-C; the workers are gone when it is raised.
    """
    store, ids = spec.store(), spec.ids()
    progress = Progress(total=len(ids))

    def finished_record(cell_id: str) -> Record | None:
        """Take over what is on disk, whoever wrote it."""
        if cell_id not in progress.finished:
            record = store.record(cell_id)
            if record is not None and record.is_finished:
                progress.finished[cell_id] = record
                progress.failed.pop(cell_id, None)
        return progress.finished.get(cell_id)

    def may_try(cell_id: str) -> bool:
        _handle_events(processes, store, progress, attempts)  # a dead worker's last words may count as a try
        return attempts[cell_id] < MAX_ATTEMPTS

    for cell_id in ids:  # here rather than under the queue's lock: there may be many
        finished_record(cell_id)
    attempts: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    processes: list[_Process] = []
    idle_since: float | None = None
    with folder_lock(spec.folder):
        sweep(spec.folder)
    with (
        closing(Presence(spec.folder)),
        closing(spec.open_trials(create=True)) as queue,
        _stopped_at_the_end(processes),
    ):
        while True:
            counts = queue.update(finished_record, may_try)
            progress.running = sum(len(worker.cell_ids) for worker in processes) or counts.running
            report_progress(progress)
            if counts.waiting or counts.running:
                idle_since = None
            else:
                idle_since = idle_since or time.monotonic()
                if not processes or time.monotonic() - idle_since > LINGER_SECONDS:
                    return progress
            starting = sum(not worker.has_started for worker in processes)
            if attempts[FAILURES]:  # from now on each by itself; what failed in company does not count as a try
                spec = replace(spec, runs_at_once=1)
            wanted = math.ceil(counts.waiting / spec.runs_at_once) - starting
            for _ in range(min(num_workers - len(processes), wanted)):
                processes.append(_Process(context, spec))
            deadline = time.monotonic() + POLL_SECONDS
            if not processes:
                time.sleep(POLL_SECONDS)  # others are at work; look again soon
            while processes and (remaining := deadline - time.monotonic()) > 0:
                wait([thing for worker in processes for thing in worker.waitables()], timeout=remaining)
                ended = _handle_events(processes, store, progress, attempts)
                progress.running = sum(len(worker.cell_ids) for worker in processes)
                report_progress(progress)
                if ended:
                    break


def _handle_events(
    processes: list[_Process], store: RecordStore | SearchStore, progress: Progress, attempts: Counter[str]
) -> bool:
    """Book what the workers said and drop those that ended; returns whether one ended or a cell failed."""
    ended = False
    for worker in list(processes):
        alive = worker.process.is_alive()  # asked before draining, so that no last word is missed
        for event in worker.drain():
            if event.kind == "fatal":
                raise FatalError(event.text)
            if event.kind == "started":
                worker.cell_ids.add(event.cell_id)
                worker.has_started = True
                attempts[event.cell_id] += 1
                continue
            worker.cell_ids.discard(event.cell_id)
            record = store.record(event.cell_id)
            if record is None:  # given up for dead while paused; its cell is run by another worker
                continue
            progress.last = record
            if record.is_finished:
                progress.finished[event.cell_id] = record
                progress.failed.pop(event.cell_id, None)
            else:
                progress.failed[event.cell_id] = record.error or "failed"
                attempts[FAILURES] += 1
                attempts[event.cell_id] -= bool(worker.cell_ids)
                ended = True
        if not alive:
            ended = True
            processes.remove(worker)
            code = worker.process.exitcode
            if worker.cell_ids:
                attempts[FAILURES] += 1
                if len(worker.cell_ids) > 1:
                    attempts.subtract(worker.cell_ids)
                else:
                    progress.failed[worker.cell_ids.pop()] = f"the worker process ended with code {code}"
            elif code != 0 and not worker.has_started:
                attempts[FALSE_STARTS] += 1
                if attempts[FALSE_STARTS] >= MAX_FALSE_STARTS:
                    raise FatalError(
                        f"{MAX_FALSE_STARTS} worker processes ended before taking a cell, the last with exit code "
                        f"{code} (negative: killed by that signal; -9 is often too little memory: use fewer --workers)"
                    )
    return ended


@contextmanager
def _stopped_at_the_end(processes: list[_Process]) -> Iterator[None]:
    """End all workers: politely, then not. A second Ctrl-C must not leave one behind."""
    try:
        yield
    finally:
        _stop(processes)


def _stop(processes: list[_Process]) -> None:
    previous = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
    for worker in processes:
        worker.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for worker in processes:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
    for number, handler in previous:
        signal.signal(number, handler)
