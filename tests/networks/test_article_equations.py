"""The article's two updates at width 4: losses and every gradient against NumPy backpropagation.

64 pixels, batch statistics, dropout 0, real and generated batches normalized separately, all in float64.
"""

import numpy as np
import numpy_reference as reference
import pytest
import torch

from ssgan_bench.networks.conv import Discriminator, Generator
from ssgan_bench.networks.layers import init_weights
from ssgan_bench.networks.tensorflow_weights import (
    DISCRIMINATOR_LAYERS,
    GENERATOR_LAYERS,
    dump_discriminator,
    dump_generator,
)
from ssgan_bench.objectives.feature_matching import feature_matching_l2
from ssgan_bench.objectives.real_fake import adversarial_loss, fake_loss, real_logit_fake_neuron, real_loss
from ssgan_bench.objectives.supervised import cross_entropy_fake_neuron

BATCH = 3
LABELS = np.array([4, 0, 9])
MASK = np.array([1.0, 0.0, 1.0])


@pytest.fixture
def setting():
    discriminator = Discriminator(64, width=4, dropout=0).double()
    generator = Generator(64, width=4, latent_dim=6, dropout=0).double()
    rng = np.random.default_rng(0)
    for seed, network in enumerate((discriminator, generator)):
        init_weights(network, torch.Generator().manual_seed(seed))
        for parameter in network.parameters():  # also biases, gammas and betas away from 0 and 1
            with torch.no_grad():
                parameter += torch.from_numpy(rng.normal(size=parameter.shape) * 0.1)
    images = rng.uniform(-1, 1, size=(BATCH, 64, 64, 1))
    return discriminator, generator, images, rng.normal(size=(BATCH, 6))


def in_tensorflow_layout(network, layers):
    """Gradients of every parameter by TensorFlow name."""
    scope = type(network).__name__
    parts = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    gradients = {}
    for name, attribute in layers.items():
        for part in ("gamma", "beta") if "batch_norm" in name else ("kernel", "bias"):
            gradient = getattr(network.get_submodule(attribute), parts[part]).grad
            order = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[gradient.ndim]
            gradients[f"{scope}/{name}/{part}"] = gradient.permute(order).numpy()
    assert len(gradients) == len(list(network.parameters()))
    return gradients


def assert_gradients(actual, expected):
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert np.abs(gradient).max() > 0, f"{name} is not exercised"
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(actual[name], gradient, rtol=1e-6, atol=1e-9 * scale, err_msg=name)


def softplus(x):
    return np.logaddexp(0, x)


def test_discriminator_loss_and_all_its_gradients(setting):
    discriminator, generator, images, z = setting
    weights = dump_discriminator(discriminator)
    fake_images, _ = reference.generator(dump_generator(generator), z)
    _, on_real, back_real = reference.discriminator(weights, images)
    _, on_fake, back_fake = reference.discriminator(weights, fake_images)

    extended = np.concatenate([np.zeros((BATCH, 1)), np.eye(10)[LABELS]], axis=1)
    cross_entropy = -(extended * np.log(reference.softmax(on_real))).sum(axis=1)
    expected_loss = (
        (MASK * cross_entropy).sum() / MASK.sum() + softplus(on_real[:, 0]).mean() + softplus(-on_fake[:, 0]).mean()
    )
    d_real = MASK[:, None] * (reference.softmax(on_real) - extended) / MASK.sum()
    d_real[:, 0] += reference.sigmoid(on_real[:, 0]) / BATCH  # BCE with target 0
    d_fake = np.zeros_like(on_fake)
    d_fake[:, 0] = (reference.sigmoid(on_fake[:, 0]) - 1) / BATCH  # BCE with target 1
    no_features = np.zeros((BATCH, 32))
    _, from_real = back_real(no_features, d_real)
    _, from_fake = back_fake(no_features, d_fake)
    expected = {name: from_real[name] + from_fake[name] for name in from_real}

    with torch.no_grad():
        fake = generator(torch.from_numpy(z))
    _, logits_on_real = discriminator(torch.from_numpy(images).permute(0, 3, 1, 2))
    _, logits_on_fake = discriminator(fake)
    loss = (
        cross_entropy_fake_neuron(logits_on_real, torch.from_numpy(LABELS), torch.from_numpy(MASK))
        + real_loss(real_logit_fake_neuron(logits_on_real))
        + fake_loss(real_logit_fake_neuron(logits_on_fake))
    )
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, rel=1e-10)
    assert_gradients(in_tensorflow_layout(discriminator, DISCRIMINATOR_LAYERS), expected)


def test_generator_loss_and_all_its_gradients(setting):
    discriminator, generator, images, z = setting
    weights = dump_discriminator(discriminator)
    fake_images, back_generator = reference.generator(dump_generator(generator), z)
    real_features, _, _ = reference.discriminator(weights, images)
    fake_features, on_fake, back_fake = reference.discriminator(weights, fake_images)

    difference = real_features.mean(axis=0) - fake_features.mean(axis=0)
    expected_loss = softplus(on_fake[:, 0]).mean() + (difference**2).mean()
    d_features = np.broadcast_to(-2 * difference / (difference.size * BATCH), fake_features.shape)
    d_logits = np.zeros_like(on_fake)
    d_logits[:, 0] = reference.sigmoid(on_fake[:, 0]) / BATCH  # BCE with target 0
    d_images, _ = back_fake(d_features, d_logits)
    _, expected = back_generator(d_images)

    with torch.no_grad():
        features_of_real, _ = discriminator(torch.from_numpy(images).permute(0, 3, 1, 2))
    features_of_fake, logits_on_fake = discriminator(generator(torch.from_numpy(z)))
    loss = adversarial_loss(real_logit_fake_neuron(logits_on_fake)) + feature_matching_l2(
        features_of_real, features_of_fake
    )
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, rel=1e-10)
    assert_gradients(in_tensorflow_layout(generator, GENERATOR_LAYERS), expected)


def test_running_statistics_move_by_one_percent_towards_each_batch_in_turn(setting):
    discriminator, generator, images, z = setting
    weights = dump_discriminator(discriminator)
    fake_images, _ = reference.generator(dump_generator(generator), z)
    expected = (np.zeros(8), np.ones(8))
    for batch in (images, fake_images):
        x = batch
        for name in ("conv1", "conv2"):
            kernel, bias = (weights[f"Discriminator/{name}/{part}"] for part in ("kernel", "bias"))
            x, _ = reference.leaky_relu(reference.conv(x, kernel, 2, "same")[0] + bias, 0.2)
        values = x.reshape(-1, 8)
        moments = (values.mean(axis=0), values.var(axis=0, ddof=1))
        expected = tuple(0.99 * old + 0.01 * new for old, new in zip(expected, moments, strict=True))
        discriminator(torch.from_numpy(batch).permute(0, 3, 1, 2))
    np.testing.assert_allclose(discriminator.norm2.running_mean, expected[0], rtol=1e-9)
    np.testing.assert_allclose(discriminator.norm2.running_var, expected[1], rtol=1e-9)
