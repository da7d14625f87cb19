"""The plain reference computes what this project's methods compute: losses and gradients on equal weights and images.

Dropout is off, and numbers are float64: in float32 the two round differently, and where that moves an input of a
rectifier across zero the gradients of a whole kernel jump. The reference sends labeled and unlabeled images through the
discriminator one after the other, this project in one batch, so batch norm takes its running statistics where both
kinds of images matter, and those of the batch where only one does.
"""

import math
from dataclasses import replace

import pytest
import torch
from plain_reference import PlainTrainer
from torch import Tensor, nn
from workloads import NARROW, NUM_CLASSES, QUICK, Workload, make_batches, make_config, make_data, make_trainer

from ssgan_bench.data.batches import RealBatch
from ssgan_bench.training.loop import Trainer

TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}
BATCH_SIZE = 16


def pair(workload: Workload) -> tuple[Trainer, PlainTrainer]:
    """Both trainers after two steps of the first one, without dropout, with its weights and statistics in both.

    The networks of both are float64 then.
    """
    batches = make_batches(workload)
    options = batches.config.network.model_copy(update={"dropout": 0.0})
    config = batches.config.model_copy(update={"network": options})
    ours = Trainer(config, batches, NUM_CLASSES)
    ours.set_training(True)
    for step in range(2):
        ours.step(step)
    plain = PlainTrainer(workload.method, config, *make_data(workload, config), NUM_CLASSES)
    plain.discriminator.load_state_dict(ours.method.discriminator.state_dict())
    if ours.method.generator is not None:
        plain.generator.load_state_dict(ours.method.generator.state_dict())
        ours.method.generator.double()
    for network in (ours.method.discriminator, plain.discriminator, plain.generator):
        network.double()
    return ours, plain


def third_batch(trainer: Trainer) -> tuple[RealBatch, Tensor]:
    """Images in float64, and z (B, Z) in float64; an empty z without a generator."""
    real = trainer.batches(2)
    z = torch.empty(0) if trainer.method.generator is None else trainer.latent("z", BATCH_SIZE, 2)
    return replace(real, images=real.images.double()), z.double()


def gradients(losses: dict[str, Tensor], network: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(network.parameters())))


@pytest.mark.parametrize("method", ["article", "improved_gan"])
@pytest.mark.parametrize("network", [QUICK, NARROW], ids=["quick", "narrow"])
def test_discriminator_losses_and_gradients_agree(network: Workload, method: str) -> None:
    ours, plain = pair(replace(network, method=method, batch_size=BATCH_SIZE))
    assert ours.method.generator is not None
    for discriminator in (ours.method.discriminator, plain.discriminator):
        discriminator.eval()
    real, z = third_batch(ours)
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
    real, z = third_batch(ours)
    expected = ours.method.generator_losses(real, z)
    actual = plain.generator_losses(real.images[real.unlabeled], plain.generator(z))
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.testing.assert_close(
        gradients(actual, plain.generator), gradients(expected, ours.method.generator), **TOLERANCE
    )


def test_supervised_loss_and_gradients_agree_with_batch_statistics() -> None:
    ours, plain = pair(replace(QUICK, method="supervised", batch_size=BATCH_SIZE))
    real, _ = third_batch(ours)
    expected = ours.method.discriminator_losses(real, None)
    actual = {"supervised_loss": plain._supervised_loss(real.images, real.labels)}
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.testing.assert_close(
        gradients(actual, plain.discriminator), gradients(expected, ours.method.discriminator), **TOLERANCE
    )


@pytest.mark.parametrize("method", ["supervised", "article", "improved_gan"])
def test_a_plain_step_draws_images_and_moves_the_weights(method: str) -> None:
    workload = replace(QUICK, method=method, batch_size=BATCH_SIZE)
    config = make_config(workload)
    plain = PlainTrainer(method, config, *make_data(workload, config), NUM_CLASSES)
    before = [parameter.detach().clone() for parameter in plain.discriminator.parameters()]
    losses = plain.step()
    assert losses.keys() == make_trainer(workload).step(0).keys()
    assert all(math.isfinite(loss) for loss in losses.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, plain.discriminator.parameters(), strict=True))
