"""What one run costs its process: processor time and most memory, without what earlier runs of the process took."""

import re
import time
from pathlib import Path

import torch

from ssgan_bench.training.allocator import give_back_free_memory

CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
RESET_PEAK = "5"
"""What Linux takes in `clear_refs` for "the peak of the resident memory is what is resident now"."""


class RunCost:
    """Counts from its construction."""

    def __init__(self, device: torch.device, *, cpu_seconds: float = 0.0):
        """Begin to count.

        Args:
            device: of the run.
            cpu_seconds: of the run's earlier parts, if it was stopped and goes on.
        """
        self._device = device
        self._cpu_start = time.process_time() - cpu_seconds
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._knows_peak = True
        else:
            give_back_free_memory()  # what earlier runs have freed would count as this one's
            self._knows_peak = _reset_peak()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all threads of this process so far."""
        return time.process_time() - self._cpu_start

    def peak_memory_mib(self) -> float | None:
        """Most memory so far, as `Timing.peak_memory_mib` says; None where it is not known."""
        if not self._knows_peak:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        return _peak_mib()


def _reset_peak() -> bool:
    """Let the system count the peak of the resident memory anew; returns whether it does."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:  # no Linux, or no permission
        return False
    return _peak_mib() is not None


def _peak_mib() -> float | None:
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) / 1024
