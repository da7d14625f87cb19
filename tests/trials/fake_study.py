"""A study whose cells only sleep, crash or fail as told: real processes, signals, database and records, no training.

Run as a program by the tests of the coordinator: `fake_study.py FOLDER BEHAVIOR[,BEHAVIOR...]`. The worker processes
import this file before they start to work, and so find the runner below in place of the one that trains.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import ssgan_bench.trials.queue
from ssgan_bench.records.schema import ArmInfo, Cell, FactorInfo, RunRecord, StudyPlan
from ssgan_bench.records.store import RecordStore

SECONDS = float(os.environ.get("FAKE_SECONDS", "0.1"))
TURNS = 4
if "FAKE_GRACE_SECONDS" in os.environ:
    ssgan_bench.trials.queue.HEARTBEAT_SECONDS = 1
    ssgan_bench.trials.queue.GRACE_SECONDS = int(os.environ["FAKE_GRACE_SECONDS"])


def make_plan(behaviors: list[str]) -> StudyPlan:
    """One cell per behavior, two arms in turn."""
    cells = [
        Cell(
            arm=("a", "b")[index % 2],
            levels={"run.behavior": behavior},
            split_seed=index // 2,
            model_seed=index // 2,
            config={"index": index, "behavior": behavior},
            cell_id=f"{index:016x}",
        )
        for index, behavior in enumerate(behaviors)
    ]
    return StudyPlan(
        protocol_version="test",
        study="fake",
        preset="quick",
        question="Does the queue work?",
        expectation="Yes.",
        metric="error_rate",
        baseline="a",
        arms=(ArmInfo(name="a", label="A"), ArmInfo(name="b", label="B")),
        factors=(FactorInfo(key="run.behavior", label="Behavior", levels=tuple(dict.fromkeys(behaviors))),),
        family=(behaviors[0],),
        seeds=tuple(range((len(behaviors) + 1) // 2)),
        cells=tuple(cells),
    )


def make_record(plan: StudyPlan, cell: Cell, status: str) -> RunRecord:
    """The record of one cell, a function of the cell alone."""
    return RunRecord(
        protocol_version=plan.protocol_version,
        study=plan.study,
        preset=plan.preset,
        cell=cell,
        config_digest=cell.cell_id * 4,
        status=status,  # type: ignore[arg-type]
        diverged_step=3 if status == "diverged" else None,
        error="ValueError: told to fail" if status == "failed" else None,
        metrics={"error_rate": 1 / (2 + cell.config["index"])} if status == "complete" else {},
        started_at="2025-01-01T00:00:00+00:00",
    )


class CellRunner:
    """Stands in for the runner of ssgan_bench/trials/run.py."""

    def __init__(self, plan: StudyPlan, store: RecordStore, data_root: Path, *_: object):
        if "FAKE_START_FAILS" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        self.store, self._plan = store, plan

    def finished_record(self, cell_id: str) -> RunRecord | None:
        record = self.store.record(cell_id)
        return record if record is not None and record.is_finished else None

    def keep(self, record: RunRecord) -> None:
        self.store.write_record(record)

    def run_in_turns(self, cell: Cell) -> Generator[None, None, RunRecord]:
        behavior, _, once = str(cell.levels["run.behavior"]).partition("-")
        log = self.store.folder / "executions.log"
        is_first = not log.exists() or cell.cell_id not in log.read_text()
        for name in ("executions.log", "turns.log"):
            with log.with_name(name).open("a") as file:
                file.write(f"{cell.cell_id} {os.getpid()}\n")
        if once == "" or is_first:
            if behavior == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if behavior == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            if behavior == "busy":
                time.sleep(10_000)
            if behavior == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.store.folder))
            if behavior in ("failed", "diverged"):
                return make_record(self._plan, cell, behavior)
        for _ in range(TURNS):
            time.sleep(SECONDS / TURNS)
            yield
        with log.with_name("turns.log").open("a") as file:
            file.write(f"end {os.getpid()}\n")
        return make_record(self._plan, cell, "complete")


fake_run = ModuleType("ssgan_bench.trials.run")
fake_run.CellRunner = CellRunner  # type: ignore[attr-defined]


def main() -> int:
    from ssgan_bench.command_line import sigterm_as_interrupt
    from ssgan_bench.trials.coordinator import FatalError, run_plan
    from ssgan_bench.trials.queue import sqlite_url
    from ssgan_bench.trials.worker import WorkerSpec

    folder = Path(sys.argv[1])
    spec = WorkerSpec(
        sqlite_url(folder / "optuna.db"), make_plan(sys.argv[2].split(",")), folder, folder, "cpu", commit=None
    )
    spec = replace(spec, runs_at_once=int(os.environ.get("FAKE_RUNS_AT_ONCE", "1")))
    try:
        with sigterm_as_interrupt():
            progress = run_plan(spec, 2, lambda progress: None)
    except KeyboardInterrupt:
        return 130
    except FatalError as error:
        print(error)
        return 1
    print(len(progress.finished), "finished;", *(f"{key}: {text}" for key, text in sorted(progress.failed.items())))
    return int(bool(progress.failed))


if __name__ in ("__main__", "__mp_main__"):
    sys.modules["ssgan_bench.trials.run"] = fake_run
if __name__ == "__main__":
    sys.exit(main())
