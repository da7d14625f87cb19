"""The plain reference computes what this project's methods compute: losses and gradients on equal weights and images.

Dropout is off. The reference sends labeled and unlabeled images through the discriminator one after the other, this
project in one batch, so batch norm takes its running statistics where both kinds of images matter, and those of the
batch where only one does.
"""

import math
from dataclasses import replace

import pytest
import torch
from plain_reference import PlainTrainer
from torch import Tensor, nn
from workloads import NARROW, NUM_CLASSES, QUICK, Workload, make_batches, make_data

from ssgan_bench.training.loop import Trainer

TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
BATCH_SIZE = 16


def pair(workload: Workload) -> tuple[Trainer, PlainTrainer]:
    """Both trainers after two steps of the first one, without dropout, with its weights and statistics in both."""
    batches = make_batches(workload)
    network = batches.config.network.model_copy(update={"dropout": 0.0})
    config = batches.config.model_copy(update={"network": network})
    ours = Trainer(config, batches, NUM_CLASSES)
    ours.set_training(True)
    for step in range(2):
        ours.step(step)
    plain = PlainTrainer(workload.method, config, *make_data(workload, config), NUM_CLASSES)
    plain.discriminator.load_state_dict(ours.method.discriminator.state_dict())
    if ours.method.generator is not None:
        plain.generator.load_state_dict(ours.method.generator.state_dict())
    return ours, plain


def gradients(losses: dict[str, Tensor], network: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(network.parameters())))


@pytest.mark.parametrize("method", ["article", "improved_gan"])
@pytest.mark.parametrize("network", [QUICK, NARROW], ids=["quick", "narrow"])
def test_discriminator_losses_and_gradients_agree(network: Workload, method: str) -> None:
    ours, plain = pair(replace(network, method=method, batch_size=BATCH_SIZE))
    assert ours.method.generator is not None
    for discriminator in (ours.method.discriminator, plain.discriminator):
        discriminator.eval()
    real, z = ours.batches(2), ours.latent("z", BATCH_SIZE, 2)
    labeled = slice(0, real.unlabeled.start)
    expected = ours.method.discriminator_losses(real, z)
    fake = plain.generator(z).detach()
    actual = plain.discriminator_losses(real.images[labeled], real.labels[labeled], real.images[real.unlabeled], fake)
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.testing.assert_close(
        gradients(actual, plain.discriminator), gradients(expected, ours.method.discriminator), **TOLERANCE
    )


@pytest.mark.parametrize("method", ["article", "improved_gan"])
@pytest.mark.parametrize("network", [QUICK, NARROW], ids=["quick", "narrow"])
def test_generator_losses_and_gradients_agree_with_batch_statistics(network: Workload, method: str) -> None:
    ours, plain = pair(replace(network, method=method, batch_size=BATCH_SIZE))
    assert ours.method.generator is not None
    real, z = ours.batches(2), ours.latent("z", BATCH_SIZE, 2)
    expected = ours.method.generator_losses(real, z)
    actual = plain.generator_losses(real.images[real.unlabeled], plain.generator(z))
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.testing.assert_close(
        gradients(actual, plain.generator), gradients(expected, ours.method.generator), **TOLERANCE
    )


def test_supervised_loss_and_gradients_agree_with_batch_statistics() -> None:
    ours, plain = pair(replace(QUICK, method="supervised", batch_size=BATCH_SIZE))
    real = ours.batches(2)
    expected = ours.method.discriminator_losses(real, None)
    actual = {"supervised_loss": plain._supervised_loss(real.images, real.labels)}
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.testing.assert_close(
        gradients(actual, plain.discriminator), gradients(expected, ours.method.discriminator), **TOLERANCE
    )


@pytest.mark.parametrize("method", ["supervised", "article", "improved_gan"])
def test_a_plain_step_draws_images_and_moves_the_weights(method: str) -> None:
    ours, plain = pair(replace(QUICK, method=method, batch_size=BATCH_SIZE))
    before = [parameter.detach().clone() for parameter in plain.discriminator.parameters()]
    losses = plain.step()
    assert losses.keys() == ours.step(2).keys()
    assert all(math.isfinite(loss) for loss in losses.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, plain.discriminator.parameters(), strict=True))
