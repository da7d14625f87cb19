"""Improved GAN's fully connected pair for MNIST, for images of any size.

Salimans et al. 2016, arXiv:1606.03498, and the published code train_mnist_feature_matching.py: the
discriminator has weight-normalized layers with Gaussian noise before each and no batch norm, the generator
batch norm and a sigmoid output. The original works on pixels in [0, 1]; images here are in [-1, 1] as
everywhere in this package and are mapped inside.

B batch, C channels, H W image_size, Z latent.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssgan_bench.networks.layers import (
    GaussianNoise,
    NormalizedColumnsLinear,
    ShiftBatchNorm,
    WeightNormLinear,
)

HIDDEN_UNITS = (1000, 500, 250, 250, 250)
GENERATOR_UNITS = 500
INPUT_NOISE_STD = 0.3  # on pixels in [0, 1]
HIDDEN_NOISE_STD = 0.5


class Discriminator(nn.Module):
    """Classify images; the last hidden activations, before their noise, are the features to match."""

    def __init__(self, image_size: int, channels: int, num_logits: int = 10):
        """Build the layers; weights are random until `layers.init_weights` sets them."""
        super().__init__()
        sizes = (channels * image_size**2, *HIDDEN_UNITS)
        self.hidden = nn.ModuleList(WeightNormLinear(num_in, num_out) for num_in, num_out in pairwise(sizes))
        self.head = WeightNormLinear(sizes[-1], num_logits, train_scale=True)
        self.input_noise = GaussianNoise(INPUT_NOISE_STD)
        self.hidden_noise = GaussianNoise(HIDDEN_NOISE_STD)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) in [-1, 1] to features (B, 250) and logits (B, num_logits)."""
        x = self.input_noise((images.flatten(1) + 1) / 2)
        for layer in self.hidden:
            features = F.relu(layer(x))
            x = self.hidden_noise(features)
        return features, self.head(x)

    @torch.no_grad()
    def initialize_from_data(self, images: Tensor) -> None:
        """Scale and shift every layer so that its outputs for these images have mean 0 and variance 1.

        Replaces all scales and biases, layer by layer, with noise on whatever the mode is (drawn from the
        global generator of the images' device). The hidden scales are never trained, so this is where they
        get their values; call it once, after `layers.init_weights`. The original takes 500 training images,
        without labels.

        Args:
            images: (B, C, H, W) in [-1, 1]; fewer than two are a ValueError.
        """
        was_training = self.training
        self.train()
        x = self.input_noise((images.flatten(1) + 1) / 2)
        for layer in self.hidden:
            assert isinstance(layer, WeightNormLinear)
            x = self.hidden_noise(F.relu(layer.initialize_from_data(x)))
        self.head.initialize_from_data(x)
        self.train(was_training)


class Generator(nn.Module):
    """Draw images from z through two softplus layers, batch norm before each softplus."""

    def __init__(self, image_size: int, channels: int, latent_dim: int = 100):
        """Build the layers; weights are random until `layers.init_weights` sets them."""
        super().__init__()
        self.image_shape = (channels, image_size, image_size)
        self.latent_dim = latent_dim
        # No biases: batch norm would subtract them; its own shift takes their place.
        self.dense1 = nn.Linear(latent_dim, GENERATOR_UNITS, bias=False)
        self.norm1 = ShiftBatchNorm(GENERATOR_UNITS)
        self.dense2 = nn.Linear(GENERATOR_UNITS, GENERATOR_UNITS, bias=False)
        self.norm2 = ShiftBatchNorm(GENERATOR_UNITS)
        self.output = NormalizedColumnsLinear(GENERATOR_UNITS, channels * image_size**2)

    def sample_latent(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw z (B, Z) ~ U[0, 1) on the generator's device."""
        return torch.rand(batch_size, self.latent_dim, generator=generator, device=generator.device)

    def forward(self, z: Tensor) -> Tensor:
        """Map z (B, Z) or (B, Z, 1, 1) to images (B, C, H, W) in (-1, 1)."""
        x = F.softplus(self.norm1(self.dense1(z.reshape(-1, self.latent_dim))))
        x = F.softplus(self.norm2(self.dense2(x)))
        pixels = torch.sigmoid(self.output(x))
        return (2 * pixels - 1).reshape(-1, *self.image_shape)
