"""The article's whole step against NumPy in float64: losses, gradients, Adam, three rounds of D then G.

64 pixels and 10 classes as in the article, but width 4; dropout 0, since random masks cannot agree. Batches come
from the resampled label protocol, which is the article's: every row is unlabeled, some are labeled as well.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import numpy_reference as reference
from tiny_runs import tiny_config

from ssgan_bench.data.batches import Batches
from ssgan_bench.data.splits import make_splits
from ssgan_bench.networks.tensorflow_weights import (
    DISCRIMINATOR_LAYERS,
    GENERATOR_LAYERS,
    dump_discriminator,
    dump_generator,
)
from ssgan_bench.training.loop import Trainer, update
from ssgan_bench.training.optimizer import make_optimizer

ROUNDS = 3
BATCH = 8
FEATURES = 32


def make_trainer():
    config = tiny_config(
        method={"preset": "article"},
        data={"image_size": 64, "num_labels": None, "labeled_rate": 0.5, "label_protocol": "resampled"},
        network={"dropout": 0.0},
        optimizer={"learning_rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-8},
        train={"batch_size": BATCH, "evaluation_statistics": "running"},
    )
    stream = torch.Generator().manual_seed(4)
    images = torch.randint(0, 256, (60, 1, 64, 64), generator=stream, dtype=torch.uint8)
    labels = torch.randint(0, 10, (60,), generator=stream)
    splits = make_splits(labels.numpy(), 10, config.data, split_seed=0)
    trainer = Trainer(config, Batches(images, labels, splits, config, uses_unlabeled=True), num_classes=10)
    trainer.set_training(True)
    return trainer


def scattered(real):
    """Reverse the rows of a batch in pairs, so that the labeled ones are not the first ones."""
    order = torch.tensor([7, 0, 6, 1, 5, 2, 4, 3])
    mixed = replace(real, images=real.images[order], labels=real.labels[order], labeled_mask=real.labeled_mask[order])
    assert mixed.labeled_mask.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert mixed.unlabeled == slice(0, 8)
    return mixed


def as_numpy(real):
    return real.images.permute(0, 2, 3, 1).double().numpy(), real.labels.numpy(), real.labeled_mask.double().numpy()


def softplus(x):
    return np.logaddexp(0, x)


def discriminator_pass(weights_d, weights_g, real, z):
    """Terms of the discriminator's loss and gradients by TensorFlow name, from the article's equations."""
    images, labels, mask = as_numpy(real)
    _, on_real, back_real = reference.discriminator(weights_d, images)
    _, on_fake, back_fake = reference.discriminator(weights_d, reference.generator(weights_g, z)[0])
    extended = np.concatenate([np.zeros((BATCH, 1)), np.eye(10)[labels]], axis=1)
    cross_entropy = -(extended * np.log(reference.softmax(on_real))).sum(axis=1)
    terms = {
        "supervised_loss": (mask * cross_entropy).sum() / mask.sum(),
        "real_loss": softplus(on_real[:, 0]).mean(),  # BCE with target 0
        "fake_loss": softplus(-on_fake[:, 0]).mean(),  # BCE with target 1
    }
    grad_real = mask[:, None] * (reference.softmax(on_real) - extended) / mask.sum()
    grad_real[:, 0] += reference.sigmoid(on_real[:, 0]) / BATCH
    grad_fake = np.zeros_like(on_fake)
    grad_fake[:, 0] = (reference.sigmoid(on_fake[:, 0]) - 1) / BATCH
    no_features = np.zeros((BATCH, FEATURES))
    from_real, from_fake = back_real(no_features, grad_real)[1], back_fake(no_features, grad_fake)[1]
    return terms, {name: from_real[name] + from_fake[name] for name in from_real}


def generator_pass(weights_d, weights_g, real, z):
    """Terms of the generator's loss and gradients, like `discriminator_pass`."""
    fake_images, back_generator = reference.generator(weights_g, z)
    real_features, _, _ = reference.discriminator(weights_d, as_numpy(real)[0])
    fake_features, on_fake, back_fake = reference.discriminator(weights_d, fake_images)
    difference = real_features.mean(axis=0) - fake_features.mean(axis=0)
    terms = {
        "adversarial_loss": softplus(on_fake[:, 0]).mean(),  # BCE with target 0
        "feature_matching_loss": (difference**2).mean(),
    }
    grad_features = np.broadcast_to(-2 * difference / (FEATURES * BATCH), fake_features.shape)
    grad_logits = np.zeros_like(on_fake)
    grad_logits[:, 0] = reference.sigmoid(on_fake[:, 0]) / BATCH
    return terms, back_generator(back_fake(grad_features, grad_logits)[0])[1]


class Adam:
    """Kingma & Ba 2015, algorithm 1, with the article's settings."""

    def __init__(self):
        self.moments = {}
        self.updates = 0

    def step(self, weights, gradients, rate=2e-4, beta1=0.5, beta2=0.999, epsilon=1e-8):
        self.updates += 1
        for name, gradient in gradients.items():
            first, second = self.moments.get(name, (0.0, 0.0))
            first = beta1 * first + (1 - beta1) * gradient
            second = beta2 * second + (1 - beta2) * gradient**2
            self.moments[name] = first, second
            corrected = first / (1 - beta1**self.updates), second / (1 - beta2**self.updates)
            weights[name] = weights[name] - rate * corrected[0] / (np.sqrt(corrected[1]) + epsilon)


def in_float64(weights):
    return {name: value.astype(np.float64) for name, value in weights.items()}


def gradients_by_tensorflow_name(network, layers):
    parts = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
    found = {}
    for name, attribute in layers.items():
        for part in ("gamma", "beta") if "batch_norm" in name else ("kernel", "bias"):
            gradient = getattr(network.get_submodule(attribute), parts[part]).grad
            found[f"{type(network).__name__}/{name}/{part}"] = gradient.permute(axes[gradient.ndim]).numpy()
    return found


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def joined(gradients):
    return np.concatenate([gradients[name].ravel() for name in sorted(gradients)])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_losses_and_gradients_of_both_updates_agree(dtype, tolerance):
    """In float64 each gradient by itself; in float32 all of a network's together.

    Float32 rounds the sums of a bias's gradient, whose terms cancel, and how much depends on the processor.
    """
    trainer = make_trainer()
    method, real, z = trainer.method, scattered(trainer.batches(0)), trainer.latent("z", BATCH, 0).to(dtype)
    real = replace(real, images=real.images.to(dtype), labeled_mask=real.labeled_mask.to(dtype))
    for network in (method.discriminator, method.generator):
        network.to(dtype)
    weights_d, weights_g = (
        in_float64(dump_discriminator(method.discriminator)),
        in_float64(dump_generator(method.generator)),
    )
    for network, layers, losses, expected in (
        (
            method.discriminator,
            DISCRIMINATOR_LAYERS,
            method.discriminator_losses(real, z),
            discriminator_pass(weights_d, weights_g, real, z.double().numpy()),
        ),
        (
            method.generator,
            GENERATOR_LAYERS,
            method.generator_losses(real, z),
            generator_pass(weights_d, weights_g, real, z.double().numpy()),
        ),
    ):
        terms, gradients = expected
        assert {name: term.item() for name, term in losses.items()} == pytest.approx(terms, rel=tolerance)
        total = torch.stack(list(losses.values())).sum()
        torch.autograd.backward(total, inputs=list(network.parameters()))
        actual = gradients_by_tensorflow_name(network, layers)
        assert actual.keys() == gradients.keys()
        assert relative_error(joined(actual), joined(gradients)) < tolerance
        if dtype == torch.float64:
            assert max(relative_error(actual[name], gradients[name]) for name in gradients) < tolerance


def numpy_rounds(weights_d, weights_g, batches):
    """Do the rounds in NumPy, changing the weights in place; returns the terms of each round."""
    adam_d, adam_g = Adam(), Adam()
    history = []
    for real, z in batches:
        terms, gradients = discriminator_pass(weights_d, weights_g, real, z.double().numpy())
        adam_d.step(weights_d, gradients)
        more_terms, gradients = generator_pass(weights_d, weights_g, real, z.double().numpy())
        adam_g.step(weights_g, gradients)
        history.append(terms | more_terms)
    return history


def trained(network_dump):
    """Drop the batch-norm statistics, which no gradient moves."""
    return {name: value for name, value in network_dump.items() if "moving_" not in name}


def assert_rounds_agree(trainer, start, batches, history):
    weights_d, weights_g = start
    before = {**weights_d, **weights_g}
    expected_history = numpy_rounds(weights_d, weights_g, batches)
    for terms, expected in zip(history, expected_history, strict=True):
        assert terms == pytest.approx(expected, abs=2e-4)
    expected = trained({**weights_d, **weights_g})
    method = trainer.method
    actual = trained({**dump_discriminator(method.discriminator), **dump_generator(method.generator)})
    assert actual.keys() == expected.keys()
    errors = np.concatenate([np.abs(actual[name] - expected[name]).ravel() for name in expected])
    moved = np.concatenate([np.abs(before[name] - expected[name]).ravel() for name in expected])
    assert np.median(moved) > 2e-4  # the tolerance below would not pass weights that stay where they are
    assert (errors < 1e-4).mean() >= 0.999


def start_of(trainer):
    method = trainer.method
    return in_float64(dump_discriminator(method.discriminator)), in_float64(dump_generator(method.generator))


def test_three_rounds_of_the_trainer_agree_with_the_articles_equations():
    trainer = make_trainer()
    start = start_of(trainer)
    batches = [(trainer.batches(step), trainer.latent("z", BATCH, step)) for step in range(ROUNDS)]
    history = [{name: term.item() for name, term in trainer.step(step).items()} for step in range(ROUNDS)]
    assert_rounds_agree(trainer, start, batches, history)


def test_three_rounds_with_scattered_labels_agree_with_the_articles_equations():
    trainer = make_trainer()
    method, config = trainer.method, trainer.config.optimizer
    start = start_of(trainer)
    optimizers = [make_optimizer(network, config, 0.0) for network in (method.discriminator, method.generator)]
    batches = [(scattered(trainer.batches(step)), trainer.latent("z", BATCH, step)) for step in range(ROUNDS)]
    history = []
    for real, z in batches:
        terms = update(optimizers[0], method.discriminator, method.discriminator_losses(real, z))
        terms |= update(optimizers[1], method.generator, method.generator_losses(real, z))
        history.append({name: term.item() for name, term in terms.items()})
    assert_rounds_agree(trainer, start, batches, history)
