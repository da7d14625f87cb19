"""Which images batch norm's evaluation statistics are of.

In training mode batch norm normalizes with the statistics of the batch at hand; only evaluation mode needs others. The
running averages that PyTorch keeps for it are of all images that passed, generated ones included, with dropout, and of
weights that have changed since.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """List the batch norms of a network, in the order in which it declares them."""
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Make a context in which passes in training mode leave the running statistics as they are.

    What the network computes is the same: the statistics of the batch are used either way.
    """
    layers = batch_norms(network)
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@torch.no_grad()
def set_batch_statistics(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set batch norm's evaluation statistics to the mean and variance of what these images make of its inputs.

    The result does not depend on how the images are cut into batches: the layers are set one after the other, each from
    a pass of all images through those before it. Variances are the biased ones, which training normalizes with.

    Args:
        network: in evaluation mode, so without dropout; its batch norms must be declared in the order of their use.
        batches: images (B, C, H, W) each; together at least one.
    """
    assert not network.training
    for layer in batch_norms(network):
        moments = [_moments(_inputs_of(layer, network, images)) for images in batches]
        counts, means, variances = zip(*moments, strict=True)
        shares = torch.tensor(counts, dtype=torch.float64, device=means[0].device).div_(sum(counts)).unsqueeze(1)
        mean = (shares * torch.stack(means)).sum(dim=0)
        variance = (shares * (torch.stack(variances) + (torch.stack(means) - mean).square())).sum(dim=0)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


class _Reached(Exception):
    """Ends a pass at the layer whose inputs are wanted."""


def _inputs_of(layer: nn.Module, network: nn.Module, images: Tensor) -> Tensor:
    """What a layer gets when the network gets these images."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        raise _Reached

    hook = layer.register_forward_pre_hook(stop)
    with suppress(_Reached):
        network(images)
    hook.remove()
    return seen[0]


def _moments(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Number of values per channel of (B, C, H, W), and their mean and biased variance, (C,) float64."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = x.mean(dim=(0, 2, 3))
    variance = (x - mean.view(-1, 1, 1)).square_().mean(dim=(0, 2, 3))  # on a CPU a fifth of the time of var_mean
    return x.numel() // x.shape[1], mean.double(), variance.double()
