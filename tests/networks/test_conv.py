import numpy as np
import numpy_reference as reference
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssgan_bench.networks.conv import KERNEL_AND_PADDING, Discriminator, Generator
from ssgan_bench.networks.layers import init_weights


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def to_tensor(image):
    return torch.from_numpy(image).permute(0, 3, 1, 2)


def to_array(image):
    return image.detach().permute(0, 2, 3, 1).numpy()


def num_parameters(network):
    return sum(p.numel() for p in network.parameters())


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
