"""Adam with decoupled weight decay, and the course of its learning rate.

The update is PyTorch's fused kernel, called through the function behind torch.optim.AdamW. The class would do the same,
but imports PyTorch's compiler at its first step: 880 modules, half of the time that a worker takes to start (LOG.md).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ssgan_bench.config import OptimizerConfig


class Adam:
    """Updates one network; with weight_decay 0 it is Adam (Kingma & Ba 2015), else AdamW (Loshchilov & Hutter 2019)."""

    def __init__(
        self,
        network: nn.Module,
        rate: float,
        betas: tuple[float, float],
        epsilon: float,
        weight_decay: float,
        *,
        epsilon_root: float = 0.0,
        in_graph: bool = False,
    ):
        """Begin with moments of zero; see `make_optimizer`."""
        self._parameters: list[Tensor] = list(network.parameters())
        self._betas, self._epsilon, self.weight_decay, self._in_graph = betas, epsilon, weight_decay, in_graph
        device = self._parameters[0].device
        self.rate: float | Tensor = torch.tensor(rate, device=device) if in_graph else rate
        # A constant in every squared gradient comes out of the bias-corrected mean as that constant. It is added before
        # the kernel multiplies the mean by beta2 and adds the new gradient's share.
        self._added_to_squares = epsilon_root * (1 - betas[1]) / betas[1] if epsilon_root else 0.0
        self._moments, self._squares = ([torch.zeros_like(p) for p in self._parameters] for _ in range(2))
        self._steps = [torch.zeros((), device=device) for _ in self._parameters]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next update, in place where it is a tensor."""
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the network with the gradients that its parameters have, all of them."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        assert len(gradients) == len(self._parameters)
        if self._added_to_squares:
            torch._foreach_add_(self._squares, self._added_to_squares)
        adamw(
            self._parameters,
            gradients,
            self._moments,
            self._squares,
            [],
            self._steps,
            fused=True,
            capturable=self._in_graph,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=self.rate,
            weight_decay=self.weight_decay,
            eps=self._epsilon,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        """Moments and numbers of steps; the tensors are not copied."""
        return {"moments": self._moments, "squares": self._squares, "steps": self._steps}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Take over the `state` of an optimizer of the same network; its tensors may be on any device.

        Raises:
            ValueError, KeyError: it is that of another network.
        """
        for name, own in self.state().items():
            for tensor, saved in zip(own, state[name], strict=True):
                if tensor.shape != saved.shape:
                    raise ValueError(f"{name}: {tuple(saved.shape)}, and here {tuple(tensor.shape)}")
                tensor.copy_(saved)


def make_optimizer(network: nn.Module, config: OptimizerConfig, weight_decay: float, *, in_graph: bool = False) -> Adam:
    """Make the optimizer of one network.

    Args:
        network: what it updates; on its device.
        config: its settings.
        weight_decay: of this network.
        in_graph: for a CUDA graph, which reads the learning rate from a tensor.
    """
    return Adam(
        network,
        config.learning_rate,
        (config.beta1, config.beta2),
        config.epsilon,
        weight_decay,
        epsilon_root=config.epsilon_root,
        in_graph=in_graph,
    )


def learning_rate_at(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """Learning rate of step `step` (from 0): constant, then linear to zero over the last `decay_fraction`."""
    decay_steps = config.decay_fraction * total_steps
    remaining = total_steps - step
    return config.learning_rate * (min(1.0, max(0.0, remaining / decay_steps)) if decay_steps else 1.0)
