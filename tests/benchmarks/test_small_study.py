"""Time of a whole small study by its command, with one worker and more: plan, queue, training, records; no report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from measurement import save
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import num_cores

STUDY = """
name = "small"
question = "How long does a small study take?"
expectation = "Mostly the start of its workers."
baseline = "supervised"
arms.supervised = { label = "Supervised", set.method.name = "supervised" }
arms.ssgan = { label = "SSGAN", set.method.preset = "article" }
base.data = { dataset = "digits", image_size = 16 }
base.network.width = 8
base.train = { epochs = 1, batch_size = 64, labeled_batch_size = 16, evaluations = 1 }
factors = [{ key = "data.num_labels", label = "Labels", levels = [20] }]
presets.quick = { description = "For timing.", seeds = 4 }
"""
NUM_CELLS = 8
WORKERS = [number for number in (1, 2, 4, 8) if number <= max(2, num_cores())]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_small_study(benchmark: BenchmarkFixture, tmp_path: Path, num_workers: int) -> None:
    study = tmp_path / "small.toml"
    study.write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "ssgan_bench.study", str(study), "--no-report", "--device", "cpu"]
    command += ["--workers", str(num_workers), "--out", str(tmp_path)]

    def run() -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)

    benchmark.pedantic(run, rounds=1, iterations=1)
    assert len(list(tmp_path.glob("runs/small/quick/records/*.json"))) == NUM_CELLS
    part = f"{NUM_CELLS} cells of 18 steps, {num_workers} worker{'s' if num_workers > 1 else ''}"
    save(benchmark, "small study", 1, device="cpu", part=part)
