import pytest
import torch
from tiny_runs import NUM_CLASSES, textured_images, tiny_batches, tiny_config
from torch.nn import functional as F

from ssgan_bench.config import MethodConfig
from ssgan_bench.methods.base import Method, build_method, initialize

CONFIG = tiny_config(method={"name": "supervised"})


@pytest.fixture
def method():
    method = build_method(CONFIG, channels=1, num_classes=NUM_CLASSES)
    initialize(method, model_seed=0, images=torch.zeros(2, 1, 16, 16))
    method.discriminator.eval()  # without dropout and with running statistics, rows do not influence each other
    return method


def test_every_method_has_a_configuration_that_is_known_by_name():
    assert Method.by_config.keys() == set(MethodConfig.by_name.values())


def test_the_loss_is_the_cross_entropy_of_the_labeled_images(method):
    real = tiny_batches(CONFIG, images=textured_images())(0)
    _, logits = method.discriminator(real.images)
    losses = method.discriminator_losses(real, z=None)
    assert losses.keys() == {"supervised_loss"}
    torch.testing.assert_close(losses["supervised_loss"], F.cross_entropy(logits, real.labels))


def test_logits_are_the_class_logits(method):
    _, logits = method.discriminator(torch.zeros(5, 1, 16, 16))
    assert logits.shape == (5, NUM_CLASSES)
    assert method.class_logits(logits) is logits


def test_there_is_no_generator(method):
    assert method.generator is None
    with pytest.raises(NotImplementedError, match="Supervised has no generator"):
        method.generator_losses(tiny_batches(CONFIG)(0), z=torch.zeros(8, 6))
