"""What every benchmark saves with its time: FLOP, the matmul peak, memory, device and versions.

A quantity that was not measured is None in the saved results, never a number.
"""

import contextlib
import ctypes
import functools
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.utils.flop_counter import FlopCounterMode
from workloads import HAS_BF16, Workload

from ssgan_bench.records.provenance import cpu_name, git_commit
from ssgan_bench.reporting.benchmark_files import Measured

PEAK_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Sides of the square matrices whose product gives the peak."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PEAK_SECONDS = 0.5
"""Per size."""
FIELDS = tuple(Measured.model_fields)
"""Of `extra_info`: what the report reads."""


def as_parameters(workloads: list[Workload]) -> list[Any]:
    """Parameters of a test; those for a GPU are skipped where there is none, and slow emulations of bfloat16."""
    cuda_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    bf16_only = pytest.mark.skipif(not HAS_BF16, reason=f"{cpu_name()}: no bfloat16 instructions")
    marks = {("cuda", "fp32"): cuda_only, ("cuda", "bf16"): cuda_only, ("cpu", "bf16"): bf16_only}
    return [pytest.param(w, id=str(w), marks=marks.get((w.device, w.precision), ())) for w in workloads]


@functools.cache
def matmul_peak_flops(device: str, num_threads: int, precision: str) -> float:
    """Best FLOP/s of square matrix products in this process; measured once per device, thread count and precision.

    Args:
        device: "cpu" or "cuda".
        num_threads: what PyTorch uses now.
        precision: "fp32" or "bf16".
    """
    assert num_threads == torch.get_num_threads()
    repeats = 10 if device == "cuda" else 1  # on a GPU a single product is short beside its launch
    best = 0.0
    for size in PEAK_SIZES[device]:
        a, b = (torch.randn(size, size, device=device).to(DTYPES[precision]) for _ in range(2))
        out = torch.empty_like(a)
        end = time.perf_counter() + PEAK_SECONDS
        tries = 0
        while tries < 3 or time.perf_counter() < end:
            synchronize(device)
            start = time.perf_counter()
            for _ in range(repeats):
                torch.mm(a, b, out=out)
            synchronize(device)
            best = max(best, repeats * 2 * size**3 / (time.perf_counter() - start))
            tries += 1
    return best


def count_flop(work: Callable[[], object]) -> int:
    """Count the FLOP of convolutions and matrix products in one call of `work`, a multiply-add being two."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())


class PeakMemory:
    """Peak memory from its making on: of PyTorch's tensors on a GPU, resident of the whole process on a CPU."""

    def __init__(self, device: str):
        self._device = device
        self._is_reset = True
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(AttributeError):
                ctypes.CDLL(None).malloc_trim(0)  # what a process keeps of freed memory was another benchmark's
            try:
                Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM (Linux)
            except OSError:
                self._is_reset = False

    def mib(self) -> float | None:
        """None where the peak of this process cannot be reset, and so would be another benchmark's."""
        if self._device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        if not self._is_reset:
            return None
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")), None)


def synchronize(device: str) -> None:
    """Wait for the device; a CPU has nothing to wait for."""
    if device == "cuda":
        torch.cuda.synchronize()


def synchronized(work: Callable[[], None], device: str, device_ms: list[float]) -> Callable[[], None]:
    """Make `work` wait for the device; on a GPU the time by CUDA events is appended to `device_ms` at every call."""

    def on_cuda() -> None:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        device_ms.append(start.elapsed_time(end))

    return on_cuda if device == "cuda" else work


def timed_seconds(work: Callable[[], object], device: str) -> float:
    """Wall-clock seconds of one call, with the wait for the device."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


@functools.cache
def driver_version() -> str | None:
    """Version of the NVIDIA driver; None without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(result.stdout.split()), None)


def save(
    benchmark: BenchmarkFixture,
    unit: str,
    count: int,
    *,
    device: str,
    precision: str = "fp32",
    images: float | None = None,
    flop: int | None = None,
    device_ms: list[float] | None = None,
    **more: Any,
) -> None:
    """Fill in `extra_info`, and the group; call it last, in the process and with the threads that were timed.

    Args:
        benchmark: has done its rounds.
        unit: what one step of this benchmark is, e.g. "training step".
        count: steps in a timed call.
        device: "cpu" or "cuda".
        precision: of convolutions and matrix products.
        images: per step.
        flop: per step.
        device_ms: milliseconds of each call by CUDA events, those of warm-up calls first.
        more: further fields of FIELDS.

    Raises:
        ValueError: `more` has a field that is none.
    """
    if unknown := more.keys() - set(FIELDS):
        raise ValueError(f"unknown fields {sorted(unknown)}; known: {', '.join(FIELDS)}")
    num_threads = torch.get_num_threads()
    found: dict[str, Any] = dict.fromkeys(FIELDS) | {
        "unit": unit,
        "units_per_call": count,
        "flop_per_step": flop,
        "matmul_peak_flops": None if flop is None else matmul_peak_flops(device, num_threads, precision),
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "driver": driver_version() if device == "cuda" else None,
        "torch": torch.__version__,
        "precision": precision,
        "num_threads": num_threads,
        "commit": git_commit(),
        **more,
    }
    if benchmark.stats is not None:  # None under --benchmark-disable
        benchmark.stats.group = f"{unit} on {device}"
        rounds = benchmark.stats.stats.data
        seconds = statistics.median(rounds) / count
        found["step_time_ms"] = seconds * 1e3
        if device_ms:
            found["device_time_ms"] = statistics.median(device_ms[-len(rounds) :]) / count
        if images is not None:
            found["images_per_second"] = images / seconds
        if flop is not None:
            found["achieved_flops"] = flop / seconds
            found["share_of_peak"] = found["achieved_flops"] / found["matmul_peak_flops"]
    benchmark.extra_info |= found
