import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssgan_bench.networks.layers import GaussianNoise, ShiftBatchNorm, WeightNormLinear, init_weights
from ssgan_bench.networks.mlp import Discriminator, Generator


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def discriminator_of(images):
    network = Discriminator(images.shape[-1], images.shape[1]).double()
    init_weights(network, seeded())
    return network


def some_images(batch=64, channels=1, size=8):
    return torch.rand(batch, channels, size, size, generator=seeded(1), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize(("image_size", "channels", "num_logits"), [(28, 1, 10), (8, 3, 11)])
def test_pair_has_the_stated_shapes_and_ranges(image_size, channels, num_logits):
    discriminator, generator = (
        Discriminator(image_size, channels, num_logits),
        Generator(image_size, channels),
    )
    z = generator.sample_latent(3, seeded())
    assert z.shape == (3, 100)
    images = generator(z)
    assert images.shape == (3, channels, image_size, image_size)
    assert images.abs().max() < 1
    features, logits = discriminator(images)
    assert features.shape == (3, 250)
    assert logits.shape == (3, num_logits)


def test_layer_sizes_are_those_of_the_original():
    hidden = [tuple(layer.direction.shape) for layer in Discriminator(28, 1).hidden]
    assert hidden == [(1000, 784), (500, 1000), (250, 500), (250, 250), (250, 250)]


def test_latent_is_uniform_between_0_and_1():
    z = Generator(8, 1).sample_latent(1000, seeded())
    assert z.min() >= 0
    assert z.max() < 1
    assert z.mean().item() == pytest.approx(0.5, abs=0.01)
    assert z.var().item() == pytest.approx(1 / 12, abs=0.002)


def test_only_the_last_scale_is_trained():
    names = {name for name, _ in Discriminator(8, 1).named_parameters() if name.endswith("scale")}
    assert names == {"head.scale"}


def test_data_dependent_initialization_standardizes_every_layer():
    """With the same noise again, every layer's outputs have mean 0 and variance 1 over the batch."""
    images = some_images()
    network = discriminator_of(images)
    torch.manual_seed(5)
    network.initialize_from_data(images)
    torch.manual_seed(5)
    x = network.input_noise((images.flatten(1) + 1) / 2)
    for layer in (*network.hidden, network.head):
        outputs = layer(x)
        torch.testing.assert_close(outputs.mean(0), torch.zeros_like(outputs[0]), rtol=0, atol=1e-9)
        torch.testing.assert_close(outputs.var(0, correction=0), torch.ones_like(outputs[0]), rtol=1e-9, atol=0)
        x = network.hidden_noise(F.relu(outputs))


def test_data_dependent_initialization_uses_noise_and_restores_the_mode():
    images = some_images()
    network = discriminator_of(images).eval()
    scales = []
    for seed in (0, 1):
        init_weights(network, seeded())
        torch.manual_seed(seed)
        network.initialize_from_data(images)
        scales.append(network.head.scale.clone())
    assert not network.training
    assert not scales[0].equal(scales[1])


def test_data_dependent_initialization_refuses_a_single_image():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        discriminator_of(some_images(1)).initialize_from_data(some_images(1))


def test_weight_norm_makes_the_output_independent_of_the_length_of_the_direction():
    layer = WeightNormLinear(6, 4).double()
    init_weights(layer, seeded())
    x = torch.randn(5, 6, generator=seeded(), dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.direction.mul_(7.0)
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("train_scale", [False, True])
def test_weight_norm_has_the_gradients_of_its_formula(train_scale):
    layer = WeightNormLinear(6, 4, train_scale=train_scale).double()
    init_weights(layer, seeded())
    with torch.no_grad():
        layer.scale.uniform_(0.5, 2.0, generator=seeded(1))
    x = torch.randn(5, 6, generator=seeded(), dtype=torch.float64, requires_grad=True)
    unit = layer.direction / torch.linalg.vector_norm(layer.direction, dim=1, keepdim=True)
    formula = x @ (layer.scale[:, None] * unit).T + layer.bias
    gradient = torch.randn(5, 4, generator=seeded(2), dtype=torch.float64)
    wanted = [x, *layer.parameters()]
    assert len(wanted) == (4 if train_scale else 3)
    for one, other in zip(
        torch.autograd.grad(layer(x), wanted, gradient), torch.autograd.grad(formula, wanted, gradient), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_discriminator_in_evaluation_mode_is_the_noiseless_formula():
    images = some_images(batch=9)
    network = discriminator_of(images)
    network.initialize_from_data(images)
    features, logits = network.eval()(images)
    x = (images.flatten(1).numpy() + 1) / 2
    state = {name: value.numpy() for name, value in network.state_dict().items()}

    def dense(name, x):
        direction = state[f"{name}.direction"]
        weights = direction / np.sqrt((direction**2).sum(1, keepdims=True)) * state[f"{name}.scale"][:, None]
        return x @ weights.T + state[f"{name}.bias"]

    for i in range(5):
        x = np.maximum(dense(f"hidden.{i}", x), 0)
    np.testing.assert_allclose(features.detach(), x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(logits.detach(), dense("head", x), rtol=1e-10, atol=1e-12)


def test_input_noise_has_std_0_3_on_pixels_between_0_and_1():
    images = some_images()
    network = discriminator_of(images)
    seen = []
    network.hidden[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    network(images)
    noise = seen[0] - (images.flatten(1) + 1) / 2
    assert noise.std().item() == pytest.approx(0.3, rel=0.05)


def test_features_are_taken_before_the_last_noise():
    """They are activations of a ReLU, so none is negative, while inputs of the head are."""
    images = some_images()
    network = discriminator_of(images)
    seen = []
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    features, _ = network(images)
    assert features.min() >= 0
    assert seen[0].min() < 0
    assert (seen[0] - features).std().item() == pytest.approx(0.5, rel=0.05)


def test_generator_in_training_mode_is_the_stated_formula():
    network = Generator(8, 1, latent_dim=6).double()
    init_weights(network, seeded())
    with torch.no_grad():
        network.norm1.bias.fill_(0.3)
    z = torch.rand(10, 6, generator=seeded(), dtype=torch.float64)
    state = {name: value.clone().numpy() for name, value in network.state_dict().items()}
    x = z.numpy()
    for i in (1, 2):
        x = x @ state[f"dense{i}.weight"].T
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6) + state[f"norm{i}.bias"]
        x = np.log1p(np.exp(x))
    direction = state["output.direction"]
    weights = direction / np.sqrt(1e-6 + (direction**2).sum(1, keepdims=True)) * state["output.scale"][:, None]
    pixels = 1 / (1 + np.exp(-(x @ weights.T + state["output.bias"])))
    np.testing.assert_allclose(network(z).detach().flatten(1), 2 * pixels - 1, rtol=1e-9, atol=1e-12)


def test_shift_batch_norm_keeps_running_averages_with_the_unbiased_variance():
    layer = ShiftBatchNorm(3).double()
    x = torch.randn(8, 3, generator=seeded(), dtype=torch.float64) + 4
    layer(x)
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * x.var(0))
    state = layer.running_mean.clone()
    normalized = layer.eval()(x)
    torch.testing.assert_close(normalized, (x - state) / (layer.running_var + 1e-6).sqrt())
    torch.testing.assert_close(layer.running_mean, state, rtol=0, atol=0)


def test_gaussian_noise_has_the_stated_std_and_is_off_in_evaluation():
    torch.manual_seed(0)
    layer, x = GaussianNoise(0.3), torch.ones(100_000)
    noise = layer(x) - x
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean()) < 5 * 0.3 / 100_000**0.5
    assert layer.eval()(x) is x


@pytest.mark.parametrize("network", [Discriminator, Generator])
def test_weights_depend_on_the_generator_alone(network):
    def weights(seed):
        built = network(8, 1)
        torch.rand(3)
        before = torch.get_rng_state()
        init_weights(built, seeded(seed))
        assert torch.get_rng_state().equal(before)
        return built.state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    for name, value in first.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=0)
    drawn = [name for name in first if name.endswith(("direction", "weight"))]
    assert len(drawn) >= 3
    assert all(not first[name].equal(other[name]) for name in drawn)


def test_directions_are_normal_with_std_0_1_and_the_generator_glorot_uniform():
    discriminator, generator = Discriminator(28, 1), Generator(28, 1)
    init_weights(discriminator, seeded())
    init_weights(generator, seeded())
    assert discriminator.hidden[0].direction.std().item() == pytest.approx(0.1, rel=0.01)
    for weight in (generator.dense2.weight, generator.output.direction):
        limit = (6 / sum(weight.shape)) ** 0.5
        assert weight.abs().max() <= limit
        assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.01)
