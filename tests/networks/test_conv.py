import copy

import numpy as np
import numpy_reference as reference
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssgan_bench.networks import layers, products
from ssgan_bench.networks.conv import KERNEL_AND_PADDING, Discriminator, Generator
from ssgan_bench.networks.layers import Dropout, init_weights
from ssgan_bench.networks.products import ConvOfFewPositions, ConvTransposeOfPatches, ConvTransposeToOneChannel


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def to_tensor(image):
    return torch.from_numpy(image).permute(0, 3, 1, 2)


def to_array(image):
    return image.detach().permute(0, 2, 3, 1).numpy()


def num_parameters(network):
    return sum(p.numel() for p in network.parameters())


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
        elif precision == torch.float32 and memory_format == torch.contiguous_format:
            assert is_product
            assert y.is_contiguous()
    for found, expected in zip(*results, strict=True):
        assert (found - expected).norm() <= tolerance * expected.norm()


def test_few_weights_and_bfloat16_passes_are_left_to_pytorch():
    images = torch.randn(2, 8, 4, 4, generator=seeded())
    assert "Convolution" in ConvOfFewPositions(8, 4, 3, 1)(images).grad_fn.name()
    with torch.autocast("cpu", torch.bfloat16):
        layer = ConvOfFewPositions(8, 4096, 3, 1)
        assert layer.weight.numel() >= products.MANY_WEIGHTS
        assert "Convolution" in layer(images).grad_fn.name()
    assert "Convolution" not in layer(images).grad_fn.name()


@pytest.mark.parametrize("image_size", [16, 32, 64])
@pytest.mark.parametrize(("channels", "width", "num_logits"), [(1, 4, 11), (3, 8, 10)])
def test_pair_has_the_stated_shapes_and_ranges(image_size, channels, width, num_logits):
    discriminator = Discriminator(image_size, channels, width, num_logits)
    generator = Generator(image_size, channels, width, latent_dim=7)
    z = generator.sample_latent(2, seeded())
    assert z.shape == (2, 7)
    images = generator(z)
    assert images.shape == (2, channels, image_size, image_size)
    assert images.abs().max() < 1
    features, logits = discriminator(images)
    assert features.shape == (2, 8 * width)
    assert logits.shape == (2, num_logits)


def test_four_dimensional_latent_is_the_same_latent():
    generator = Generator(16, width=4, latent_dim=5).eval()
    z = generator.sample_latent(3, seeded())
    torch.testing.assert_close(generator(z[:, :, None, None]), generator(z), rtol=0, atol=0)


def test_latent_is_standard_normal():
    z = Generator(16, width=4).sample_latent(1000, seeded())
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.std().item() == pytest.approx(1, abs=0.02)
    assert (z.abs() > 1.96).double().mean().item() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("network", [Discriminator, Generator])
def test_other_image_sizes_are_refused_with_the_choices(network):
    with pytest.raises(ValueError, match=r"image_size = 28.*16, 32 or 64"):
        network(28)


def test_article_sizes_have_the_article_parameter_counts():
    assert num_parameters(Discriminator(64)) == 7_356_811
    assert num_parameters(Generator(64)) == 3_445_377


def test_article_step_takes_441_gflop_per_image():
    """One generator pass feeds both updates, and D's weight gradients are not computed in G's update."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        discriminator, generator = Discriminator(64, dropout=0), Generator(64, dropout=0)
        images, z = torch.zeros(2, 1, 64, 64), torch.zeros(2, 100)
        fake = generator(z)
        (discriminator(images)[1].sum() + discriminator(fake.detach())[1].sum()).backward()
        discriminator.requires_grad_(False)
        with torch.no_grad():
            discriminator(images)
        discriminator(fake)[1].sum().backward()
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize("stride", sorted(KERNEL_AND_PADDING))
def test_convolution_padding_is_tensorflow_same(stride):
    kernel, padding = KERNEL_AND_PADDING[stride]
    rng = np.random.default_rng(stride)
    image, weights = rng.normal(size=(2, 8, 8, 3)), rng.normal(size=(kernel, kernel, 3, 5))
    expected, _ = reference.conv(image, weights, stride, "same")
    actual = torch.nn.functional.conv2d(
        to_tensor(image), torch.from_numpy(weights).permute(3, 2, 0, 1), stride=stride, padding=padding
    )
    np.testing.assert_allclose(to_array(actual), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", sorted(KERNEL_AND_PADDING))
def test_transposed_convolution_padding_is_tensorflow_same(stride):
    kernel, padding = KERNEL_AND_PADDING[stride]
    rng = np.random.default_rng(stride)
    image, weights = rng.normal(size=(2, 3, 3, 5)), rng.normal(size=(kernel, kernel, 4, 5))
    expected, _ = reference.conv_transpose(image, weights, stride, "same")
    actual = torch.nn.functional.conv_transpose2d(
        to_tensor(image), torch.from_numpy(weights).permute(3, 2, 0, 1), stride=stride, padding=padding
    )
    np.testing.assert_allclose(to_array(actual), expected, rtol=1e-12, atol=1e-12)


def test_same_padding_of_a_4x4_kernel_at_stride_1_is_asymmetric():
    """The reason for the 3x3 kernel in the 16-pixel networks."""
    assert reference.same_padding(8, kernel=4, stride=1) == (1, 2)
    assert reference.same_padding(8, kernel=3, stride=1) == (1, 1)


@pytest.mark.parametrize("network", [Discriminator, Generator])
@pytest.mark.parametrize("image_size", [16, 32, 64])
def test_every_layer_uses_a_kernel_that_pads_symmetrically(network, image_size):
    layers = [m for m in network(image_size, width=4).modules() if hasattr(m, "stride")]
    inner = layers[:-1] if network is Discriminator else layers[1:]  # all but the 'valid' one
    assert len(inner) == 3
    for layer in inner:
        assert (layer.kernel_size[0], layer.padding[0]) == KERNEL_AND_PADDING[layer.stride[0]]


@pytest.mark.parametrize("network", [Discriminator, Generator])
def test_weights_depend_on_the_generator_alone(network):
    def weights(seed):
        built = network(16, width=4)
        torch.rand(3)  # moves the global generator, which must not matter
        init_weights(built, seeded(seed))
        return built.state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    for name, value in first.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=0)
    assert all(not first[n].equal(other[n]) for n in first if n.endswith("weight") and "norm" not in n)


@pytest.mark.parametrize("network", [Discriminator, Generator])
def test_init_weights_leaves_the_global_generator_alone(network):
    built = network(16, width=4)
    before = torch.get_rng_state()
    init_weights(built, seeded())
    assert torch.get_rng_state().equal(before)


def test_kernels_are_glorot_uniform_and_biases_zero():
    discriminator = Discriminator(64, width=32)
    torch.nn.init.constant_(discriminator.norm2.running_mean, 5.0)
    init_weights(discriminator, seeded())
    kernel = discriminator.conv3.weight.detach()  # (128, 64, 4, 4)
    limit = (6 / (16 * (64 + 128))) ** 0.5
    assert kernel.abs().max() <= limit
    assert kernel.abs().max() > 0.99 * limit
    assert kernel.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert kernel.mean().abs() < 0.01 * limit
    for layer in (discriminator.conv1, discriminator.conv4, discriminator.head):
        assert layer.bias.count_nonzero() == 0
    assert discriminator.norm2.running_mean.count_nonzero() == 0


@pytest.mark.parametrize("network", [Discriminator, Generator])
def test_batch_norm_has_tensorflow_defaults(network):
    norms = [m for m in network(16, width=4).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == (2 if network is Discriminator else 3)
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_evaluation_is_deterministic_and_changes_no_state():
    discriminator = Discriminator(16, width=4)
    init_weights(discriminator, seeded())
    images = torch.randn(4, 1, 16, 16, generator=seeded())
    discriminator(images)
    moved = {name: value.clone() for name, value in discriminator.state_dict().items()}
    assert moved["norm2.running_mean"].count_nonzero() > 0, "training passes move the statistics"
    discriminator.eval()
    first, second = discriminator(images)[1], discriminator(images)[1]
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    for name, value in discriminator.state_dict().items():
        torch.testing.assert_close(value, moved[name], rtol=0, atol=0)


@pytest.mark.parametrize("image_size", [16, 64])
def test_channels_last_gives_the_same_numbers(image_size):
    discriminator = Discriminator(image_size, width=4).double().eval()
    images = torch.randn(2, 1, image_size, image_size, generator=seeded(), dtype=torch.float64)
    expected = discriminator(images)[1]
    actual = discriminator.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))[1]
    torch.testing.assert_close(actual, expected)


# torch says so of Python 3.13.0 alone.
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
@pytest.mark.parametrize("network", [Discriminator, Generator])
def test_training_pass_is_one_graph(network):
    built = network(16, width=4)
    inputs = torch.zeros(2, 1, 16, 16) if network is Discriminator else torch.zeros(2, 100)
    compiled = torch.compile(built, backend="eager", fullgraph=True)  # fullgraph: a graph break is an error
    out = compiled(inputs)
    assert (out[1] if network is Discriminator else out).isfinite().all()


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


def test_weight_norm_starts_from_the_weights_of_the_plain_network_and_trains_direction_and_scale():
    plain = Discriminator(16, width=4, dropout=0.0, normalization="none")
    normalized = Discriminator(16, width=4, dropout=0.0, normalization="weight")
    for network in (plain, normalized):
        init_weights(network, seeded())
    images = torch.randn(3, 1, 16, 16, generator=seeded(1))
    torch.testing.assert_close(normalized(images), plain(images))
    names = {name for name, _ in normalized.conv2.named_parameters()}
    assert names == {"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"}
    assert normalized.conv2.parametrizations.weight.original0.shape == (8, 1, 1, 1)  # one scale per output channel


@pytest.mark.parametrize("normalization", ["weight", "none"])
def test_only_batch_norm_makes_rows_depend_on_each_other(normalization):
    network = Discriminator(16, width=4, dropout=0.0, normalization=normalization)
    images = torch.randn(3, 1, 16, 16, generator=seeded(1))
    alone = torch.cat([network(image[None])[1] for image in images])
    torch.testing.assert_close(network(images)[1], alone)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
