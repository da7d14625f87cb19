import pytest
import torch
from torch import nn

from ssgan_bench.networks.subpixel import ConvTranspose2d


def outputs_and_gradients(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y))
    return y, x.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize(
    ("arguments", "side"),
    [
        ((7, 5, 4, 1, 0), 1),
        ((6, 3, 4, 4, 0), 4),
        ((6, 1, 4, 2, 1), 8),
        ((6, 4, 4, 2, 1), 5),
        ((6, 4, 3, 1, 1), 4),
    ],
)
def test_fast_layer_equals_pytorchs_in_outputs_and_gradients(arguments, side):
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(*arguments).double()
    fast = ConvTranspose2d(*arguments).double()
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(3, arguments[0], side, side, dtype=torch.float64)
    for got, wanted in zip(outputs_and_gradients(fast, x), outputs_and_gradients(plain, x), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
