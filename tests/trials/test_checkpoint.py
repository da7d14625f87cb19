"""A run that was stopped goes on from its checkpoint to the record it would have had; a bad one counts as none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_study import tiny_plan

from ssgan_bench.records.schema import Cell, RunRecord, StudyPlan
from ssgan_bench.training.loop import Snapshot
from ssgan_bench.trials import checkpoint, run
from ssgan_bench.trials.checkpoint_place import CheckpointFolder
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.run import CellRunner
from ssgan_bench.trials.study_file import read_study
from ssgan_bench.trials.task import RunnerSpec

STUDIES = Path(__file__).parents[2] / "studies"
EVALUATIONS = 3
CONV = tiny_plan()
MLP = make_plan(
    read_study(STUDIES / "improved_gan_mnist100.toml"),
    "x",
    "quick",
    {"data.num_labels": 20, "train.steps": 12, "train.evaluations": EVALUATIONS},
    seeds=1,
)
CELLS = {(plan.study, cell.arm): (plan, cell) for plan in (CONV, MLP) for cell in plan.cells}
CASES = [
    ("tiny", "supervised"),
    ("tiny", "consistency"),
    ("improved_gan_mnist100", "improved_gan"),
]


class Stopped(BaseException):
    """Stands for the end of the process: no `except Exception` sees it."""


def runner_of(plan: StudyPlan, folder: Path) -> CellRunner:
    return CellRunner(RunnerSpec(plan.study, plan.preset, folder, "cpu", commit=None), CheckpointFolder(folder))


Train = Callable[..., Iterator[Snapshot]]


def train_that_stops(original: Train, after: int) -> Train:
    def train(*arguments: Any) -> Iterator[Snapshot]:
        for done, snapshot in enumerate(original(*arguments)):
            if done == after:
                raise Stopped
            yield snapshot

    return train


def stop_after(monkeypatch: pytest.MonkeyPatch, runner: CellRunner, cell: Cell, snapshots: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "MIN_SECONDS", 0.0)
        patch.setattr(run, "train", train_that_stops(run.train, snapshots))
        with pytest.raises(Stopped):
            runner.run(cell)


def steps_trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps of all snapshots from here on, in the order of training."""
    steps: list[int] = []
    original = run.train

    def train(*arguments: Any) -> Iterator[Snapshot]:
        for snapshot in original(*arguments):
            steps.append(snapshot.step)
            yield snapshot

    monkeypatch.setattr(run, "train", train)
    return steps


def file_of(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.cell_id}.pt"


def but_for_times(record: RunRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"timing", "started_at"})


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_stopped_run_goes_on_to_the_record_it_would_have_had(
    case: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, cell = CELLS[case]
    whole = runner_of(plan, tmp_path / "undisturbed").run(cell)
    undisturbed = whole.record
    stop_after(monkeypatch, runner_of(plan, tmp_path / "stopped"), cell, snapshots=1)
    stop_after(monkeypatch, runner_of(plan, tmp_path / "stopped"), cell, snapshots=1)
    steps = steps_trained(monkeypatch)
    result = runner_of(plan, tmp_path / "stopped").run(cell)  # as another process would have it
    record = result.record
    assert steps == [undisturbed.curves[-1].step]
    assert but_for_times(record) == but_for_times(undisturbed)
    assert record.status == "complete"
    assert bool(record.sample_files) == (case[1] != "supervised")
    assert result.samples == whole.samples
    assert record.timing is not None
    assert record.timing.train_seconds > 0
    assert file_of(tmp_path / "stopped", cell).exists()
    CheckpointFolder(tmp_path / "stopped").discard(cell.cell_id)
    assert list((tmp_path / "stopped").iterdir()) == []


def damage(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "change", [damage, lambda content: content[:100], lambda content: b""], ids=["a bit", "cut off", "empty"]
)
def test_a_damaged_checkpoint_counts_as_none(
    change: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, cell = CELLS[CASES[0]]
    runner = runner_of(plan, tmp_path)
    undisturbed = runner.run(cell).record
    stop_after(monkeypatch, runner, cell, snapshots=2)
    path = file_of(tmp_path, cell)
    path.write_bytes(change(path.read_bytes()))
    steps = steps_trained(monkeypatch)
    assert but_for_times(runner.run(cell).record) == but_for_times(undisturbed)
    assert len(steps) == EVALUATIONS


@pytest.mark.parametrize("what", ["code", "cell", "data", "format"])
def test_a_foreign_checkpoint_counts_as_none(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, cell = CELLS[CASES[0]]
    runner = runner_of(plan, tmp_path)
    if what == "cell":
        other = CELLS["tiny", "improved_gan"][1]
        stop_after(monkeypatch, runner, other, snapshots=2)
        file_of(tmp_path, other).rename(file_of(tmp_path, cell))
    else:
        stop_after(monkeypatch, runner, cell, snapshots=2)
    if what == "code":
        monkeypatch.setattr(checkpoint, "code_digest", lambda: "that of another version")
    if what == "format":
        monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    if what == "data":
        original = run.Checkpoint
        monkeypatch.setattr(run, "Checkpoint", lambda f, c, config, sha256, d: original(f, c, config, "other", d))
    steps = steps_trained(monkeypatch)
    assert runner.run(cell).record.status == "complete"
    assert len(steps) == EVALUATIONS


def test_a_short_run_writes_no_checkpoint(tmp_path: Path) -> None:
    plan, cell = CELLS[CASES[0]]
    runner_of(plan, tmp_path / "folder").run(cell)
    assert not (tmp_path / "folder").exists()
