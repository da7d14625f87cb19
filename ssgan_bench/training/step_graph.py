"""A training step as one CUDA graph: its kernels are launched at once, instead of one by one from Python.

A step of narrow networks is some two thousand small operations (LOG.md), so on a GPU the time to launch them should
count most; that was not measured yet. What a step reads from outside lies in tensors that stay where they are: the
batch is copied into them, the learning rate is a tensor (`training.optimizer`), and dropout's seed is the global
generator's at every replay.
"""

import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ssgan_bench.data.batches import RealBatch
from ssgan_bench.methods.base import Losses

Update = Callable[[RealBatch, Tensor | None], Losses]
"""Updates the networks with a batch and z; returns the weighted loss terms."""
EAGER_STEPS = 3
"""Steps before the recording, in which libraries choose their algorithms."""


_free_streams: defaultdict[torch.device, list[torch.cuda.Stream]] = defaultdict(list)
"""Streams of recorders that are gone. PyTorch has 32 of them and would give the 33rd recorder that of the first."""


class CudaRecorder:
    """Runs and records steps on a CUDA stream that it shares with no other while it lives.

    Gradients remember the stream they are on, so what is recorded must have run there before. A stream that graphs
    share would lose its workspace of matrix products with the first graph that goes (pytorch issue 193402).
    """

    def __init__(self, device: torch.device):
        free = _free_streams[device]
        self._stream = free.pop() if free else torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        weakref.finalize(self, free.append, self._stream)

    def run(self, step: Callable[[], Losses]) -> Losses:
        """Run a step beside the current stream, which waits for it."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            losses = step()
        current.wait_stream(self._stream)
        return losses

    def record(self, step: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
        """Record the kernels of a step, which does not run it; returns how to run it and where its losses appear."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            losses = step()
        return graph.replay, losses


class StepGraph:
    """Updates networks as they are at first, and then by replaying one recorded update.

    Every batch must have the same shapes, and the networks must stay in training mode and in place.
    """

    def __init__(self, recorder: CudaRecorder):
        self._recorder = recorder
        self._eager_steps = 0
        self._replay: Callable[[], None] | None = None
        self._real: RealBatch
        self._z: Tensor | None
        self._losses: Losses

    def __call__(self, update: Update, real: RealBatch, z: Tensor | None) -> Losses:
        """Update the networks once, with the same `update` at every call.

        The global generators are seeded for this step; a replay reads the seed of the GPU's.
        """
        if self._eager_steps < EAGER_STEPS:
            self._eager_steps += 1
            return self._recorder.run(lambda: update(real, z))
        if self._replay is None:
            self._real, self._z = _copy(real), None if z is None else z.clone()
            self._replay, self._losses = self._recorder.record(lambda: update(self._real, self._z))
        self._real.images.copy_(real.images)
        self._real.labels.copy_(real.labels)
        self._real.labeled_mask.copy_(real.labeled_mask)
        if self._real.others is not None and real.others is not None:
            self._real.others.copy_(real.others)
        if self._z is not None and z is not None:
            self._z.copy_(z)
        self._replay()
        return {name: loss.clone() for name, loss in self._losses.items()}  # the next replay overwrites them


def _copy(real: RealBatch) -> RealBatch:
    return replace(
        real,
        images=real.images.clone(),
        labels=real.labels.clone(),
        labeled_mask=real.labeled_mask.clone(),
        others=None if real.others is None else real.others.clone(),
    )
