"""What a method is, and the usual kind: networks with discriminator losses and, for a GAN, generator losses.

The other kind, fitted once and without a network, is in classical.py.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ssgan_bench.config import MethodConfig, MlpConfig, NetworkConfig, RunConfig
from ssgan_bench.data.batches import Batches, RealBatch
from ssgan_bench.networks import conv, mlp
from ssgan_bench.networks.batch_statistics import batch_norms, set_batch_statistics
from ssgan_bench.networks.layers import init_weights
from ssgan_bench.seeding import generator, seed_layers

Generator = conv.Generator | mlp.Generator

Losses = dict[str, Tensor]
"""Weighted loss terms by name, each a scalar; an update minimizes their sum."""


class Method(ABC):
    """One way to make a classifier; a final subclass lives in one file with its configuration.

    It derives from `NetworkMethod` or from `classical.ClassicalMethod`, which say how it learns.
    """

    config_type: ClassVar[type[MethodConfig]]
    uses_unlabeled: ClassVar[bool]
    by_config: ClassVar[dict[type[MethodConfig], type["Method"]]] = {}

    def __init_subclass__(cls) -> None:
        if "config_type" in vars(cls):  # the kinds of methods have none
            Method.by_config[cls.config_type] = cls

    @abstractmethod
    def __init__(self, config: RunConfig, channels: int, num_classes: int): ...

    @classmethod
    @abstractmethod
    def check(cls, config: RunConfig, batches: Batches) -> None:
        """Refuse a run that this method cannot do, before anything runs.

        Raises:
            ConfigError: with what, the limit and the remedy.
        """


class NetworkMethod(Method):
    """Networks trained step by step; `training.loop.Trainer` does the steps."""

    discriminator: nn.Module
    """images (B, C, H, W) -> features (B, D), logits."""
    generator: Generator | None
    """z (B, Z) -> images (B, C, H, W); None for a method without one."""
    teacher: nn.Module | None = None
    """The discriminator with averaged weights, in evaluation mode; set by training where weights are averaged."""

    @classmethod
    def check(cls, config: RunConfig, batches: Batches) -> None:
        """Refuse nothing: what networks need, `RunConfig` and `Batches` have checked."""

    @abstractmethod
    def discriminator_losses(self, real: RealBatch, z: Tensor | None) -> Losses:
        """Compute the terms of the discriminator's update; z (B, Z) is None without a generator."""

    def generator_losses(self, real: RealBatch, z: Tensor) -> Losses:
        """Compute the terms of the generator's update, after the discriminator's."""
        raise NotImplementedError(f"{type(self).__name__} has no generator")

    @abstractmethod
    def class_logits(self, logits: Tensor) -> Tensor:
        """Reduce the discriminator's logits to those of the K classes, (B, K)."""


def build_method(config: RunConfig, channels: int, num_classes: int) -> Method:
    """Build the configured method; its networks, if any, are uninitialized and on the CPU."""
    return Method.by_config[type(config.method)](config, channels, num_classes)


def initialize(method: NetworkMethod, model_seed: int, images: Callable[[], Tensor]) -> None:
    """Set all weights from named streams of `model_seed`, on the CPU, so that they are equal on every device.

    Args:
        method: its networks are changed in place.
        model_seed: names the streams.
        images: gives (B, C, H, W) in [-1, 1] that the run may see; asked only by the MLP pair, whose initialization
            depends on data.
    """
    init_weights(method.discriminator, generator(model_seed, "init/discriminator"))
    if method.generator is not None:
        init_weights(method.generator, generator(model_seed, "init/generator"))
    if isinstance(method.discriminator, mlp.Discriminator):
        seed_layers(model_seed, "init/noise", 0)
        method.discriminator.initialize_from_data(images().cpu())


def with_statistics_of(discriminator: nn.Module, images: Callable[[], Sequence[Tensor]]) -> nn.Module:
    """Copy a discriminator, in evaluation mode, whose batch norm has the statistics of these images.

    Args:
        discriminator: stays as it is; without batch norm it is returned itself.
        images: gives batches (B, C, H, W) in [-1, 1]; asked only where there is batch norm.
    """
    if not batch_norms(discriminator):
        return discriminator
    discriminator = copy.deepcopy(discriminator).eval()
    set_batch_statistics(discriminator, images())
    return discriminator


def build_discriminator(network: NetworkConfig, image_size: int, channels: int, num_logits: int) -> nn.Module:
    """Build the discriminator trunk with a head of `num_logits` outputs."""
    if isinstance(network, MlpConfig):
        return mlp.Discriminator(image_size, channels, num_logits)
    return conv.Discriminator(
        image_size,
        channels,
        network.width,
        num_logits,
        network.dropout,
        network.norm_momentum,
        network.normalization,
        fast_dropout=network.fast_dropout,
    )


def build_generator(network: NetworkConfig, image_size: int, channels: int) -> Generator:
    """Build the generator that goes with the discriminator."""
    if isinstance(network, MlpConfig):
        return mlp.Generator(image_size, channels, network.latent_dim)
    return conv.Generator(
        image_size,
        channels,
        network.width,
        network.latent_dim,
        network.dropout,
        network.norm_momentum,
        fast_dropout=network.fast_dropout,
    )
