"""A stopwatch that waits for the device, so that queued GPU work is counted where it was caused."""

import time

import torch


class Clock:
    """Adds up seconds by name; `lap(name)` books the time since the last lap under `name`."""

    def __init__(self, device: torch.device):
        self._device = device
        self.seconds: dict[str, float] = {}
        self._last = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the seconds since the previous lap (or since construction) under `name`."""
        now = self._now()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
