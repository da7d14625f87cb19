"""Strided convolutions computed as stride-1 ones over rearranged pixels: the same sums, several times faster on a CPU.

CPU libraries run a transposed convolution to one channel, or the input gradient of a convolution from one channel, at
about 1 % of the speed of a plain 3x3 convolution. Splitting pixels by their position modulo the stride turns both into
plain convolutions (Shi et al. 2016, arXiv:1609.05158): along one axis, with stride 2, kernel w of 4 taps and padding 1,

    transposed  y[2m] = w3 x[m-1] + w1 x[m],   y[2m+1] = w2 x[m] + w0 x[m+1]
    plain       y[m]  = w0 x[2m-1] + w1 x[2m] + w2 x[2m+1] + w3 x[2m+2]

Parameters, their names and the state dict are those of PyTorch's layers; on a GPU its own kernels run.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRANSPOSED_TAPS = (3, 1, 4, 4, 2, 0)
"""Taps of the 3-tap kernels of the even and the odd outputs; 4 stands for zero."""
PLAIN_TAPS = (4, 1, 3, 0, 2, 4)
"""Taps of the 3-tap kernels over the even and the odd inputs; 4 stands for zero."""


def _split_kernel(weight: Tensor, taps: tuple[int, ...]) -> Tensor:
    """(X, Y, 4, 4) -> (X, Y, 2, 2, 3, 3): one 3x3 kernel for each position modulo 2."""
    index = torch.tensor(taps, device=weight.device)
    padded = F.pad(weight, (0, 1, 0, 1))
    split = padded.index_select(2, index).index_select(3, index)
    return split.view(*weight.shape[:2], 2, 3, 2, 3).transpose(3, 4)


class Conv2d(nn.Conv2d):
    """nn.Conv2d, fast on a CPU also where few channels come in with kernel 4, stride 2, padding 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        strided = (self.kernel_size, self.stride, self.padding) == ((4, 4), (2, 2), (1, 1))
        if x.device.type != "cpu" or not strided or self.in_channels > 3:
            return super().forward(x)
        kernel = _split_kernel(self.weight, PLAIN_TAPS).flatten(1, 3)
        return F.conv2d(F.pixel_unshuffle(x, 2), kernel, self.bias, padding=1)


class ConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d, fast on a CPU for the three shapes that the generators use."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        if x.device.type != "cpu":
            return super().forward(x)
        assert self.bias is not None
        bias = self.bias.view(-1, 1, 1)
        kernel_size, stride, padding = self.kernel_size[0], self.stride[0], self.padding[0]
        if x.shape[2:] == (1, 1) and padding == 0:  # one pixel becomes one kernel: a dense layer
            product: Tensor = x.flatten(1) @ self.weight.flatten(1)
            return product.view(len(x), -1, kernel_size, kernel_size) + bias
        if kernel_size == stride and padding == 0:  # each pixel becomes a block of its own
            kernel = self.weight.flatten(1).t()[:, :, None, None]
            return F.pixel_shuffle(F.conv2d(x, kernel), stride) + bias
        if (kernel_size, stride, padding) == (4, 2, 1):
            kernel = _split_kernel(self.weight, TRANSPOSED_TAPS).transpose(0, 1)
            kernel = kernel.transpose(1, 2).transpose(2, 3).flatten(0, 2)  # (out * 4, in, 3, 3)
            return F.pixel_shuffle(F.conv2d(x, kernel, padding=1), 2) + bias
        return super().forward(x)
