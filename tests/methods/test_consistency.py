from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from tiny_runs import textured_images, tiny_batches, tiny_config, tiny_trainer
from torch.nn import functional as F

from ssgan_bench.objectives.consistency import pseudo_label_cross_entropy

AVERAGED = {"weight_average": 0.9, "augmentation": 1.0}
METHODS = [
    pytest.param({"name": "consistency", "consistency_weight": 0.5, "confidence_threshold": 0.0}, id="alone"),
    pytest.param(
        {"preset": "improved_gan", "consistency_weight": 0.5, "confidence_threshold": 0.0}, id="with logsumexp GAN"
    ),
    pytest.param({"preset": "article", "consistency_weight": 0.5, "confidence_threshold": 0.0}, id="with article GAN"),
]


def after_two_steps(method, **network):
    """A trainer whose teacher differs from its student, and the batch of the third step."""
    trainer = tiny_trainer(tiny_config(method=method, train=AVERAGED, network={"dropout": 0.0, **network}))
    for step in range(2):
        trainer.step(step)
    return trainer, trainer.batches(2)


@pytest.mark.parametrize("method", METHODS)
def test_the_student_learns_from_the_teacher_in_evaluation_mode_on_gentler_views(method):
    trainer, real = after_two_steps(method)
    z = None if trainer.method.generator is None else trainer.latent("z", 8, 2)
    losses = trainer.method.discriminator_losses(real, z)
    teacher = trainer.method.teacher
    assert teacher is trainer.average.network
    assert not teacher.training
    with torch.no_grad():
        _, logits = trainer.method.discriminator(real.images)
        _, teacher_logits = teacher(real.images[real.unlabeled])
    class_logits = trainer.method.class_logits
    expected = 0.5 * pseudo_label_cross_entropy(class_logits(logits[12:20]), class_logits(teacher_logits), 0.0)
    assert expected > 0
    torch.testing.assert_close(losses["consistency_loss"], expected)


@pytest.mark.parametrize("method", METHODS)
def test_student_rows_feel_the_consistency_loss_only(method):
    trainer, real = after_two_steps(method, normalization="none")  # rows do not influence each other
    z = None if trainer.method.generator is None else torch.randn(8, 6)
    trainer.set_training(False)
    before = trainer.method.discriminator_losses(real, z)
    images = real.images.clone()
    images[real.student] = -images[real.student]
    after = trainer.method.discriminator_losses(replace(real, images=images), z)
    assert {name for name in before if not torch.equal(after[name], before[name])} == {"consistency_loss"}


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_unlabeled_images_are_never_read(method):
    config = tiny_config(method=method, train=AVERAGED)
    real = tiny_batches(config, images=textured_images())(0)
    trainer, _ = after_two_steps(method)
    z = None if trainer.method.generator is None else torch.randn(8, 6)
    trainer.set_training(False)
    before = trainer.method.discriminator_losses(real, z)
    labels = real.labels.clone()
    labels[4:] = 10**9
    after = trainer.method.discriminator_losses(replace(real, labels=labels), z)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_consistency_without_a_teacher_is_refused():
    with pytest.raises(ValidationError, match=r"set train\.weight_average"):
        tiny_config(method={"name": "consistency"})
    tiny_config(method={"name": "consistency", "consistency_weight": 0.0})


def test_weight_zero_leaves_the_supervised_loss_and_draws_no_views():
    config = tiny_config(method={"name": "consistency", "consistency_weight": 0.0})
    trainer = tiny_trainer(config)
    real = trainer.batches(0)
    assert len(real.images) == 12
    losses = trainer.method.discriminator_losses(real, None)
    assert losses.keys() == {"supervised_loss"}


def test_the_averaged_network_is_never_in_training_mode():
    trainer = tiny_trainer(tiny_config(method={"name": "supervised"}, train={"weight_average": 0.9}))
    trainer.set_training(True)
    trainer.step(0)
    assert not any(module.training for module in trainer.average.network.modules())
    images = torch.zeros(2, 1, 16, 16)
    assert torch.equal(trainer.classify(images), trainer.classify(images))  # no dropout
    assert F.softmax(trainer.classify(images), dim=1).shape == (2, 3)
