import numpy as np
import torch
from tiny_runs import tiny_config, tiny_trainer, train_tiny
from torch import nn

from ssgan_bench.training.averaging import WeightAverage

DECAY = 0.75


def random_weights(count):
    return np.random.default_rng(0).normal(size=(count, 3, 2)).astype(np.float32)


def averages(weights, decay=DECAY):
    """The network's average after each of the updates."""
    network = nn.Linear(2, 3, bias=False)
    average = WeightAverage(network, decay)
    for value in weights:
        network.weight.data = torch.from_numpy(value)
        average.update(network)
        yield average.network.weight.numpy().copy()


def test_early_averages_are_plain_means_whatever_the_start():
    weights = random_weights(4)  # 1 / 4 = 1 - DECAY: up to here the mean moves faster than the decay allows
    for count, average in enumerate(averages(weights), start=1):
        np.testing.assert_allclose(average, weights[:count].mean(axis=0), atol=1e-6)


def test_later_averages_forget_exponentially():
    weights = random_weights(20)
    expected = weights[:4].mean(axis=0)
    for value in weights[4:]:
        expected = DECAY * expected + (1 - DECAY) * value
    *_, last = averages(weights)
    np.testing.assert_allclose(last, expected, atol=1e-6)


def test_buffers_are_copied():
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, DECAY)
    for _ in range(3):
        network(torch.randn(4, 2))
        average.update(network)
        assert torch.equal(average.network.running_mean, network.running_mean)
        assert torch.equal(average.network.running_var, network.running_var)
    assert average.network.running_mean is not network.running_mean


def test_the_average_takes_no_gradients_and_leaves_the_network_alone():
    network = nn.Linear(2, 3)
    before = network.weight.detach().clone()
    average = WeightAverage(network, DECAY)
    average.update(network)
    assert not any(weight.requires_grad for weight in average.network.parameters())
    assert all(weight.requires_grad for weight in network.parameters())
    assert torch.equal(network.weight, before)


def test_a_training_evaluates_the_average_of_the_weights_after_each_step():
    trainer = tiny_trainer(
        tiny_config(train={"weight_average": DECAY, "epochs": 2, "evaluation_statistics": "running"})
    )
    history = []
    for step in range(trainer.total_steps):
        trainer.step(step)
        history.append(
            [weight.detach().double().numpy().copy() for weight in trainer.method.discriminator.parameters()]
        )
    expected = [np.zeros_like(weight) for weight in history[0]]
    for count, weights in enumerate(history, start=1):
        share = max(1 / count, 1 - DECAY)
        expected = [old + share * (new - old) for old, new in zip(expected, weights, strict=True)]
    for actual, weight in zip(trainer.average.network.parameters(), expected, strict=True):
        np.testing.assert_allclose(actual, weight, atol=1e-6)

    trainer.set_training(False)
    images = torch.linspace(-1, 1, 3 * 256).reshape(3, 1, 16, 16)
    evaluated = trainer.classify(images)
    assert torch.equal(evaluated, trainer.average.network(images)[1][:, 1:])
    assert not torch.equal(evaluated, trainer.method.discriminator(images)[1][:, 1:])


def test_averaging_does_not_change_the_training():
    losses, _, logits = train_tiny(tiny_config())
    averaged_losses, _, averaged_logits = train_tiny(tiny_config(train={"weight_average": DECAY}))
    assert averaged_losses == losses
    assert not torch.equal(averaged_logits[-1], logits[-1])
