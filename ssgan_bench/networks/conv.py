"""The article's convolutional pair, for images of 16, 32 or 64 pixels and any width and number of channels.

At 64 pixels, width 128, one channel and 11 logits this is the article's TensorFlow program, layer for
layer. Smaller images keep the layers and shrink the strides. Activations come before batch norm, as there;
batch norm has TensorFlow's defaults (eps 1e-3, decay 0.99, which PyTorch calls momentum 0.01).

TensorFlow's 'same' padding is symmetric for the kernels used here, which is what makes PyTorch's integer
padding exact: 4x4 with stride 2 pads 1 pixel on each side, 4x4 with stride 4 none. A 4x4 kernel with stride
1 would need 1 pixel on one side and 2 on the other, so the stride-1 layer of the 16-pixel networks has a
3x3 kernel with padding 1.

B batch, C channels, H W image_size, Z latent.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ssgan_bench.networks.layers import Dropout
from ssgan_bench.networks.products import ConvOfFewPositions, ConvTransposeOfPatches, ConvTransposeToOneChannel

LEAKY_SLOPE = 0.2
KERNEL_AND_PADDING = {1: (3, 1), 2: (4, 1), 4: (4, 0)}
"""By stride: kernel side and padding for which TensorFlow's 'same' is symmetric."""
STRIDES = {16: (2, 2, 1), 32: (2, 2, 2), 64: (2, 2, 4)}
"""By image size: strides of the first three convolutions, which end at 4x4 pixels."""


def _strides(image_size: int) -> tuple[int, int, int]:
    if image_size not in STRIDES:
        raise ValueError(f"image_size = {image_size}: the conv networks take 16, 32 or 64")
    return STRIDES[image_size]


def _batch_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum)


Normalization = Literal["batch", "weight", "none"]


class Discriminator(nn.Module):
    """Classify images; the 8 * width pooled outputs of the last convolution are the features to match."""

    def __init__(
        self,
        image_size: int,
        channels: int = 1,
        width: int = 128,
        num_logits: int = 11,
        dropout: float = 0.3,
        norm_momentum: float = 0.01,
        normalization: Normalization = "batch",
        *,
        fast_dropout: bool = True,
    ):
        """Build the layers; weights are random until `layers.init_weights` sets them.

        Args:
            image_size: 16, 32 or 64; anything else is a ValueError.
            channels: of the images.
            width: channels of the first convolution; the others have 2, 4 and 8 times as many.
            num_logits: K classes, or K + 1 with the R/F neuron first.
            dropout: drop rate, in [0, 1).
            norm_momentum: share of a new batch in batch norm's running statistics, in (0, 1].
            normalization: "batch" as in the article; "weight" (Salimans & Kingma 2016, arXiv:1602.07868) of all
                convolutions instead; or "none".
            fast_dropout: of `layers.Dropout`.
        """
        super().__init__()

        def conv(num_in: int, num_out: int, stride: int) -> nn.Conv2d:
            kernel, padding = KERNEL_AND_PADDING[stride]
            if padding == 0:
                return ConvOfFewPositions(num_in, num_out, kernel, stride)
            return nn.Conv2d(num_in, num_out, kernel, stride, padding)

        def norm(num_channels: int) -> nn.Module:
            return _batch_norm(num_channels, norm_momentum) if normalization == "batch" else nn.Identity()

        first, second, third = _strides(image_size)
        self.conv1 = conv(channels, width, first)
        self.conv2 = conv(width, 2 * width, second)
        self.norm2 = norm(2 * width)
        self.conv3 = conv(2 * width, 4 * width, third)
        self.norm3 = norm(4 * width)
        self.conv4 = ConvOfFewPositions(4 * width, 8 * width, kernel_size=3, stride=1)
        self.dropout = Dropout(dropout, fast=fast_dropout)
        self.head = nn.Linear(8 * width, num_logits)
        if normalization == "weight":
            for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
                weight_norm(layer)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) in [-1, 1] to features (B, 8 * width) and logits (B, num_logits)."""
        x = self.conv2(self.dropout(F.leaky_relu(self.conv1(images), LEAKY_SLOPE, inplace=True)))
        x = self.dropout(self.norm2(F.leaky_relu(x, LEAKY_SLOPE, inplace=True)))
        x = self.dropout(self.norm3(F.leaky_relu(self.conv3(x), LEAKY_SLOPE, inplace=True)))  # (B, 4 * width, 4, 4)
        x = F.leaky_relu(self.conv4(x), LEAKY_SLOPE, inplace=True)  # no batch norm and no dropout: these are matched
        features = x.mean(dim=(2, 3))
        return features, self.head(features)


class Generator(nn.Module):
    """Draw images: the discriminator's layers in reverse, upsampling by the reversed strides."""

    def __init__(
        self,
        image_size: int,
        channels: int = 1,
        width: int = 128,
        latent_dim: int = 100,
        dropout: float = 0.3,
        norm_momentum: float = 0.01,
        *,
        fast_dropout: bool = True,
    ):
        """Build the layers; weights are random until `layers.init_weights` sets them.

        Args:
            image_size: 16, 32 or 64; anything else is a ValueError.
            channels: of the images.
            width: channels of the last hidden layer; the ones before have 2 and 4 times as many.
            latent_dim: Z.
            dropout: drop rate, in [0, 1).
            norm_momentum: share of a new batch in batch norm's running statistics, in (0, 1].
            fast_dropout: of `layers.Dropout`.
        """
        super().__init__()

        def deconv(num_in: int, num_out: int, factor: int) -> nn.ConvTranspose2d:
            kernel, padding = KERNEL_AND_PADDING[factor]
            if padding == 0:
                return ConvTransposeOfPatches(num_in, num_out, kernel)
            return nn.ConvTranspose2d(num_in, num_out, kernel, factor, padding)

        first, second, third = reversed(_strides(image_size))
        self.latent_dim = latent_dim
        self.deconv1 = ConvTransposeOfPatches(latent_dim, 4 * width, kernel_size=4)
        self.norm1 = _batch_norm(4 * width, norm_momentum)
        self.deconv2 = deconv(4 * width, 2 * width, first)
        self.norm2 = _batch_norm(2 * width, norm_momentum)
        self.deconv3 = deconv(2 * width, width, second)
        self.norm3 = _batch_norm(width, norm_momentum)
        self.deconv4 = ConvTransposeToOneChannel(width) if channels == 1 else deconv(width, channels, third)
        self.dropout = Dropout(dropout, fast=fast_dropout)

    def sample_latent(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw z (B, Z) ~ N(0, 1) on the generator's device."""
        return torch.randn(batch_size, self.latent_dim, generator=generator, device=generator.device)

    def forward(self, z: Tensor) -> Tensor:
        """Map z (B, Z) or (B, Z, 1, 1) to images (B, C, H, W) in (-1, 1)."""
        x = z.reshape(-1, self.latent_dim, 1, 1)
        x = self.dropout(self.norm1(F.relu(self.deconv1(x), inplace=True)))  # (B, 4 * width, 4, 4)
        x = self.dropout(self.norm2(F.relu(self.deconv2(x), inplace=True)))
        x = self.dropout(self.norm3(F.relu(self.deconv3(x), inplace=True)))
        return torch.tanh(self.deconv4(x))
