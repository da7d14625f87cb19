"""Layers that the network pairs share, and weight initialization from an explicit generator.

B batch, I inputs and O outputs of a dense layer.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized


def init_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Set every weight and statistic of `module` and its children, with randomness from `generator` alone.

    Convolutions and dense layers get Glorot-uniform kernels and zero biases (the defaults of the article's
    TensorFlow program and of Lasagne), batch norm starts as the identity, and the weight-normalized layers
    below follow their own `reset_parameters`. Constructors run PyTorch's default initialization, which
    reads the global generator; since everything is overwritten here, that has no influence on the result.

    Args:
        module: network; its weights are changed in place, in the order of `module.modules()`.
        generator: on any device; numbers are drawn there in float32 and copied, so one seed gives one network
            wherever the module lives.
    """
    for layer in module.modules():
        match layer:
            case nn.Conv2d() | nn.ConvTranspose2d() | nn.Linear():
                drawn = torch.empty(layer.weight.shape, device=generator.device)
                nn.init.xavier_uniform_(drawn, generator=generator)
                with torch.no_grad():
                    if is_parametrized(layer, "weight"):
                        layer.weight = drawn.to(layer.weight.device)  # weight norm: sets direction and scale
                    else:
                        layer.weight.copy_(drawn)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            case nn.BatchNorm2d() | ShiftBatchNorm():
                layer.reset_parameters()
            case WeightNormLinear() | NormalizedColumnsLinear():
                layer.reset_parameters(generator)


class GaussianNoise(nn.Module):
    """Add N(0, std^2) noise in training mode; do nothing in evaluation mode.

    Noise comes from the global generator of the input's device, as dropout's does, so that training seeds
    both at once before every step.
    """

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape and dtype of x."""
        if not self.training:
            return x
        # Drawn in float32, which on a CPU takes a fifth less time than drawing in bfloat16 (LOG.md).
        noise = torch.randn_like(x, dtype=torch.float32).to(x.dtype)
        return torch.add(x, noise, alpha=self.std)


class Dropout(nn.Module):
    """Zero a share `rate` of the inputs in training mode and scale the rest by 1 / (1 - rate).

    On a CPU, PyTorch draws the mask one number at a time, which took half of a bfloat16 step of the article's
    networks. There this layer compares 16 random bits with a threshold for each element, one to four times faster, so
    the rate is the nearest multiple of 2^-16. The bits come from a NumPy generator that is seeded by PyTorch's global
    one at every call. On a GPU, in compiled code, which fuses its random numbers, and without `fast` it is PyTorch's
    own dropout.
    """

    def __init__(self, rate: float, *, fast: bool = True):
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"dropout = {rate}: give a drop rate of at least 0 and below 1")
        self.rate, self.fast = rate, fast

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape and dtype of x."""
        if not (self.training and self.rate > 0.0 and self._draws_masks(x)):
            return F.dropout(x, self.rate, self.training)
        threshold = min(round(self.rate * 2**16), 2**16 - 1)  # of the 2^16 patterns, those that drop an element
        mask = _draw_kept(x.numel(), threshold).to(x.dtype).mul_(2**16 / (2**16 - threshold))
        # In the order in which x lies in memory: a mask of another memory format is slow to multiply with.
        return x * mask.as_strided(x.shape, torch.empty_like(x, device="meta").stride())

    def _draws_masks(self, x: Tensor) -> bool:
        return self.fast and x.device.type == "cpu" and not torch.compiler.is_compiling()


def _draw_kept(count: int, threshold: int) -> Tensor:
    """Draw which of `count` elements are kept, (count,) uint8, 0 or 1; seeded by the global generator."""
    words = np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_()))
    bits = words.random_raw((count + 3) // 4).view(np.uint16)[:count]
    return torch.from_numpy((bits >= threshold).view(np.uint8))  # PyTorch converts bytes faster than truth values


class WeightNormLinear(nn.Module):
    """Dense layer y = x w + b with columns w_o = scale_o * direction_o / |direction_o|.

    As in Salimans et al. 2016 (arXiv:1606.03498), MNIST code: direction ~ N(0, 0.1^2), scale 1, bias 0; the
    scale is set by `initialize_from_data` and then trained only where `train_scale` is set, the bias
    always.
    """

    scale: Tensor

    def __init__(self, num_inputs: int, num_outputs: int, *, train_scale: bool = False):
        super().__init__()
        self.direction = nn.Parameter(torch.empty(num_outputs, num_inputs))  # row o is direction_o
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        if train_scale:
            self.scale = nn.Parameter(torch.ones(num_outputs))
        else:
            self.register_buffer("scale", torch.ones(num_outputs))
        nn.init.normal_(self.direction, std=0.1)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw new directions; scale 1 and bias 0."""
        with torch.no_grad():
            drawn = torch.empty(self.direction.shape, device=generator.device)
            self.direction.copy_(drawn.normal_(std=0.1, generator=generator))
            self.scale.fill_(1.0)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I) to (B, O)."""
        return F.linear(x, self._weight(), self.bias)

    def _weight(self) -> Tensor:
        # The kernel of parametrizations.weight_norm: with its gradient a seventh of the time of vector_norm's (LOG.md).
        weight: Tensor = torch._weight_norm(self.direction, self.scale.unsqueeze(1), 0)
        return weight

    @torch.no_grad()
    def initialize_from_data(self, x: Tensor) -> Tensor:
        """Set scale and bias so that outputs for x (B, I) have mean 0 and variance 1; return them (B, O).

        The variance is the biased one. Raises ValueError for fewer than two examples, which have no spread.
        """
        if x.shape[0] < 2:
            raise ValueError(f"data-dependent initialization needs at least 2 images, got {x.shape[0]}")
        outputs = F.linear(x, self._weight())
        std, mean = torch.std_mean(outputs, dim=0, correction=0)
        self.scale.div_(std)
        self.bias.copy_(-mean / std)
        return (outputs - mean) / std


class NormalizedColumnsLinear(nn.Module):
    """Dense layer with columns of norm `scale`, which is trained; generator output of Salimans et al. 2016.

    Directions are Glorot-uniform, and 1e-6 is added inside the square root of the norm, as in the original.
    """

    def __init__(self, num_inputs: int, num_outputs: int):
        super().__init__()
        self.direction = nn.Parameter(torch.empty(num_outputs, num_inputs))
        self.scale = nn.Parameter(torch.ones(num_outputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        nn.init.xavier_uniform_(self.direction)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw new directions; scale 1 and bias 0."""
        with torch.no_grad():
            drawn = torch.empty(self.direction.shape, device=generator.device)
            self.direction.copy_(nn.init.xavier_uniform_(drawn, generator=generator))
            self.scale.fill_(1.0)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I) to (B, O)."""
        norm = torch.sqrt(1e-6 + self.direction.square().sum(dim=1))
        return F.linear(x, self.direction) * (self.scale / norm) + self.bias


class ShiftBatchNorm(nn.Module):
    """Batch norm of (B, O) with a trained shift and no scale: eps 1e-6, running averages move by 0.1."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set shift 0, mean 0 and variance 1."""
        with torch.no_grad():
            self.bias.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, O) over the batch in training mode, with the running averages otherwise."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            bias=self.bias,
            training=self.training,
            momentum=0.1,
            eps=1e-6,
        )
