import pytest
import torch

from ssgan_bench.networks.layers import Dropout


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_dropout_drops_the_stated_share_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    kept = Dropout(rate)(torch.ones(1_000_001))
    std = (rate * (1 - rate) / kept.numel()) ** 0.5
    assert abs((kept == 0).double().mean() - rate) <= 5 * std
    torch.testing.assert_close(kept[kept > 0].unique(), torch.tensor([1 / (1 - rate)]), rtol=1e-4, atol=0)


def test_dropout_masks_are_independent_between_neighbors():
    torch.manual_seed(0)
    dropped = (Dropout(0.3)(torch.ones(400_000)) == 0).double()
    centered = dropped - dropped.mean()
    for lag in (1, 2, 3, 4):  # four elements share one 64-bit random number
        assert abs((centered[lag:] * centered[:-lag]).mean()) < 5 * 0.21 / 400_000**0.5


def test_dropout_repeats_with_the_global_seed_and_is_off_in_evaluation():
    layer, x = Dropout(0.5), torch.ones(5, 3, 7, 2).to(memory_format=torch.channels_last)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    torch.testing.assert_close(layer(x), first, rtol=0, atol=0)
    assert first.stride() == x.stride()
    assert layer.eval()(x) is x


def test_dropout_takes_its_random_bits_in_the_order_of_memory():
    layer, x = Dropout(0.5), torch.ones(5, 3, 7, 2)
    torch.manual_seed(3)
    plain = layer(x).flatten()
    torch.manual_seed(3)
    channels_last = layer(x.to(memory_format=torch.channels_last)).permute(0, 2, 3, 1).flatten()
    torch.testing.assert_close(channels_last, plain, rtol=0, atol=0)
    cut = torch.ones(5, 3, 7, 4)[..., :2]  # with gaps in memory
    torch.manual_seed(3)
    torch.testing.assert_close(layer(cut).flatten(), plain, rtol=0, atol=0)


def test_without_fast_masks_it_is_pytorchs_dropout():
    x = torch.randn(4, 3, 5, 5, generator=seeded())
    torch.manual_seed(1)
    expected = torch.nn.functional.dropout(x, 0.3)
    torch.manual_seed(1)
    torch.testing.assert_close(Dropout(0.3, fast=False)(x), expected, rtol=0, atol=0)
    torch.manual_seed(1)
    assert not torch.equal(Dropout(0.3)(x), expected)


def test_dropout_gradient_is_its_mask():
    torch.manual_seed(0)
    x = torch.ones(100, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_dropout_refuses_to_drop_everything():
    with pytest.raises(ValueError, match=r"dropout = 1\.0"):
        Dropout(1.0)
