import copy

import pytest
import torch

from ssgan_bench.networks import products
from ssgan_bench.networks.products import ConvOfFewPositions, ConvTransposeOfPatches, ConvTransposeToOneChannel


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)],
    ids=str,
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("layer", "plain", "side"),
    [
        (ConvOfFewPositions(7, 3, 3, 1), torch.nn.Conv2d(7, 3, 3), 4),
        (ConvOfFewPositions(7, 3, 4, 4), torch.nn.Conv2d(7, 3, 4, 4), 8),
        (ConvOfFewPositions(7, 3, 4, 4), torch.nn.Conv2d(7, 3, 4, 4), 9),
        (ConvTransposeOfPatches(7, 3, 4), torch.nn.ConvTranspose2d(7, 3, 4), 1),
        (ConvTransposeOfPatches(7, 3, 4), torch.nn.ConvTranspose2d(7, 3, 4, 4), 3),
        (ConvTransposeToOneChannel(7), torch.nn.ConvTranspose2d(7, 1, 4, 2, 1), 5),
    ],
    ids=[
        "3x3",
        "patches",
        "patches and a rest",
        "transposed of one pixel",
        "transposed patches",
        "transposed to one channel",
    ],
)
def test_convolutions_as_products_are_pytorchs(monkeypatch, layer, plain, side, memory_format, precision, tolerance):
    monkeypatch.setattr(products, "MANY_WEIGHTS", 0)
    layer, plain = copy.deepcopy(layer).double(), copy.deepcopy(plain).double()
    torch.nn.init.normal_(layer.bias, generator=seeded())
    plain.load_state_dict(layer.state_dict())
    layer.to(precision).to(memory_format=memory_format)
    images = torch.randn(3, 7, side, side, generator=seeded(), dtype=torch.float64)
    results = []
    for network, x in ((layer, images.to(precision).to(memory_format=memory_format)), (plain, images.clone())):
        y = network(x.requires_grad_())
        weights = torch.rand(y.shape, generator=seeded(1), dtype=torch.float64)
        gradients = torch.autograd.grad((weights * y.square()).sum(), [x, network.weight, network.bias])
        results.append([tensor.double() for tensor in (y, *gradients)])
        assert y.dtype == x.dtype
        is_product = "Convolution" not in y.grad_fn.name()
        if network is plain:
            assert not is_product
        else:
            assert is_product
            assert y.is_contiguous(memory_format=memory_format)
            if network.weight.shape[1] > 1:  # or the optimizer would rearrange it
                assert gradients[1].is_contiguous(memory_format=memory_format)
            if memory_format == torch.channels_last:  # or batch norm and dropout before it would take long
                assert gradients[0].is_contiguous(memory_format=memory_format)
    for found, expected in zip(*results, strict=True):
        assert (found - expected).norm() <= tolerance * expected.norm()


def test_few_weights_and_weights_of_another_memory_format_are_left_to_pytorch():
    images = torch.randn(2, 8, 4, 4, generator=seeded())
    assert "Convolution" in ConvOfFewPositions(8, 4, 3, 1)(images).grad_fn.name()
    layer = ConvOfFewPositions(8, 4096, 3, 1)
    assert layer.weight.numel() >= products.MANY_WEIGHTS
    assert "Convolution" not in layer(images).grad_fn.name()
    with torch.autocast("cpu", torch.bfloat16):
        assert "Convolution" not in layer(images).grad_fn.name()
    assert "Convolution" in layer(images.to(memory_format=torch.channels_last)).grad_fn.name()
