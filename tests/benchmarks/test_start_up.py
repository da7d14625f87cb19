"""Time of a new process until `--help`, until a worker's imports, until its first training step."""

import os
import subprocess
import sys

import pytest
from measurement import save
from pytest_benchmark.fixture import BenchmarkFixture

IMPORTS = "import ssgan_bench.engines.local, ssgan_bench.trials.run"
COMMANDS = {
    "study --help": ["-m", "ssgan_bench.study", "--help"],
    "report --help": ["-m", "ssgan_bench.report", "--help"],
    "imports of a worker": ["-c", IMPORTS],
    "imports of a worker and its first training step": [
        "-c",
        f"{IMPORTS}; from workloads import QUICK, make_trainer; make_trainer(QUICK).step(0)",
    ],
}
"""By what is timed: arguments of Python. The first training step is on the CPU, with images that are there already."""


@pytest.mark.parametrize("part", COMMANDS)
def test_start_up(benchmark: BenchmarkFixture, part: str) -> None:
    command = [sys.executable, *COMMANDS[part]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def start() -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)

    benchmark.pedantic(start, rounds=2, iterations=1)  # collecting the benchmarks has read the same files
    save(benchmark, "start-up", 1, device="cpu", part=part)
