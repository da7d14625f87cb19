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
            torch.cuda.current_stream(self._device).synchronize()  # not for what other runs do on theirs
        return time.perf_counter()

    def pause(self) -> None:
        """Stop until `resume`, without waiting for the device."""
        self._paused = time.perf_counter()

    def resume(self) -> None:
        """Go on; the time since `pause` is booked under no name."""
        self._last += time.perf_counter() - self._paused

    def lap(self, name: str) -> None:
        """Book the seconds since the previous lap (or since construction) under `name`."""
        now = self._now()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
