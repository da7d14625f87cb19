"""Convolutions that a CPU computes faster as matrix products than with oneDNN (LOG.md).

The layers have the weights of PyTorch's own, whose computation they leave to PyTorch elsewhere.

B batch, I input and O output channels, H W input size, h w output size, k side of the kernel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MANY_WEIGHTS = 2**18
"""Weights of a layer from which on its product is faster than oneDNN's convolution on a CPU with AVX2."""


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a product was found faster: in float32 (bfloat16 was not measured) and PyTorch's own memory format."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and weight.numel() >= MANY_WEIGHTS
        and x.is_contiguous()
        and weight.is_contiguous()
    )


class ConvOfFewPositions(nn.Conv2d):
    """Convolution without padding for few output pixels; a matrix product with a row for each of them.

    The article's last two take from a third to two thirds of oneDNN's time, forward and gradients together.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int):
        super().__init__(in_channels, out_channels, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I, H, W) to (B, O, h, w)."""
        weight = self.weight  # once: with weight norm it is computed whenever it is asked for
        if not _pays(x, weight):
            plain: Tensor = self._conv_forward(x, weight, self.bias)
            return plain
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = ((size - kernel) // stride + 1 for size in x.shape[2:])
        if (kernel * height, kernel * width) == x.shape[2:]:  # they do not overlap: each number goes to one row
            blocks = x.view(len(x), self.in_channels, height, kernel, width, kernel).permute(0, 2, 4, 1, 3, 5)
        else:
            blocks = F.unfold(x, kernel, stride=stride).transpose(1, 2)  # (B, h * w, I * k * k)
        rows = blocks.reshape(-1, weight[0].numel())
        pixels = F.linear(rows, weight.flatten(1), self.bias)
        # In one piece: as a view this would have the memory format channels_last, and so would all that follows.
        images = pixels.view(len(x), height * width, self.out_channels).transpose(1, 2).contiguous()
        return images.view(len(x), self.out_channels, height, width)


class ConvTransposeOfPatches(nn.ConvTranspose2d):
    """Transposed convolution that makes a patch of each pixel, none of which overlap: a matrix product.

    With its backward pass it takes a third of oneDNN's time for a single pixel, where it is used everywhere, and two
    thirds for the article's second layer.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(in_channels, out_channels, kernel_size, stride=kernel_size)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, I, H, W) to (B, O, k * H, k * W)."""
        height, width = x.shape[2:]
        if (height, width) != (1, 1) and not _pays(x, self.weight):
            return super().forward(x)
        assert self.bias is not None
        rows = x.flatten(2).transpose(1, 2).reshape(-1, x.shape[1])
        patches = (rows @ self.weight.flatten(1)).view(len(x), height, width, *self.weight.shape[1:])
        side = self.kernel_size[0]
        images = patches.permute(0, 3, 1, 4, 2, 5).reshape(len(x), self.out_channels, side * height, side * width)
        return images + self.bias.to(images.dtype).view(-1, 1, 1)


class ConvTransposeToOneChannel(nn.ConvTranspose2d):
    """Transposed convolution to one channel that doubles the side; on a CPU a matrix product and a sum of overlaps.

    With its backward pass faster than oneDNN's on a CPU with AVX2, which for three channels it would not be (LOG.md).
    """

    def __init__(self, in_channels: int):
        super().__init__(in_channels, 1, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, I, H, W) to (B, 1, 2 * H, 2 * W)."""
        if x.device.type != "cpu":
            return super().forward(x)
        assert self.bias is not None
        taps = self.weight.flatten(1).t().expand(len(x), -1, -1)  # (B, 16, I)
        columns = torch.bmm(taps, x.flatten(2))  # (B, 16, H * W)
        images = F.fold(columns, (2 * x.shape[2], 2 * x.shape[3]), kernel_size=4, stride=2, padding=1)
        return images + self.bias.to(images.dtype)
