import pytest
import torch

from ssgan_bench.networks import layers
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


@pytest.mark.parametrize("leaky_slope", [None, 0.2], ids=["dropout", "leaky ReLU, dropout"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("order", ["plain", "channels_last", "with gaps", "expanded"])
def test_dropout_in_pieces_is_bit_for_bit_dropout_at_once(monkeypatch, order, dtype, leaky_slope):
    if order == "expanded" and leaky_slope is not None:
        pytest.skip("one number in many places cannot be overwritten, as PyTorch says")
    x = torch.randn(5, 3, 7, 12, generator=seeded()).to(dtype)
    weights = torch.randn(5, 3, 7, 12, generator=seeded()).to(dtype)
    if order == "channels_last":  # but the gradient is not
        x = x.to(memory_format=torch.channels_last)
    elif order == "with gaps":
        weights = weights[..., 2:10]

    def outputs_and_gradient(large, piece):
        monkeypatch.setattr(layers, "LARGE", large)
        monkeypatch.setattr(layers, "PIECE", piece)
        torch.manual_seed(2)
        leaf = x.detach().requires_grad_()
        before = leaf * 2
        if order == "with gaps":
            before = before[..., 2:10]
        elif order == "expanded":
            before = before[:1].expand(5, -1, -1, -1)
        y = Dropout(0.3)(before, leaky_slope)
        assert (type(y.grad_fn).__name__ == "_DroppedInPiecesBackward") == (large == 1)
        (gradient,) = torch.autograd.grad(y, leaf, weights)
        return y.detach(), gradient

    at_once, in_pieces = outputs_and_gradient(2**30, 2**30), outputs_and_gradient(1, 64)
    assert in_pieces[0].shape == weights.shape
    for expected, actual in zip(at_once, in_pieces, strict=True):
        assert torch.equal(actual, expected)
        assert actual.stride() == expected.stride()
        assert actual.dtype == dtype
        assert (actual == 0).any()


@pytest.mark.parametrize("large", [1, 2**30])
@pytest.mark.parametrize("training", [True, False])
def test_only_dropout_of_a_leaky_relu_overwrites_its_input(monkeypatch, large, training):
    monkeypatch.setattr(layers, "LARGE", large)
    layer, x = Dropout(0.3).train(training), torch.randn(40, generator=seeded())
    before = x.clone()
    assert layer(x).shape == x.shape
    assert torch.equal(x, before)
    overwritten = layer(x, 0.2)
    if large == 1 or not training:
        assert overwritten.data_ptr() == x.data_ptr()
    if not training:
        assert torch.equal(overwritten, torch.nn.functional.leaky_relu(before, 0.2))


def test_pieces_of_masks_are_whole_random_words_and_are_gone_after_the_backward_pass(monkeypatch):
    assert layers.PIECE % 4 == 0
    monkeypatch.setattr(layers, "LARGE", 1)
    y = Dropout(0.3)(torch.ones(100, requires_grad=True))
    assert len(y.grad_fn.mask[0]) == 100
    y.sum().backward()
    assert y.grad_fn.mask is None


def test_dropout_refuses_to_drop_everything():
    with pytest.raises(ValueError, match=r"dropout = 1\.0"):
        Dropout(1.0)
