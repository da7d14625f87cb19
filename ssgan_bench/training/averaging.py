"""Exponential moving average of a network's weights, without the bias of a zero start (Tarvainen & Valpola 2017)."""

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """Holds the averaged copy, always in evaluation mode; early on it is the plain mean of the weights seen so far.

    decay_t = min(1 - 1/t, decay) for the t-th update. Buffers (batch-norm statistics) are copied: they are
    running averages already, and averaging them again made them lag behind (LOG.md).
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the current weights of `network`."""
        self._updates += 1
        weight = max(1.0 / self._updates, 1.0 - self._decay)
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), weight)
        for averaged, current in zip(self.network.buffers(), network.buffers(), strict=True):
            averaged.copy_(current)

    def state(self) -> dict[str, Any]:
        """The average and the number of updates behind it; the tensors are not copied."""
        return {"network": self.network.state_dict(), "updates": self._updates}

    def load(self, state: dict[str, Any]) -> None:
        """Take over the `state` of an average of the same network."""
        self.network.load_state_dict(state["network"])
        self._updates = state["updates"]
