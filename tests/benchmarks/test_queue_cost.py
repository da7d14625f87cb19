"""What handing out one cell and keeping its result costs, beside the run itself; and telling Optuna's storage of it.

The cells are those of labeled_rate's quick preset, their runs do nothing. The storage is told by a thread, which runs
do not wait for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from measurement import save
from pytest_benchmark.fixture import BenchmarkFixture

from ssgan_bench.coordinator import CellWork, coordinate
from ssgan_bench.engines.local import LocalEngine
from ssgan_bench.ledger import CellLedger, Mirror, study_name
from ssgan_bench.records.schema import Cell, RunRecord, StudyPlan
from ssgan_bench.records.store import RecordStore
from ssgan_bench.storage import sqlite_url
from ssgan_bench.trials.checkpoint_place import CheckpointFolder, CheckpointPlace
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.study_file import read_study
from ssgan_bench.trials.task import CellResult, Runner, Task

STUDY = Path(__file__).parents[2] / "studies" / "labeled_rate.toml"
CALLS = 3


@dataclass(frozen=True)
class Nothing:
    """Makes a runner whose runs take no time."""

    def __call__(self, checkpoints: CheckpointPlace | None) -> Runner:
        return self.run

    def run(self, task: Task) -> CellResult:
        assert isinstance(task.work, Cell)
        return CellResult(record_of(task.work), {f"{step:07d}": bytes(16_000) for step in range(4)})


def record_of(cell: Cell) -> RunRecord:
    return RunRecord(
        protocol_version="x",
        study="labeled_rate",
        preset="quick",
        cell=cell,
        config_digest="x",
        status="complete",
        metrics={"error_rate": 0.5},
        started_at="x",
    )


class Warm(LocalEngine):
    """Keeps its processes between studies."""

    def stop(self) -> None:
        pass


@pytest.fixture(scope="module")
def plan() -> StudyPlan:
    return make_plan(read_study(STUDY), str(STUDY), "quick", {})


@pytest.fixture
def engine() -> Iterator[Warm]:
    engine = Warm(Nothing(), num_workers=1)
    yield engine
    LocalEngine.stop(engine)


def test_a_cell_from_its_handing_out_to_its_record(
    benchmark: BenchmarkFixture, plan: StudyPlan, engine: Warm, tmp_path: Path
) -> None:
    mirrors: list[Mirror] = []

    def work() -> tuple[tuple[CellWork], dict[str, object]]:
        for mirror in mirrors:
            mirror.close()  # not to be counted as this round's
        folder = tmp_path / str(len(mirrors))
        folder.mkdir()
        name = study_name(plan, folder)
        mirrors.append(Mirror(sqlite_url(folder / "optuna.db"), [name]))
        ledger, checkpoints = CellLedger(mirrors[-1], name, plan), CheckpointFolder(folder / "checkpoints")
        return (CellWork(plan, RecordStore(folder), ledger, checkpoints),), {}

    def run(work: CellWork) -> None:
        assert len(coordinate(work, engine, lambda progress: None).finished) == len(plan.cells)

    benchmark.pedantic(run, setup=work, rounds=CALLS, iterations=1, warmup_rounds=1)
    assert [mirror.close() for mirror in mirrors] == [""] * len(mirrors)
    save(benchmark, "queue operation", len(plan.cells), device="cpu", part="a cell handed out and its result kept")


def test_telling_the_storage_of_a_cell(benchmark: BenchmarkFixture, plan: StudyPlan, tmp_path: Path) -> None:
    num_folders = 0

    def open_mirror() -> tuple[tuple[Mirror, CellLedger], dict[str, object]]:
        nonlocal num_folders
        num_folders += 1
        folder = tmp_path / str(num_folders)
        folder.mkdir()
        name = study_name(plan, folder)
        mirror = Mirror(sqlite_url(folder / "optuna.db"), [name])
        return (mirror, CellLedger(mirror, name, plan)), {}

    def tell(mirror: Mirror, ledger: CellLedger) -> None:
        for cell in plan.cells:
            ledger.cell_started(cell)
            ledger.cell_ended(cell, record_of(cell))
        assert mirror.close() == ""

    benchmark.pedantic(tell, setup=open_mirror, rounds=CALLS, iterations=1)
    save(benchmark, "queue operation", len(plan.cells), device="cpu", part="Optuna's storage told of a cell")
