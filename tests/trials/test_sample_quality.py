"""Generated images are measured with a classifier from the run folder, and no training result moves."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import STUDY, tiny_plan

from ssgan_bench import study
from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.datasets import load
from ssgan_bench.evaluation import reference_classifier
from ssgan_bench.evaluation.reference_classifier import DamagedError
from ssgan_bench.records.schema import Cell, RunRecord, SampleQuality, StudyPlan
from ssgan_bench.records.store import RecordStore
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.trials import run
from ssgan_bench.trials.checks import check_cells
from ssgan_bench.trials.plan import changes_between
from ssgan_bench.trials.run import CellRunner
from ssgan_bench.trials.sample_quality import SampleMeter, prepare_references, reference_path
from ssgan_bench.trials.task import RunnerSpec

ARMS = ("supervised", "article", "improved_gan")


def plan(*, sample_quality: bool = True, seeds: int = 1, **settings: Any) -> StudyPlan:
    preset = STUDY.presets["quick"].model_copy(update={"sample_quality": sample_quality})
    arms = {name: STUDY.arms[name] for name in ARMS}
    study = STUDY.model_copy(update={"presets": {"quick": preset}, "arms": arms, "yardsticks": []})
    return tiny_plan(study, seeds=seeds, **settings)


PLAN = plan()
SUPERVISED, ARTICLE, IMPROVED = PLAN.cells


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a reference classifier."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_classifier, "MIN_STEPS", 60)
        patch.setattr(reference_classifier, "EPOCHS", 1)
        assert len(prepare(folder)) == 1
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    path = path_in(tmp_path)
    path.parent.mkdir()
    path.write_bytes(path_in(prepared).read_bytes())
    return tmp_path


def path_in(folder: Path) -> Path:
    data = RunConfig.model_validate(ARTICLE.config).data
    return reference_path(folder, data, load("digits", folder).sha256)


class Runner(CellRunner):
    """Gives the record alone."""

    def run(self, cell: Cell) -> RunRecord:  # type: ignore[override]
        return super().run(cell).record


def runner(folder: Path, of: StudyPlan = PLAN) -> Runner:
    references = {("digits", 16): path_in(folder).read_bytes()} if of.sample_quality else {}
    return Runner(RunnerSpec(of.study, of.preset, folder, "cpu", commit=None, references=references))


def measured(record: RunRecord) -> SampleQuality:
    assert record.status == "complete"
    assert record.sample_quality is not None
    return record.sample_quality


def prepare(folder: Path) -> list[str]:
    """What the coordinator says when it prepares the folder."""
    make_deterministic(num_threads=1)  # runs of this process have done so, or not: a coordinator runs none
    said: list[str] = []
    prepare_references(PLAN, folder, RecordStore(folder), said.append)
    return said


def test_a_generator_is_measured_and_the_record_names_the_classifier(folder: Path) -> None:
    quality = measured(runner(folder).run(ARTICLE))
    stored = torch.load(path_in(folder), weights_only=True)
    assert quality.reference_classifier == f"digits_{stored['digest'][:8]}"
    assert quality.num_images == 497  # as many as there are test images
    assert quality.reference_error_rate < 0.2
    # After 12 steps the samples are noise to a classifier of digits; real images are not.
    assert quality.generated.frechet > 5 * quality.floor.frechet > 0
    assert quality.generated.kernel > 10 * abs(quality.floor.kernel)
    assert quality.generated.precision < 0.5 < quality.floor.precision
    assert quality.generated.recall < 0.5 < quality.floor.recall
    assert 0 < quality.floor.class_tv < 0.2


def test_a_method_without_a_generator_has_no_sample_quality(folder: Path) -> None:
    record = runner(folder).run(SUPERVISED)
    assert (record.status, record.sample_quality) == ("complete", None)


def test_training_is_bit_identical_with_and_without_sample_quality(folder: Path) -> None:
    without = plan(sample_quality=False)
    other = {"timing", "started_at", "sample_quality"}
    for cell in PLAN.cells:
        assert cell in without.cells
        first, second = (runner(folder, of).run(cell) for of in (PLAN, without))
        assert first.model_dump(exclude=other) == second.model_dump(exclude=other)
        assert second.sample_quality is None


def test_the_result_does_not_depend_on_what_the_process_ran_before(folder: Path) -> None:
    warm = runner(folder)
    warm.run(IMPROVED)
    assert measured(warm.run(ARTICLE)) == measured(runner(folder).run(ARTICLE))


def test_arms_of_a_seed_share_the_floor_and_another_seed_has_its_own(folder: Path) -> None:
    of = plan(seeds=2)
    warm = runner(folder, of)
    first, second, other = (measured(warm.run(cell)) for cell in (of.cells[1], of.cells[2], of.cells[4]))
    assert first.floor == second.floor
    assert first.floor != other.floor
    assert first.generated != second.generated
    assert first.reference_classifier == other.reference_classifier


def test_a_generator_that_draws_nan_has_no_quality_and_the_run_is_complete(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = run.train

    def train(*arguments: Any) -> Iterator[Any]:
        for snapshot in original(*arguments):
            yield dataclasses.replace(snapshot, sample=lambda count: torch.full((count, 1, 16, 16), torch.nan))

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(run, "sample_grid_png", lambda images: b"png")
    record = runner(folder).run(ARTICLE)
    assert (record.status, record.sample_quality) == ("complete", None)
    assert record.metrics["error_rate"] < 1


def test_a_classifier_that_is_there_is_not_trained_again(folder: Path) -> None:
    before = path_in(folder).stat().st_mtime_ns
    assert prepare(folder) == []
    assert path_in(folder).stat().st_mtime_ns == before


def test_a_plan_without_sample_quality_needs_no_classifier(tmp_path: Path) -> None:
    assert runner(tmp_path, plan(sample_quality=False)).run(ARTICLE).status == "complete"


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_classifier_is_refused_by_a_worker_and_trained_anew_by_the_coordinator(
    folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_in(folder)
    content = path.read_bytes()
    stored = torch.load(path, weights_only=True)
    stored["state"]["head.bias"][0] += 1
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        torch.save(stored, path)
    if damage != "missing":
        with pytest.raises(DamagedError):
            runner(folder).run(ARTICLE)
    monkeypatch.setattr(reference_classifier, "MIN_STEPS", 60)
    monkeypatch.setattr(reference_classifier, "EPOCHS", 1)
    (said,) = prepare(folder)
    assert "training the reference classifier of digits" in said
    assert path.read_bytes() == content  # deterministic, so earlier records still compare
    assert runner(folder).run(ARTICLE).sample_quality is not None


def test_runs_measured_with_a_classifier_that_is_gone_are_not_mixed_with_others(folder: Path) -> None:
    store = RecordStore(folder)
    record = runner(folder).run(ARTICLE)
    store.write_record(record)
    assert prepare(folder) == []
    quality = measured(record).model_copy(update={"reference_classifier": "digits_00000000"})
    store.write_record(record.model_copy(update={"sample_quality": quality}))
    with pytest.raises(ConfigError, match=r"digits_00000000, which is gone, .*use --out DIR"):
        prepare(folder)


def test_a_damaged_value_is_no_record(folder: Path) -> None:
    quality = measured(runner(folder).run(ARTICLE)).model_dump()
    for part in ("generated", "floor"):
        with pytest.raises(ValueError, match="finite"):
            SampleQuality.model_validate(quality | {part: quality[part] | {"frechet": float("nan")}})


def test_too_few_real_images_are_refused_before_anything_runs(tmp_path: Path) -> None:
    few = {"data__evaluation_set": "validation", "data__num_validation": 99}
    with pytest.raises(ConfigError, match="sample_quality = true: digits has 99 validation images and 1201 others"):
        check_cells(plan(**few), tmp_path, None)
    check_cells(plan(sample_quality=False, **few), tmp_path, None)
    check_cells(plan(**few | {"data__num_validation": 100}), tmp_path, None)


def test_asking_for_sample_quality_changes_the_study_and_no_cell() -> None:
    without = plan(sample_quality=False)
    assert without.cells == PLAN.cells
    assert changes_between(without, PLAN) == ["sample_quality false -> true"]


def test_the_real_side_is_drawn_at_random_where_there_is_more_than_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssgan_bench.trials.sample_quality.MAX_IMAGES", 120)
    data = RunConfig.model_validate(ARTICLE.config).data
    digits = load("digits", folder)
    meter = SampleMeter.load(path_in(folder).read_bytes(), data, torch.device("cpu"))
    test, others = digits.train_images[:400], digits.train_images[400:]
    real = meter.real_images(0, test, digits.train_labels[:400], others)
    assert real.num_images == len(real.features) == 120
    assert len(real.labels) == 400
    other = meter.real_images(1, test, digits.train_labels[:400], others)
    assert not torch.equal(real.features, other.features)
    # More test images of the same seed are another real side.
    assert meter.real_images(0, digits.train_images[:401], digits.train_labels[:401], others) is not real
    assert meter.real_images(0, test, digits.train_labels[:400], others) is real


ONE_RUN = """
name = "one"
question = "Is it measured?"
expectation = "Yes."
baseline = "ssgan"
arms.ssgan = { label = "SSGAN", set.method.preset = "article" }
base.data = { dataset = "digits", image_size = 16 }
base.network.width = 4
base.train = { epochs = 1, batch_size = 64, labeled_batch_size = 16, evaluations = 1 }
factors = [{ key = "data.num_labels", label = "Labels", levels = [20] }]
presets.quick = { description = "For tests.", seeds = 1, sample_quality = true }
"""


def test_the_command_line_trains_the_classifier_and_reports_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference_classifier, "MIN_STEPS", 60)
    monkeypatch.setattr(reference_classifier, "EPOCHS", 1)
    path = tmp_path / "one.toml"
    path.write_text(ONE_RUN)
    assert study.main([str(path), "--out", str(tmp_path), "--device", "cpu", "--workers", "1"]) == 0
    assert "training the reference classifier of digits" in capsys.readouterr().out
    (record,) = RecordStore(tmp_path / "runs" / "one" / "quick").records()
    name = measured(record).reference_classifier
    report = (tmp_path / "reports" / "one" / "quick" / "index.html").read_text()
    assert f"The Frechet distance is frechet_{name}" in report
