import copy

import pytest
import torch
from tiny_runs import (
    drawn,
    textured_images,
    tiny_batches,
    tiny_config,
    tiny_images,
    tiny_labels,
    tiny_trainer,
    train_tiny,
)
from torch.nn import functional as F

from ssgan_bench.networks.batch_statistics import batch_norms

SUPERVISED, ARTICLE = {"name": "supervised"}, {"preset": "article"}
JOINT = {"preset": "article", "real_and_fake": "joint"}
CONSISTENT = {"preset": "improved_gan", "consistency_weight": 1.0}
GANS = [
    ARTICLE,
    {"preset": "article", "reuse_real_features": True},
    {"preset": "article", "feature_matching": "off"},
    {"preset": "improved_gan", "generator_batch": "fresh"},
    JOINT,
    CONSISTENT,
    CONSISTENT | {"real_and_fake": "joint"},
]
STANDING = {"learning_rate": 1e-30}
"""Moves no weight that is not zero."""
ALL_IMAGES = textured_images().float() / 127.5 - 1


def config_of(method, statistics="real", **changes):
    train = {"evaluation_statistics": statistics, **changes.pop("train", {})}
    if method.get("consistency_weight"):
        train["weight_average"] = 0.9
    return tiny_config(method=method, train=train, **changes)


def running_statistics(network):
    return torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in batch_norms(network)])


def stepped_with(generated, config):
    """Trainer after two steps that saw other generated images and moved no weight."""
    trainer = tiny_trainer(config)
    trainer.method.generator.register_forward_hook(lambda _, __, images: generated(images))
    before = copy.deepcopy(list(trainer.method.discriminator.parameters()))
    for step in range(2):
        trainer.step(step)
    for weight, as_it_was in zip(trainer.method.discriminator.parameters(), before, strict=True):
        torch.testing.assert_close(weight, as_it_was, rtol=0, atol=1e-25)
    trainer.set_training(False)
    return trainer


@pytest.mark.parametrize("method", GANS, ids=str)
def test_generated_images_move_nothing_that_classifies(method):
    """Garbage instead of generated images, and weights that stay: neither statistics nor logits tell the difference."""
    config = config_of(method, network={"dropout": 0.0}, optimizer=STANDING)
    honest, garbage = (stepped_with(generated, config) for generated in (lambda x: x, lambda x: 5 - 100 * x))
    one, other = (running_statistics(trainer.method.discriminator) for trainer in (honest, garbage))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    moves = method.get("real_and_fake") != "joint" or "consistency_weight" in method  # else nobody reads them
    assert (one != running_statistics(tiny_trainer(config).method.discriminator)).any() == moves
    if honest.average is None:
        assert torch.equal(honest.classify(ALL_IMAGES), garbage.classify(ALL_IMAGES))


@pytest.mark.parametrize("method", GANS, ids=str)
def test_in_the_articles_program_they_do(method):
    config = config_of(method, "running", network={"dropout": 0.0}, optimizer=STANDING)
    honest, garbage = (stepped_with(generated, config) for generated in (lambda x: x, lambda x: 5 - 100 * x))
    one, other = (running_statistics(trainer.method.discriminator) for trainer in (honest, garbage))
    assert (one != other).all()
    if honest.average is None:
        assert not torch.allclose(honest.classify(ALL_IMAGES), garbage.classify(ALL_IMAGES))


@pytest.mark.parametrize("method", [SUPERVISED, ARTICLE], ids=["supervised", "article"])
def test_logits_are_those_with_the_statistics_of_the_images_that_the_run_trains_on(method):
    trainer = tiny_trainer(config_of(method, train={"augmentation": 1.0}))  # the images are undistorted all the same
    trainer.step(0)
    given = [trainer.batches._labeled] + ([trainer.batches._unlabeled] if method == ARTICLE else [])
    index = sorted({int(number) for numbers in given for number in numbers})
    assert len(index) == (50 if method == ARTICLE else 10)
    network = copy.deepcopy(trainer.method.discriminator).eval()
    x = F.leaky_relu(network.conv2(F.leaky_relu(network.conv1(ALL_IMAGES), 0.2)), 0.2)

    def normalized(x, norm):
        variance, mean = torch.var_mean(x[index], dim=(0, 2, 3), correction=0, keepdim=True)
        x = (x - mean[0]) / (variance[0] + norm.eps).sqrt()
        return x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)

    with torch.no_grad():
        x = F.leaky_relu(network.conv3(normalized(x, network.norm2)), 0.2)
        features = F.leaky_relu(network.conv4(normalized(x, network.norm3)), 0.2).mean(dim=(2, 3))
        expected = trainer.method.class_logits(network.head(features))
    torch.testing.assert_close(trainer.classify(ALL_IMAGES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [SUPERVISED, ARTICLE], ids=["supervised", "article"])
def test_they_are_training_images_and_the_supervised_baselines_are_labeled(method):
    batches = tiny_batches(tiny_config(method=method), images=tiny_images())
    seen = drawn(batches.images_for_statistics())
    assert len(set(seen)) == len(seen) == (10 if method == SUPERVISED else 50)
    assert set(seen) <= {*batches._labeled, *batches._unlabeled}
    assert set(seen) >= set(batches._labeled)
    few = drawn(batches.images_for_statistics(count=7))
    assert few == seen[:7]  # the same at every evaluation


def test_labels_have_no_influence():
    config = config_of(SUPERVISED)
    trainers = [tiny_trainer(config, labels=labels) for labels in (tiny_labels(), tiny_labels().flip(0))]
    assert not torch.equal(*(trainer.batches.labels for trainer in trainers))
    logits = [trainer.classify(ALL_IMAGES) for trainer in trainers]
    assert torch.equal(*logits)


def test_averaged_weights_have_statistics_of_their_own():
    """Not those of the newest weights, which the average carries in training."""
    trainer = tiny_trainer(
        config_of(ARTICLE, train={"weight_average": 0.9}, network={"dropout": 0.0}, optimizer={"learning_rate": 0.05})
    )
    for step in range(4):
        trainer.step(step)
    logits = trainer.classify(ALL_IMAGES)
    images = trainer.batches.images_for_statistics()
    expected = copy.deepcopy(trainer.average.network).train()  # one batch of them all: their statistics, no others
    with torch.no_grad():
        torch.testing.assert_close(
            trainer.classify(images), trainer.method.class_logits(expected(images)[1]), rtol=1e-4, atol=1e-5
        )
        stale = trainer.method.class_logits(trainer.average.network(ALL_IMAGES)[1])
    assert not torch.allclose(logits, stale, rtol=0.1)


@pytest.mark.parametrize("average", [None, 0.9], ids=["weights", "averaged"])
def test_evaluating_leaves_the_networks_as_they_are(average):
    trainer = tiny_trainer(config_of(ARTICLE, train={"weight_average": average}))
    trainer.step(0)
    trainer.set_training(False)
    evaluated = trainer.average.network if average else trainer.method.discriminator
    before = copy.deepcopy(evaluated.state_dict())
    first = trainer.classify(ALL_IMAGES)
    for name, tensor in evaluated.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    trainer.set_training(True)
    trainer.step(1)
    trainer.set_training(False)
    assert not torch.equal(trainer.classify(ALL_IMAGES), first)


@pytest.mark.parametrize("method", [SUPERVISED, ARTICLE, CONSISTENT], ids=["supervised", "article", "consistency"])
def test_neither_evaluations_nor_their_number_change_the_weights(method):
    runs = [
        train_tiny(config_of(method, train={"epochs": 2, "evaluations": evaluations}), evaluate=evaluate)
        for evaluations, evaluate in ((1, False), (2, True), (12, True))
    ]
    assert runs[0][1] == runs[1][1] == runs[2][1]
    assert torch.equal(runs[1][2][-1], runs[2][2][-1])


@pytest.mark.parametrize(
    "network", [{"normalization": "weight"}, {"normalization": "none"}, {"family": "mlp"}], ids=str
)
def test_networks_without_batch_norm_are_evaluated_as_they_are(network):
    logits = [train_tiny(config_of(ARTICLE, statistics, network=network))[2][-1] for statistics in ("real", "running")]
    assert torch.equal(*logits)


def test_training_itself_does_not_depend_on_how_it_is_evaluated():
    """But for a consistency loss, whose teacher uses running statistics."""
    losses = [train_tiny(config_of(ARTICLE, statistics))[0] for statistics in ("real", "running")]
    assert losses[0] == losses[1]
    losses = [train_tiny(config_of(CONSISTENT | {"confidence_threshold": 0.0}, s))[0] for s in ("real", "running")]
    assert losses[0][-1]["consistency_loss"] != losses[1][-1]["consistency_loss"]
