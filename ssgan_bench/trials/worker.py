"""A worker process: warm, takes one cell after the other, ends when none is left or its coordinator is gone."""

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process
from pathlib import Path

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.store import RecordStore


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker needs to know; travels to the new process."""

    url: str
    plan: StudyPlan
    folder: Path
    data_root: Path
    device: str
    commit: str | None


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


def _work(spec: WorkerSpec, events: Connection) -> None:
    # Heavy imports belong to the worker alone; the command line starts without them.
    from ssgan_bench.trials.presence import Presence
    from ssgan_bench.trials.queue import Queue
    from ssgan_bench.trials.run import CellRunner

    runner = CellRunner(spec.plan, RecordStore(spec.folder), spec.data_root, spec.device, spec.commit)
    cells = {cell.cell_id: cell for cell in spec.plan.cells}
    queue = Queue(spec.url, spec.plan, spec.folder)
    presence = Presence(spec.folder)
    while (claim := queue.claim(presence.name)) is not None:
        events.send(Event("started", claim.cell_id))
        heartbeat = queue.start_heartbeat(claim)
        try:
            record = runner.finished_record(claim.cell_id)  # another coordinator may have been faster
            if record is None:
                record = runner.run(cells[claim.cell_id])
                if queue.still_owns(claim):
                    runner.store.write_record(record)
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
