"""What a run costs is its own: neither the peak of an earlier run nor the time that it waits."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ssgan_bench.trials import run_cost
from ssgan_bench.trials.run_cost import RunCost

CPU = torch.device("cpu")
MIB = 2**18
"""float32 numbers in a MiB."""


def peak_of_a_run(mib: int) -> float:
    cost = RunCost(CPU)
    torch.ones(mib * MIB)
    peak = cost.peak_memory_mib()
    assert peak is not None
    return peak


def needs_a_peak_of_its_own() -> None:
    if RunCost(CPU).peak_memory_mib() is None:
        pytest.skip("this system does not count the peak anew")


def test_a_run_does_not_inherit_the_peak_of_an_earlier_one() -> None:
    needs_a_peak_of_its_own()
    small = peak_of_a_run(1)
    large = peak_of_a_run(600)
    again = peak_of_a_run(1)
    assert large - small > 500
    assert again - small < 100


def test_a_run_does_not_inherit_what_a_worker_keeps_of_freed_memory() -> None:
    needs_a_peak_of_its_own()
    code = (
        "import torch\n"
        "from ssgan_bench.training.allocator import keep_freed_memory\n"
        "from ssgan_bench.trials.run_cost import RunCost\n"
        "keep_freed_memory()\n"
        "def peak(mib):\n"
        "    cost = RunCost(torch.device('cpu'))\n"
        "    torch.ones(mib * 2**18)\n"
        "    return cost.peak_memory_mib()\n"
        "print(*(round(peak(mib)) for mib in (1, 600, 1)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    small, large, again = map(int, done.stdout.split())
    assert large - small > 500
    assert again - small < 100


@pytest.mark.parametrize("file", ["CLEAR_REFS", "STATUS"])
def test_where_the_system_cannot_tell_there_is_no_peak(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_cost, file, tmp_path / "absent" / "file")
    assert RunCost(CPU).peak_memory_mib() is None


def work(seconds: float) -> None:
    """Keep the processor busy for this much of its time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_leaves_out_waiting_and_adds_earlier_parts() -> None:
    cost = RunCost(CPU, cpu_seconds=5.0)
    work(0.1)
    time.sleep(0.3)
    work(0.1)
    assert 5.2 <= cost.cpu_seconds < 5.35
