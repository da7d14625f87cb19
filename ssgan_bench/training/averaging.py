"""Exponential moving average of a network's weights, without the bias of a zero start (Tarvainen & Valpola 2017)."""

import copy

import torch
from torch import nn


class WeightAverage:
    """Holds the averaged copy; early on it is the plain mean of the weights seen so far.

    decay_t = min(1 - 1/t, decay) for the t-th update. Floating-point buffers (batch-norm statistics) are averaged
    alike, for statistics of the newest weights do not fit averaged ones.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the current weights of `network`."""
        self._updates += 1
        weight = max(1.0 / self._updates, 1.0 - self._decay)
        averaged, current = (list(n.state_dict().values()) for n in (self.network, network))
        floating = [index for index, value in enumerate(current) if value.is_floating_point()]
        torch._foreach_lerp_([averaged[i] for i in floating], [current[i] for i in floating], weight)
        for index in set(range(len(current))) - set(floating):  # batch norm counts its batches
            averaged[index].copy_(current[index])
