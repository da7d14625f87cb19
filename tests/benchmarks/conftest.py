"""What machine the benchmarks ran on: pytest-benchmark's own account leaves out the GPU."""

from collections.abc import Iterator
from typing import Any

import pytest


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Add the names of the devices to the saved results."""
    import torch  # only where a benchmark was run: it takes seconds

    from ssgan_bench.records.provenance import cpu_name

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    machine_info["device_names"] = {"cpu": cpu_name(), "cuda": gpus}
    machine_info["cuda"] = torch.version.cuda


def pytest_benchmark_compare_machine_info(machine_info: dict[str, Any], compared_benchmark: dict[str, Any]) -> None:
    """Refuse `--benchmark-compare` with the results of other devices."""
    here, there = (info.get("device_names") for info in (machine_info, compared_benchmark["machine_info"]))
    if here != there:
        pytest.exit(f"--benchmark-compare: this run is of {here}, the saved one of {there}; compare one device", 2)


@pytest.fixture(autouse=True, scope="session")
def _memory_as_in_a_worker() -> None:
    from ssgan_bench.training.allocator import keep_freed_memory

    keep_freed_memory()  # the plain reference, timed in the same process, has it too


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
