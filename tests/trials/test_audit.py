"""A record's labels follow from its seeds: derived again they match, and a record that says otherwise is found out."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_study import tiny_plan

from ssgan_bench import study
from ssgan_bench.data.datasets import load
from ssgan_bench.records.schema import RunRecord
from ssgan_bench.records.store import RecordStore
from ssgan_bench.trials import audit as audit_module
from ssgan_bench.trials.audit import audit
from ssgan_bench.trials.run import CellRunner
from ssgan_bench.trials.task import RunnerSpec


def run_one(out: Path, arm: str, **settings: Any) -> RunRecord:
    """Really run one cell and store its record below `out`."""
    plan = tiny_plan(data__num_labels=60, train__epochs=1, **settings)
    store = RecordStore(out / "runs" / "tiny" / "quick")
    cell = next(cell for cell in plan.cells if cell.arm == arm)
    record = CellRunner(RunnerSpec(plan.study, plan.preset, out, "cpu", commit=None)).run(cell).record
    store.write_record(record)
    return record


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return run_one(tmp_path_factory.mktemp("fixed"), "improved_gan")


@pytest.fixture(scope="module")
def resampled(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return run_one(tmp_path_factory.mktemp("resampled"), "article", data__label_protocol="resampled")


def keep(record: RunRecord, out: Path, preset: str = "quick") -> Path:
    store = RecordStore(out / "runs" / "tiny" / preset)
    store.write_record(record)
    return store.folder / "records" / f"{record.cell.cell_id}.json"


def main(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = study.main(["audit", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def ids_in(output: str) -> list[int]:
    (line,) = re.findall(r"their ids .*: ([\d ]+)$", output, re.MULTILINE)
    return [int(word) for word in line.split()]


def test_the_printed_ids_hash_to_the_recorded_digest_and_count_as_printed(
    fixed: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(fixed, tmp_path)
    code, output, errors = main(capsys, fixed.cell.cell_id[:6], "--out", tmp_path)
    assert (code, errors) == (0, "")
    assert fixed.splits is not None
    ids = ids_in(output)
    assert len(ids) == 60
    assert ids == sorted(set(ids))
    digest = hashlib.sha256(np.array(ids, dtype="<i8").tobytes()).hexdigest()
    assert digest == fixed.splits.labeled_digest
    assert re.search(rf"labeled images +MATCH  {digest}$", output, re.MULTILINE)
    labels = load("digits", tmp_path).train_labels
    assert labels[ids].bincount().tolist() == [6] * 10
    assert "per class: 0: 6, 1: 6, " in output
    assert "labels read in 17 steps: all of them" in output
    assert output.splitlines()[-1] == "  MATCH"


def test_a_resampled_run_is_said_to_have_no_subset_and_which_labels_it_read(
    resampled: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(resampled, tmp_path)
    code, output, _ = main(capsys, resampled.cell.cell_id, "--out", tmp_path)
    assert code == 0
    assert "label protocol resampled: every batch draws anew" in output
    ids = ids_in(output)
    assert 17 < len(ids) <= 17 * 3  # int(60 / 1100 * 64) = 3 labels in each of 17 batches
    assert f"labels read in 17 steps: {len(ids)} images, {len(ids) / 60:.1f} times the budget" in output


def test_the_labels_read_are_those_that_training_shows_the_losses(
    resampled: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set[int]()
    original = audit_module.Batches._batch

    def spying(self: Any, step: int, index: Any, **rows: int) -> Any:
        seen.update(index[: rows["labeled_rows"]].tolist())
        return original(self, step, index, **rows)

    monkeypatch.setattr(audit_module.Batches, "_batch", spying)
    again = run_one(tmp_path, "article", data__label_protocol="resampled")
    monkeypatch.undo()
    assert again.cell == resampled.cell
    assert audit(keep(resampled, tmp_path), tmp_path).used.tolist() == sorted(seen)


def test_a_diverged_run_read_labels_up_to_its_divergence(resampled: RunRecord, tmp_path: Path) -> None:
    no_result = {"metrics": {}, "confusion": None, "misclassified": None, "training": None}
    broken = {"status": "diverged", "diverged_step": 2, "curves": ()} | no_result
    found = audit(keep(resampled.model_copy(update=broken), tmp_path), tmp_path)
    assert found.steps == 2
    assert len(found.used) == 2 * 3  # an epoch has no image twice
    assert found.matches


def test_a_run_without_steps_read_every_label(fixed: RunRecord, tmp_path: Path) -> None:
    point = fixed.curves[-1].model_copy(update={"step": 0})
    found = audit(keep(fixed.model_copy(update={"curves": (point,)}), tmp_path), tmp_path)
    assert found.used.tolist() == found.splits.labeled.tolist()


def tampered(record: RunRecord, what: str) -> RunRecord:
    """The record with one thing changed."""
    assert record.splits is not None
    assert record.provenance is not None
    digest = record.splits.labeled_digest
    changes: dict[str, dict[str, Any]] = {
        "labeled images": {"splits": record.splits.model_copy(update={"labeled_digest": "0" + digest[1:]})},
        "test images": {"splits": record.splits.model_copy(update={"test_digest": digest})},
        "label budget": {"splits": record.splits.model_copy(update={"num_labels": 61})},
        "data set": {"provenance": record.provenance.model_copy(update={"dataset_sha256": digest})},
        "run id": {"cell": record.cell.model_copy(update={"config": record.cell.config | {"split_seed": 7}})},
    }
    return record.model_copy(update=changes[what])


@pytest.mark.parametrize("what", ["labeled images", "test images", "label budget", "data set", "run id"])
def test_a_record_that_says_something_else_is_found_out(
    fixed: RunRecord, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tampered(fixed, what), tmp_path)
    code, output, _ = main(capsys, fixed.cell.cell_id, "--out", tmp_path)
    assert code == 1
    assert re.search(rf"^    {what} +MISMATCH  \w+, derived \w+$", output, re.MULTILINE)
    assert output.splitlines()[-1] == "  MISMATCH"


def test_every_kept_copy_of_a_run_is_audited(
    fixed: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(fixed, tmp_path)
    keep(tampered(fixed, "labeled images"), tmp_path, "quick.before-20250101T000000Z")
    code, output, _ = main(capsys, fixed.cell.cell_id, "--out", tmp_path)
    assert (code, output.count("\n  MATCH\n"), output.count("\n  MISMATCH\n")) == (1, 1, 1)


@pytest.mark.parametrize(
    ("run_id", "says"),
    [
        ("abc12", "not a run id; give 6 to 16 hex digits"),
        ("../../x", "not a run id"),
        ("tiny_study", "not a run id"),
        ("0" * 17, "not a run id"),
        ("fedcba", "no such run in "),
        ("abcdef", "2 runs begin so (abcdef0000000001, abcdef0000000002); give more digits"),
    ],
)
def test_a_wrong_id_is_one_line_and_exit_code_2(
    fixed: RunRecord, tmp_path: Path, run_id: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell_id in ("abcdef0000000001", "abcdef0000000002"):
        cell = fixed.cell.model_copy(update={"cell_id": cell_id})
        keep(fixed.model_copy(update={"cell": cell}), tmp_path)
    code, output, errors = main(capsys, run_id, "--out", tmp_path)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: audit {run_id}: {says}")


def failed_early(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"status": "failed", "error": "MemoryError: ", "splits": None, "curves": ()})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (failed_early, "the run failed before its labels were chosen (MemoryError: ); nothing to audit"),
        (lambda r: r.model_copy(update={"protocol_version": "0.9"}), "made under protocol 0.9"),
        (
            lambda r: r.model_copy(update={"cell": r.cell.model_copy(update={"config": {"data": {}}})}),
            "its configuration is none of this version",
        ),
    ],
    ids=["failed", "protocol", "configuration"],
)
def test_a_record_that_cannot_be_audited_is_one_line(
    fixed: RunRecord, tmp_path: Path, change: Any, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = keep(change(fixed), tmp_path)
    code, output, errors = main(capsys, fixed.cell.cell_id, "--out", tmp_path)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {path}: {says}")


def test_a_damaged_record_and_missing_data_are_one_line(
    fixed: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = fixed.cell.config | {"data": fixed.cell.config["data"] | {"dataset": "mnist", "image_size": 32}}
    path = keep(fixed.model_copy(update={"cell": fixed.cell.model_copy(update={"config": config})}), tmp_path)
    arguments = (fixed.cell.cell_id, "--out", tmp_path, "--data-dir", tmp_path / "none")
    code, output, errors = main(capsys, *arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: data set 'mnist'")
    path.write_bytes(path.read_bytes()[:500])
    code, output, errors = main(capsys, *arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {path}: damaged")
