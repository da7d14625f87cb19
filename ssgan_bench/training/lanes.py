"""Lanes: runs that take turns in one process, step by step, each on a CUDA stream of its own.

A step of narrow networks leaves most of a GPU idle, and processes that share one use it one after the other. Steps that
one process launches on several streams can run side by side; how much that gains was not measured yet.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

Lane: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Makes a context in which one run at a time takes its turns."""


def make_lanes(device: str, count: int) -> list[Lane]:
    """Make that many lanes of the current device, e.g. "cuda:0"; on a CPU they are contexts that do nothing."""
    return [_CudaLane().turn if device.startswith("cuda") else nullcontext for _ in range(count)]


class _CudaLane:
    def __init__(self) -> None:
        import torch  # not above: processes without a GPU that train nothing start faster

        # Of high priority: PyTorch hands out 32 streams of each, and records graphs on those of normal priority.
        self._stream = torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
        self._generator = torch.cuda.default_generators[torch.cuda.current_device()]
        # In older PyTorch a replayed graph reads its seed from a place that all graphs of one state share.
        self._random_state = self._generator.clone_state()

    @contextmanager
    def turn(self) -> Iterator[None]:
        import torch

        self._generator.graphsafe_set_state(self._random_state)
        with torch.cuda.stream(self._stream):
            yield
