"""Exchange weights between `networks.conv` and the article's TensorFlow program.

TensorFlow keeps convolution kernels as (kh, kw, in, out), transposed ones as (kh, kw, out, in) and dense
ones as (in, out). PyTorch keeps (out, in, kh, kw), (in, out, kh, kw) and (out, in). Names are those of the
original graph, e.g. "Discriminator/conv1/kernel" or "Generator/batch_normalization_1/moving_mean".
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssgan_bench.networks.conv import Discriminator, Generator

# By the name that TensorFlow gave a layer: the module's attribute. Batch norms are numbered in order of
# creation.
DISCRIMINATOR_LAYERS = {
    "conv1": "conv1",
    "conv2": "conv2",
    "batch_normalization": "norm2",
    "conv3": "conv3",
    "batch_normalization_1": "norm3",
    "conv4": "conv4",
    "dense": "head",
}
GENERATOR_LAYERS = {
    "deconv1": "deconv1",
    "batch_normalization": "norm1",
    "deconv2": "deconv2",
    "batch_normalization_1": "norm2",
    "deconv3": "deconv3",
    "batch_normalization_2": "norm3",
    "deconv4": "deconv4",
}
OPTIMIZER_MARKS = ("optimiser", "Adam", "beta1_power", "beta2_power")
"""Parts of the names under which a checkpoint of the original keeps Adam's moments."""
STATISTICS = ("moving_mean", "moving_variance")


def load_discriminator(discriminator: Discriminator, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Copy TensorFlow weights into the discriminator.

    Args:
        discriminator: changed in place, and only if every variable fits.
        weights: arrays by name, with or without the scope "Discriminator/" and the suffix ":0". Optimizer
            slots and other scopes are ignored. Batch-norm statistics may be missing and then stay as they
            are.

    Raises:
        ValueError: a variable is missing, unknown, given twice or has the wrong shape; names it.
    """
    _load(discriminator, "Discriminator", DISCRIMINATOR_LAYERS, weights)


def load_generator(generator: Generator, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Copy TensorFlow weights into the generator; see `load_discriminator`."""
    _load(generator, "Generator", GENERATOR_LAYERS, weights)


def dump_discriminator(discriminator: Discriminator) -> dict[str, NDArray[np.generic]]:
    """Copy the discriminator's weights out, in TensorFlow's names and layout; the inverse of loading them."""
    return _dump(discriminator, "Discriminator", DISCRIMINATOR_LAYERS)


def dump_generator(generator: Generator) -> dict[str, NDArray[np.generic]]:
    """Copy the generator's weights out; see `dump_discriminator`."""
    return _dump(generator, "Generator", GENERATOR_LAYERS)


def _variables(network: nn.Module, layers: Mapping[str, str]) -> dict[str, Tensor]:
    """List the network's tensors by TensorFlow name without scope, as views in TensorFlow's layout."""
    variables: dict[str, Tensor] = {}
    for name, attribute in layers.items():
        layer = network.get_submodule(attribute)
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            variables[f"{name}/gamma"] = layer.weight.detach()
            variables[f"{name}/beta"] = layer.bias.detach()
            variables[f"{name}/moving_mean"] = layer.running_mean
            variables[f"{name}/moving_variance"] = layer.running_var
        else:
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
            assert layer.bias is not None
            kernel = layer.weight.detach()
            # One permutation serves both kinds: each library swaps in and out for transposed convolutions.
            variables[f"{name}/kernel"] = kernel.T if kernel.ndim == 2 else kernel.permute(2, 3, 1, 0)
            variables[f"{name}/bias"] = layer.bias.detach()
    return variables


def _load(
    network: nn.Module, scope: str, layers: Mapping[str, str], weights: Mapping[str, NDArray[np.generic]]
) -> None:
    variables = _variables(network, layers)
    given: dict[str, NDArray[np.generic]] = {}
    for full_name, array in weights.items():
        if any(mark in full_name for mark in OPTIMIZER_MARKS):
            continue
        name = full_name.removesuffix(":0").removeprefix(f"{scope}/")
        if name in given:
            raise ValueError(f"variable {scope}/{name} is given twice, the second time as {full_name!r}")
        if name in variables:
            given[name] = array
        elif full_name.startswith(f"{scope}/"):
            raise ValueError(f"variable {full_name!r} is not one of the article's {scope.lower()}")
    for name, variable in variables.items():
        wanted = tuple(variable.shape)
        if name not in given:
            if name.endswith(STATISTICS):
                continue
            raise ValueError(f"variable {scope}/{name} of shape {wanted} is missing")
        if given[name].shape != wanted:
            raise ValueError(f"variable {scope}/{name}: wanted shape {wanted}, got {given[name].shape}")
    with torch.no_grad():
        for name, array in given.items():
            variables[name].copy_(torch.from_numpy(np.array(array)))


def _dump(network: nn.Module, scope: str, layers: Mapping[str, str]) -> dict[str, NDArray[np.generic]]:
    return {
        f"{scope}/{name}": np.array(variable.cpu().numpy()) for name, variable in _variables(network, layers).items()
    }
