"""Lanes: runs that take turns in one process, step by step, each on a CUDA stream of its own.

A step of narrow networks leaves most of a GPU idle, and processes that share one use it one after the other. Steps that
one process launches on several streams can run side by side; how much that gains was not measured yet. On a CPU a lane
changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Lane:
    """Where one run at a time takes its turns."""

    def __init__(self, device: torch.device):
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            # PyTorch hands out 32 streams of each priority in turn; graphs are recorded on those of normal priority.
            self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
            self._generator = torch.cuda.default_generators[device.index or 0]
            # Until PyTorch 2.13 a replayed graph reads its seed from a place that all graphs of one state share.
            self._random_state = self._generator.clone_state()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do what follows on this lane of the current device."""
        if self._stream is None:
            yield
            return
        self._generator.graphsafe_set_state(self._random_state)
        with torch.cuda.stream(self._stream):
            yield
