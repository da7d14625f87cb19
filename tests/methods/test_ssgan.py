from dataclasses import replace

import pytest
import torch
from tiny_runs import NUM_CLASSES, textured_images, tiny_batches, tiny_config
from torch.nn import functional as F

from ssgan_bench.methods.base import build_method, initialize

Z = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


def make(*, train_mode=False, network=None, **options):
    """Build an initialized method and its first batch; in evaluation mode rows do not influence each other."""
    config = tiny_config(method={"name": "ssgan", **options}, network=network or {"dropout": 0.0})
    method = build_method(config, channels=1, num_classes=NUM_CLASSES)
    initialize(method, model_seed=0, images=lambda: textured_images()[:2] / 127.5 - 1)
    for network in (method.discriminator, method.generator):
        network.train(train_mode)
    return method, tiny_batches(config, images=textured_images())(0)


def disturbed(batch, rows):
    """Replace the images of some rows."""
    images = batch.images.clone()
    images[rows] = -images[rows]
    return replace(batch, images=images)


def test_the_fake_neuron_comes_first_and_is_no_class():
    method, real = make(head="fake_neuron")
    _, logits = method.discriminator(real.images)
    assert logits.shape == (12, NUM_CLASSES + 1)
    assert torch.equal(method.class_logits(logits), logits[:, 1:])


def test_the_logsumexp_head_has_class_logits_only():
    method, real = make(head="logsumexp")
    _, logits = method.discriminator(real.images)
    assert logits.shape == (12, NUM_CLASSES)
    assert torch.equal(method.class_logits(logits), logits)


def test_discriminator_terms_of_the_fake_neuron_are_the_articles():
    method, real = make(head="fake_neuron", real_fake_weight=0.25)
    losses = method.discriminator_losses(real, Z)
    _, on_real = method.discriminator(real.images)
    _, on_fake = method.discriminator(method.generator(Z))
    zeros, ones = torch.zeros(8), torch.ones(8)
    assert losses.keys() == {"supervised_loss", "real_loss", "fake_loss"}
    torch.testing.assert_close(losses["supervised_loss"], F.cross_entropy(on_real[:4], real.labels[:4] + 1))
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(losses["real_loss"], 0.25 * bce(on_real[4:, 0], zeros))
    torch.testing.assert_close(losses["fake_loss"], 0.25 * bce(on_fake[:, 0], ones))


def test_discriminator_terms_of_the_logsumexp_head_are_improved_gans():
    method, real = make(head="logsumexp", real_fake_weight=0.5)
    losses = method.discriminator_losses(real, Z)
    _, on_real = method.discriminator(real.images)
    _, on_fake = method.discriminator(method.generator(Z))
    with_fake_logit_zero = [torch.cat([torch.zeros(len(x), 1), x], dim=1) for x in (on_real[4:], on_fake)]
    is_fake_on_real, is_fake_on_fake = (x.softmax(dim=1)[:, 0] for x in with_fake_logit_zero)
    torch.testing.assert_close(losses["supervised_loss"], F.cross_entropy(on_real[:4], real.labels[:4]))
    torch.testing.assert_close(losses["real_loss"], -0.5 * torch.log(1 - is_fake_on_real).mean())
    torch.testing.assert_close(losses["fake_loss"], -0.5 * torch.log(is_fake_on_fake).mean())


@pytest.mark.parametrize(
    ("matching", "reduction", "power"), [("l2", "mean", 2), ("l2", "sum", 2), ("l1", "mean", 1), ("l1", "sum", 1)]
)
def test_generator_terms_are_weighted_sums_of_adversarial_loss_and_matching(matching, reduction, power):
    method, real = make(
        adversarial_weight=0.5,
        feature_matching=matching,
        feature_matching_weight=3.0,
        feature_matching_reduction=reduction,
    )
    losses = method.generator_losses(real, Z)
    features_of_real, _ = method.discriminator(real.images[4:])
    features_of_fake, on_fake = method.discriminator(method.generator(Z))
    distances = (features_of_real.mean(dim=0) - features_of_fake.mean(dim=0)).abs() ** power
    assert losses.keys() == {"adversarial_loss", "feature_matching_loss"}
    bce = F.binary_cross_entropy_with_logits(on_fake[:, 0], torch.zeros(8))
    torch.testing.assert_close(losses["adversarial_loss"], 0.5 * bce)
    torch.testing.assert_close(losses["feature_matching_loss"], 3.0 * getattr(distances, reduction)())


def test_parts_that_are_switched_off_have_no_term():
    method, real = make(feature_matching="off")
    assert method.generator_losses(real, Z).keys() == {"adversarial_loss"}
    method, real = make(adversarial_weight=0.0)
    assert method.generator_losses(real, Z).keys() == {"feature_matching_loss"}


def test_labeled_rows_feel_the_supervised_loss_only_and_unlabeled_rows_the_others_only():
    method, real = make()
    before = method.discriminator_losses(real, Z)
    matching_before = method.generator_losses(real, Z)["feature_matching_loss"]
    labeled, unlabeled = disturbed(real, slice(4)), disturbed(real, slice(4, None))

    after = method.discriminator_losses(labeled, Z)
    assert after["supervised_loss"] != before["supervised_loss"]
    assert (after["real_loss"], after["fake_loss"]) == (before["real_loss"], before["fake_loss"])
    assert method.generator_losses(labeled, Z)["feature_matching_loss"] == matching_before

    after = method.discriminator_losses(unlabeled, Z)
    assert after["supervised_loss"] == before["supervised_loss"]
    assert after["real_loss"] != before["real_loss"]
    assert method.generator_losses(unlabeled, Z)["feature_matching_loss"] != matching_before


def test_labels_of_unlabeled_rows_are_never_read():
    method, real = make()
    before = method.discriminator_losses(real, Z)
    labels = real.labels.clone()
    labels[4:] = torch.tensor([-1, 10**9] * 4)
    after = method.discriminator_losses(replace(real, labels=labels), Z)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_losses_of_the_discriminator_reach_no_weight_of_the_generator():
    method, real = make(train_mode=True)
    torch.stack(list(method.discriminator_losses(real, Z).values())).sum().backward()
    assert all(weight.grad is not None for weight in method.discriminator.parameters())
    assert all(weight.grad is None for weight in method.generator.parameters())


def test_features_of_real_images_are_constants_for_the_generator():
    method, real = make(adversarial_weight=0.0)
    images = real.images.clone().requires_grad_()
    method.generator_losses(replace(real, images=images), Z)["feature_matching_loss"].backward()
    assert images.grad is None
    assert all(weight.grad is not None for weight in method.generator.parameters())


def test_discriminator_terms_of_the_softmax_head_are_one_softmax():
    method, real = make(head="softmax")
    losses = method.discriminator_losses(real, Z)
    (_, on_real), (_, on_fake) = method.discriminator(real.images), method.discriminator(method.generator(Z))
    torch.testing.assert_close(losses["supervised_loss"], F.cross_entropy(on_real[:4], real.labels[:4] + 1))
    torch.testing.assert_close(losses["real_loss"], -torch.log(1 - on_real[4:].softmax(dim=1)[:, 0]).mean())
    torch.testing.assert_close(losses["fake_loss"], -torch.log(on_fake.softmax(dim=1)[:, 0]).mean())
    assert torch.equal(method.class_logits(on_real), on_real[:, 1:])


def test_joint_batches_change_batch_statistics_alone():
    separate, real = make()
    joint, _ = make(real_and_fake="joint")
    for losses in ("discriminator_losses", "generator_losses"):  # evaluation mode: no batch statistics
        one, other = getattr(separate, losses)(real, Z), getattr(joint, losses)(real, Z)
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name])
    separate, _ = make(train_mode=True)
    joint, _ = make(train_mode=True, real_and_fake="joint")
    assert separate.discriminator_losses(real, Z)["fake_loss"] != joint.discriminator_losses(real, Z)["fake_loss"]


def test_without_batch_statistics_no_gradient_is_computed_through_the_real_images():
    """One batch or two: the generator has the same gradients, and the real images pass without any."""
    gradients = []
    for real_and_fake in ("separate", "joint"):
        method, real = make(real_and_fake=real_and_fake, network={"family": "mlp"})
        tracked = []
        method.discriminator.register_forward_hook(lambda _, __, outputs, to=tracked: to.append(outputs[0]))
        loss = sum(method.generator_losses(real, Z).values())
        assert sorted((len(features), features.requires_grad) for features in tracked) == [(8, False), (8, True)]
        gradients.append(torch.autograd.grad(loss, list(method.generator.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_joint_batch_is_normalized_with_the_statistics_of_both_parts():
    method, real = make(train_mode=True, real_and_fake="joint")
    with torch.no_grad():
        fake = method.generator(Z)
    _, expected = method.discriminator(torch.cat([real.images, fake]))
    method, real = make(train_mode=True, real_and_fake="joint")
    loss = method.discriminator_losses(real, Z)["fake_loss"]
    torch.testing.assert_close(loss, F.softplus(-expected[len(real.images) :, 0]).mean())
