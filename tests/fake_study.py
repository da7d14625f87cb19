"""A study whose cells only sleep, crash or fail as told: real processes, signals, database and records, no training.

Run as a program by the tests of the coordinator: `fake_study.py FOLDER BEHAVIOR[,BEHAVIOR...]`. The worker processes
import this file and find the runner below in it.
"""

import errno
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ssgan_bench.records.schema import ArmInfo, Cell, FactorInfo, RunRecord, StudyPlan
from ssgan_bench.records.store import RecordStore
from ssgan_bench.trials.checkpoint_place import CheckpointPlace
from ssgan_bench.trials.task import CellResult, Runner, Task

SECONDS = float(os.environ.get("FAKE_SECONDS", "0.1"))


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
        sample_files=(f"samples/{cell.cell_id}/0000001.png",),
        metrics={"error_rate": 1 / (2 + cell.config["index"])} if status == "complete" else {},
        started_at="2025-01-01T00:00:00+00:00",
    )


@dataclass(frozen=True)
class FakeSpec:
    """Makes a runner that does what each cell's behavior says; every start is a line in executions.log."""

    plan: StudyPlan
    folder: Path

    def __call__(self, checkpoints: CheckpointPlace | None) -> Runner:
        if "FAKE_START_FAILS" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.run

    def run(self, task: Task) -> CellResult:
        assert isinstance(task.work, Cell)
        cell = task.work
        behavior, _, once = str(cell.levels["run.behavior"]).partition("-")
        log = self.folder / "executions.log"
        is_first = not log.exists() or cell.cell_id not in log.read_text()
        with log.open("a") as file:
            file.write(f"{cell.cell_id} {os.getpid()}\n")
        if once == "" or is_first:
            if behavior == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if behavior == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            while behavior == "gated" and not (self.folder / "go").exists():
                time.sleep(0.02)
            if behavior == "busy":
                time.sleep(10_000)
            if behavior == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            if behavior in ("failed", "diverged"):
                return make_result(self.plan, cell, behavior)
        time.sleep(SECONDS)
        return make_result(self.plan, cell, "complete")


def make_result(plan: StudyPlan, cell: Cell, status: str) -> CellResult:
    """The result of one cell, a function of the cell alone, with a sample grid."""
    return CellResult(
        make_record(plan, cell, status), {"0000001": b"png"}, "Traceback: told to fail" if status == "failed" else ""
    )


def main() -> int:
    from ssgan_bench.command_line import CommandError, exit_code
    from ssgan_bench.coordinator import CellWork, coordinate
    from ssgan_bench.engines.local import LocalEngine
    from ssgan_bench.following import run_alone
    from ssgan_bench.ledger import CellLedger, Mirror, study_name
    from ssgan_bench.storage import sqlite_url
    from ssgan_bench.trials.checkpoint_place import CheckpointFolder

    folder = Path(sys.argv[1])
    plan = make_plan(sys.argv[2].split(","))

    def run() -> None:
        store = RecordStore(folder)
        store.discard_partial_files()
        store.write_plan(plan)
        name = study_name(plan, folder)
        mirror = Mirror(sqlite_url(folder / "optuna.db"), [name])
        try:
            work = CellWork(plan, store, CellLedger(mirror, name, plan), CheckpointFolder(folder / "checkpoints"))
            progress = coordinate(work, LocalEngine(FakeSpec(plan, folder), 2), lambda progress: None)
        finally:
            if missed := mirror.close():
                print(missed)
        failed = (f"{key}: {text}" for key, text in sorted(progress.failed.items()))
        print(len(progress.finished), "finished;", *failed)
        if progress.failed:
            raise CommandError("cells failed")

    def command() -> int:
        run_alone(folder, plan.fingerprint(), run)
        return 0

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
