"""A training step as one CUDA graph: its kernels are launched at once, instead of one by one from Python.

A step of narrow networks is some two thousand kernels of a few microseconds each, which a GPU finishes sooner than
Python starts them. What a step reads from outside lies in tensors that stay where they are: the batch is copied into
them, the learning rate is a tensor (`training.loop`), and dropout's seed is the global generator's at every replay.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ssgan_bench.data.batches import RealBatch
from ssgan_bench.methods.base import Losses

Update = Callable[[RealBatch, Tensor | None], Losses]
"""Updates the networks with a batch and z; returns the weighted loss terms."""
EAGER_STEPS = 3
"""Steps before the recording, in which libraries choose their algorithms and optimizers make their state."""


def record_on_cuda(step: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
    """Record the kernels of a step, which does not run it; returns how to run it and where its losses appear."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()
    return graph.replay, losses


class StepGraph:
    """An update that runs as it is at first, and then from its recording.

    Every batch must have the same shapes, and the networks must stay in training mode and in place.
    """

    def __init__(
        self,
        update: Update,
        record: Callable[[Callable[[], Losses]], tuple[Callable[[], None], Losses]] = record_on_cuda,
    ):
        self._update, self._record = update, record
        self._eager_steps = 0
        self._replay: Callable[[], None] | None = None
        self._real: RealBatch
        self._z: Tensor | None
        self._losses: Losses

    def __call__(self, real: RealBatch, z: Tensor | None) -> Losses:
        """Update the networks once; the global generators are seeded for this step."""
        if self._eager_steps < EAGER_STEPS:
            self._eager_steps += 1
            return self._eager(real, z)
        if self._replay is None:
            self._real, self._z = _copy(real), None if z is None else z.clone()
            self._replay, self._losses = self._record(lambda: self._update(self._real, self._z))
        self._real.images.copy_(real.images)
        self._real.labels.copy_(real.labels)
        self._real.labeled_mask.copy_(real.labeled_mask)
        if self._z is not None and z is not None:
            self._z.copy_(z)
        self._replay()
        return {name: loss.clone() for name, loss in self._losses.items()}  # the next replay overwrites them

    def _eager(self, real: RealBatch, z: Tensor | None) -> Losses:
        """Run the update beside the current stream, as a recording will: gradients remember the stream they are on."""
        if real.images.device.type != "cuda":
            return self._update(real, z)
        current = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            losses = self._update(real, z)
        current.wait_stream(side)
        return losses


def _copy(real: RealBatch) -> RealBatch:
    return replace(real, images=real.images.clone(), labels=real.labels.clone(), labeled_mask=real.labeled_mask.clone())
