"""A worker process: warm, takes one cell after the other, ends when none is left or its coordinator is gone."""

import os
import signal
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
    """For finished: the status; for fatal: what concerns every cell, such as a full disk."""


def work(spec: WorkerSpec, events: Connection) -> None:
    """Entry point of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the coordinator decides
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        _work(spec, events)
    except (ConfigError, OSError) as error:
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
    import torch

    from ssgan_bench.trials.queue import Queue, Worker
    from ssgan_bench.trials.run import CellRunner

    runner = CellRunner(spec.plan, RecordStore(spec.folder), spec.data_root, torch.device(spec.device), spec.commit)
    cells = {cell.cell_id: cell for cell in spec.plan.cells}
    queue = Queue(spec.url, spec.plan, spec.folder)
    worker = Worker(spec.folder)
    while (claim := queue.claim(worker)) is not None:
        events.send(Event("started", claim.cell_id))
        heartbeat = queue.start_heartbeat(claim)
        try:
            record = runner.finished_record(claim.cell_id)  # another coordinator may have been faster
            if record is None:
                record = runner.run(cells[claim.cell_id])
            if queue.still_owns(claim):
                runner.store.write_record(record)
                queue.finish(claim, record.status, record.metrics.get(spec.plan.metric))
        except OSError:
            queue.finish(claim, "failed", None)
            raise
        finally:
            heartbeat.set()
        events.send(Event("finished", claim.cell_id, record.status))
        if record.status == "failed" and spec.device.startswith("cuda"):
            sys.exit(1)  # the CUDA context may be damaged; the coordinator starts a fresh process
    worker.close()
