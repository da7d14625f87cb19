"""Convolutions that a CPU computes faster as matrix products than with oneDNN (LOG.md).

The layers have the weights of PyTorch's own, whose computation they leave to PyTorch elsewhere. Images and weights in
the memory format channels_last are taken as they lie in memory, and so are the results.

B batch, I input and O output channels, H W input size, h w output size, k side of the kernel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MANY_WEIGHTS = 2**18
"""Weights of a layer from which on its product is faster than oneDNN's convolution with AVX2. With AVX-512 it is from
twice as many on, in bfloat16 and in channels_last from fewer on, which a step hardly notices (LOG.md)."""


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a product was found faster: on a CPU, of images and weights of one memory format."""
    if x.device.type != "cpu" or weight.numel() < MANY_WEIGHTS:
        return False
    memory_format = torch.channels_last if _is_channels_last(weight) else torch.contiguous_format
    return all(tensor.is_contiguous(memory_format=memory_format) for tensor in (x, weight))


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _as_it_lies(x: Tensor, channels_last: bool) -> Tensor:
    """View (B, C, H, W) as (B, H, W, C) if that is how it lies in memory."""
    return x.permute(0, 2, 3, 1) if channels_last else x


class ConvOfFewPositions(nn.Conv2d):
    """Convolution without padding for few output pixels; a matrix product with a row for each of them.

    The article's last two take from a third to two thirds of oneDNN's time in float32 with AVX2, forward and gradients
    together.
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
        apart = (kernel * height, kernel * width) == x.shape[2:]  # each number goes to one row

        channels_last = _is_channels_last(weight)
        x, weight = _as_it_lies(x, channels_last), _as_it_lies(weight, channels_last)
        i, j = (1, 2) if channels_last else (2, 3)  # dimensions of height and width
        if apart:
            blocks = x.view(*x.shape[:i], height, kernel, width, kernel, *x.shape[j + 1 :])
            blocks = blocks.movedim((i, j + 1), (1, 2))  # (B, h, w, I, k, k), or I at the end
        else:
            corners = [(row * stride, column * stride) for row in range(height) for column in range(width)]
            parts = [x.narrow(i, top, kernel).narrow(j, left, kernel) for top, left in corners]
            blocks = torch.stack(parts, dim=1)  # (B, h * w, I, k, k), or I at the end
        pixels = F.linear(blocks.reshape(-1, weight[0].numel()), weight.flatten(1), self.bias)  # (B * h * w, O)
        images = pixels.view(len(x), height, width, self.out_channels).permute(0, 3, 1, 2)  # channels_last
        return images if channels_last else images.contiguous()


class ConvTransposeOfPatches(nn.ConvTranspose2d):
    """Transposed convolution that makes a patch of each pixel, none of which overlap: a matrix product.

    With its backward pass it takes a third of oneDNN's time for a single pixel, where it is used everywhere, and two
    thirds for the article's second layer, in float32 with AVX2.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(in_channels, out_channels, kernel_size, stride=kernel_size)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, I, H, W) to (B, O, k * H, k * W)."""
        height, width = x.shape[2:]
        if (height, width) != (1, 1) and not _pays(x, self.weight):
            return super().forward(x)
        assert self.bias is not None

        channels_last = _is_channels_last(self.weight)
        weight = _as_it_lies(self.weight, channels_last)
        pixels = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        patches = (pixels @ weight.flatten(1)).view(len(x), height, width, *weight.shape[1:])
        i, j = (1, 2) if channels_last else (2, 3)  # dimensions of height and width
        patches = patches.movedim((1, 2), (i, j + 1))  # (B, O, H, k, W, k), or O at the end
        images = patches.flatten(j + 1, j + 2).flatten(i, i + 1)
        images = images.permute(0, 3, 1, 2) if channels_last else images
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
        if _is_channels_last(x):
            pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, I)
            columns = (pixels @ self.weight.flatten(1)).transpose(1, 2)  # (B, 16, H * W)
        else:
            taps = self.weight.flatten(1).t().expand(len(x), -1, -1)  # (B, 16, I)
            columns = torch.bmm(taps, x.flatten(2))  # (B, 16, H * W)
        images = F.fold(columns, (2 * x.shape[2], 2 * x.shape[3]), kernel_size=4, stride=2, padding=1)
        return images + self.bias.to(images.dtype)
