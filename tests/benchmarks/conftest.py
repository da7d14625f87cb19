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


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
