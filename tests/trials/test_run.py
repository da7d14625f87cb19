"""Every outcome of a run is a record: complete, diverged or failed; only a full disk is not."""

import dataclasses
import errno
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import tiny_plan

from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import scale_images
from ssgan_bench.data.datasets import ImageData, load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.records.schema import Cell, RunRecord, StudyPlan
from ssgan_bench.training.loop import DivergedError
from ssgan_bench.trials import run
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.run import CellRunner
from ssgan_bench.trials.study_file import read_study
from ssgan_bench.trials.task import RunnerSpec

STUDIES = Path(__file__).parents[2] / "studies"
PLAN = tiny_plan()
CELL = next(cell for cell in PLAN.cells if cell.arm == "improved_gan")


class Runner(CellRunner):
    """Gives the record alone, and remembers the rest."""

    def run(self, cell: Cell) -> RunRecord:  # type: ignore[override]
        self.result = super().run(cell)
        return self.result.record


def runner_of(plan: StudyPlan, folder: Path) -> Runner:
    return Runner(RunnerSpec(plan.study, plan.preset, folder, "cpu", commit=None))


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return runner_of(PLAN, tmp_path)


def break_after_one_snapshot(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    original = run.train

    def train(*arguments: Any) -> Iterator[Any]:
        for snapshot in original(*arguments):
            yield snapshot
            raise error

    monkeypatch.setattr(run, "train", train)


def break_batch(monkeypatch: pytest.MonkeyPatch, model_seed: int) -> None:
    """Let the fifth batch of the runs with this seed be NaN."""
    original = run.Batches.__call__

    def broken(self: run.Batches, step: int) -> Any:
        batch = original(self, step)
        if step == 4 and self.config.model_seed == model_seed:
            batch.images.fill_(float("nan"))
        return batch

    monkeypatch.setattr(run.Batches, "__call__", broken)


def changed(cell: Cell, **parts: dict[str, Any]) -> Cell:
    config = {**cell.config, **{name: cell.config[name] | values for name, values in parts.items()}}
    return cell.model_copy(update={"config": config})


def test_the_same_cell_gives_the_same_record_but_for_times(runner: Runner) -> None:
    first, second = (runner.run(CELL).model_dump(exclude={"timing", "started_at"}) for _ in range(2))
    assert first == second
    assert first["status"] == "complete"
    assert first["cell"] == CELL.model_dump()
    assert len(first["sample_files"]) == len(first["curves"]) > 1
    samples = runner.result.samples
    assert first["sample_files"] == tuple(f"samples/{CELL.cell_id}/{name}.png" for name in samples)
    assert all(png.startswith(b"\x89PNG") for png in samples.values())


def test_predictions_on_the_test_set_are_counted_and_the_wrong_ones_listed(runner: Runner) -> None:
    record = runner.run(CELL)
    assert record.splits is not None
    assert record.confusion is not None
    assert record.misclassified is not None
    config = RunConfig.model_validate(CELL.config)
    data = DeviceData.from_images(load("digits", Path()), torch.device("cpu"))
    splits = data.splits(config)
    _, truth = data.test_set(splits)
    assert [sum(row) for row in record.confusion] == torch.bincount(truth, minlength=10).tolist()
    wrong = record.misclassified
    assert set(wrong.index) <= set(splits.test.tolist())
    true_class = dict(zip(splits.test.tolist(), truth.tolist(), strict=True))
    pairs = Counter(zip([true_class[index] for index in wrong.index], wrong.predicted, strict=True))
    assert pairs == Counter({(t, p): record.confusion[t][p] for t in range(10) for p in range(10) if t != p})
    assert len(wrong.index) == pytest.approx(record.metrics["error_rate"] * len(truth))
    assert all(0.1 <= value <= 1 and round(value, 4) == value for value in wrong.confidence)  # the largest of ten


def test_a_run_says_how_its_training_ended(runner: Runner) -> None:
    stuck = runner.run(changed(CELL, optimizer={"learning_rate": 1e-9})).training
    assert stuck is not None
    assert stuck.at_chance
    assert stuck.collapsed is False
    assert stuck.training_error_rate > 0.5
    cell = next(cell for cell in PLAN.cells if cell.arm == "logistic_regression")
    fitted = runner.run(cell).training
    assert fitted is not None
    assert (fitted.training_error_rate, fitted.at_chance) == (0.0, False)
    assert (fitted.still_falling, fitted.collapsed) == (None, None)


def test_what_a_graph_method_reached_and_chose_is_recorded(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    original = run.train

    def train(*arguments: Any) -> Iterator[Any]:
        for snapshot in original(*arguments):  # images scaled to [-1, 1]: those with a pixel in the corner are reached
            yield dataclasses.replace(
                snapshot, reached=lambda images: images[:, 0, 8, 8] > 0, chosen={"alpha": 0.99, "k": 7.0}
            )

    without = runner.run(CELL)
    monkeypatch.setattr(run, "train", train)
    record = runner.run(CELL)
    assert (without.unreached_share, without.chosen) == (None, {})
    data = DeviceData.from_images(load("digits", Path()), torch.device("cpu"))
    images, _ = data.test_set(data.splits(RunConfig.model_validate(CELL.config)))
    unreached = (scale_images(images, 16)[:, 0, 8, 8] <= 0).double().mean().item()
    assert 0 < unreached < 1
    assert record.unreached_share == pytest.approx(unreached)
    assert record.chosen == {"alpha": 0.99, "k": 7.0}


def runs_of(study: str, tmp_path: Path, *arms: str, **changes: Any) -> list[RunRecord]:
    settings = {"train.steps": 12, "network.width": 4, "train.evaluations": 3} | changes
    plan = make_plan(read_study(STUDIES / f"{study}.toml"), "x", "quick", settings, seeds=1)
    cells = runner_of(plan, tmp_path)
    return [cells.run(cell) for cell in plan.cells if cell.arm in arms]


def test_foreign_images_are_unlabeled_ones_alone(tmp_path: Path) -> None:
    none, half, all_of_them = runs_of(
        "class_mismatch", tmp_path, "improved_gan", **{"data.foreign_share": [0, 0.5, 1.0]}
    )
    for record in (none, half, all_of_them):
        assert record.status == "complete", record.error
        assert record.splits is not None
        assert (record.splits.num_classes, record.splits.num_labels, record.splits.num_unlabeled) == (6, 30, 300)
        assert (record.splits.num_validation, record.splits.num_test) == (120, 300)
        assert none.splits is not None
        assert record.splits.labeled_digest == none.splits.labeled_digest
        assert record.splits.test_digest == none.splits.test_digest
    assert len({record.splits.unlabeled_digest for record in (none, half, all_of_them) if record.splits}) == 3
    assert len({record.metrics["error_rate"] for record in (none, half, all_of_them)}) > 1


def test_every_run_counts_the_labels_that_it_has_used(tmp_path: Path) -> None:
    rate = {"data.labeled_rate": 0.1, "train.labeled_batch_size": 40}
    fixed, resampled, alone = runs_of(
        "label_leak", tmp_path, "ssgan_fixed", "ssgan_resampled", "supervised_resampled", **rate
    )
    assert [point.labels_used for point in fixed.curves] == [110, 110, 110]  # 40 a step, all after 3 of 4 steps
    used = [point.labels_used for point in resampled.curves]
    assert used == [24, 48, 72]  # 6 of 64 a step, and no image twice in the first 17 steps
    assert [point.labels_used for point in alone.curves] == used
    assert resampled.splits is not None
    assert resampled.splits.num_labels == 110


def test_fewer_unlabeled_images_than_a_batch_are_enough(tmp_path: Path) -> None:
    few, none, supervised = (
        runs_of("unlabeled_amount", tmp_path, arm, **{"data.num_unlabeled": count})[0]
        for arm, count in (("improved_gan", 5), ("improved_gan", 0), ("supervised_only", 0))
    )
    assert [record.status for record in (few, none, supervised)] == ["complete"] * 3
    assert [record.splits.num_unlabeled for record in (few, none, supervised) if record.splits] == [25, 20, 20]
    assert [record.curves[-1].step for record in (few, none, supervised)] == [12] * 3


@pytest.mark.parametrize("evaluation_set", ["validation", "test"])
def test_while_settings_are_chosen_the_test_images_are_not_read(
    evaluation_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(data__evaluation_set=evaluation_set)
    cell = next(cell for cell in plan.cells if cell.arm == "improved_gan")
    honest = runner_of(plan, tmp_path).run(cell)
    original = run.load

    def load(*arguments: Any, **options: Any) -> ImageData:
        data = original(*arguments, **options)
        assert data.test_images is not None
        assert data.test_labels is not None
        return dataclasses.replace(data, test_images=255 - data.test_images, test_labels=(data.test_labels + 1) % 10)

    monkeypatch.setattr(run, "load", load)
    other = runner_of(plan, tmp_path).run(cell)
    assert honest.status == other.status == "complete"
    assert honest.splits is not None
    assert honest.splits.evaluated_on == evaluation_set
    is_validation = evaluation_set == "validation"
    assert (honest.metrics == other.metrics) == is_validation
    assert (honest.metrics == honest.curves[-1].validation) == is_validation
    assert honest.curves == other.curves


def test_a_diverged_run_keeps_its_step_and_its_curve_and_has_no_metric(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_after_one_snapshot(monkeypatch, DivergedError(7, "supervised_loss"))
    record = runner.run(CELL)
    assert (record.status, record.diverged_step, record.metrics, record.error) == ("diverged", 7, {}, None)
    assert len(record.curves) == 1
    assert record.is_finished  # not to be repeated


def test_a_weight_that_becomes_nan_makes_the_run_diverge(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    break_batch(monkeypatch, CELL.model_seed)
    record = runner.run(CELL)
    assert (record.status, record.diverged_step, record.metrics) == ("diverged", 5, {})


@pytest.mark.parametrize("num_validation", [0, 200])
def test_weights_broken_by_the_last_update_make_the_run_diverge(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, num_validation: int
) -> None:
    original = run.train

    def train(*arguments: Any) -> Iterator[Any]:
        for snapshot in original(*arguments):
            if snapshot.is_final:
                yield dataclasses.replace(snapshot, classify=lambda images: torch.full((len(images), 10), torch.nan))
            else:
                yield snapshot

    monkeypatch.setattr(run, "train", train)
    data = CELL.config["data"] | {"num_validation": num_validation}
    record = runner.run(CELL.model_copy(update={"config": CELL.config | {"data": data}}))
    assert (record.status, record.metrics) == ("diverged", {})
    assert record.diverged_step == record.curves[-1].step + (num_validation > 0) * 4


@pytest.mark.parametrize(("arm", "images"), [("supervised", 16), ("improved_gan", 16 + 64)])
def test_images_per_second_count_the_real_images_of_a_step(runner: Runner, arm: str, images: int) -> None:
    timing = runner.run(next(cell for cell in PLAN.cells if cell.arm == arm)).timing
    assert timing is not None
    assert timing.images_per_second == pytest.approx(images / (timing.step_time_ms / 1e3))


@pytest.mark.parametrize("arm", ["label_spreading", "logistic_regression"])
def test_a_method_without_steps_leaves_a_record_of_one_point_without_step_times(runner: Runner, arm: str) -> None:
    cell = next(cell for cell in PLAN.cells if cell.arm == arm)
    record = runner.run(cell)
    assert record.status == "complete"
    assert record.metrics.keys() == {"error_rate", "nll", "ece"}
    assert record.metrics["error_rate"] < 0.5  # 20 labels; chance is 0.9
    assert [(point.step, point.epoch, point.losses) for point in record.curves] == [(0, 0.0, {})]
    assert record.curves[0].validation.keys() == record.metrics.keys()
    assert record.sample_files == ()
    timing = record.timing
    assert timing is not None
    assert (timing.step_time_ms, timing.images_per_second, timing.warmup_seconds) == (None, None, 0.0)
    assert timing.train_seconds > 0
    assert record.is_finished


def test_a_fit_that_does_not_converge_is_a_failed_run(runner: Runner) -> None:
    cell = next(cell for cell in PLAN.cells if cell.arm == "label_spreading")
    method = cell.config["method"] | {"max_iter": 1}
    record = runner.run(cell.model_copy(update={"config": cell.config | {"method": method}}))
    assert (record.status, record.metrics, record.curves) == ("failed", {}, ())
    assert record.error is not None
    assert "after method.max_iter = 1 repetitions; raise it" in record.error


def test_a_failed_run_says_why_keeps_the_traceback_and_is_to_be_repeated(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_after_one_snapshot(monkeypatch, RuntimeError("out of memory"))
    record = runner.run(CELL)
    assert (record.status, record.error) == ("failed", "RuntimeError: out of memory")
    assert record.metrics == {}
    assert (record.confusion, record.misclassified, record.training) == (None, None, None)
    assert len(record.curves) == 1
    assert record.splits is not None  # which labels it used is known all the same
    assert "Traceback" in runner.result.traceback
    assert not record.is_finished


def test_measurements_that_contradict_each_other_make_a_failed_run(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = run.final_fields
    monkeypatch.setattr(run, "final_fields", lambda *given: honest(*given) | {"confusion": ((1,),)})
    record = runner.run(CELL)
    assert record.status == "failed"
    assert record.metrics == {}
    assert "ValidationError" in runner.result.traceback


def test_a_full_disk_is_no_fault_of_the_cell(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    break_after_one_snapshot(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        runner.run(CELL)
