"""`python -m ssgan_bench.study --choose`: validation errors, under seeds that no result uses."""

from pathlib import Path

import pytest
from command_runs import main

from ssgan_bench.records.store import RecordStore

TINY = """
name = "tiny"
question = "Does it run?"
expectation = "It does."
baseline = "supervised"
arms.supervised = { label = "Supervised", set.method.name = "supervised" }
base.data = { dataset = "digits", image_size = 16 }
base.network.width = 4
base.train = { steps = 3, batch_size = 64, labeled_batch_size = 16, evaluations = 1 }
factors = [{ key = "data.num_labels", label = "Labels", levels = [20] }]
presets.quick = { description = "For tests.", seeds = 1 }
"""


def test_choosing_settings_shows_validation_errors_of_seeds_that_no_result_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    code, output, errors = main(capsys, path, "--choose", "--workers", "1", "--device", "cpu", "--out", tmp_path)
    assert code == 0
    assert "seeds from 10000, validation error" in output
    assert "test error" not in output + errors
    (record,) = RecordStore(tmp_path / "runs" / "tiny" / "quick").records()
    assert record.splits is not None
    assert (record.cell.split_seed, record.splits.evaluated_on) == (10_000, "validation")
    assert record.metrics == record.curves[-1].validation
