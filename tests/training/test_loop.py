import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import (
    NUM_CLASSES,
    drawn,
    networks_of,
    textured_images,
    tiny_batches,
    tiny_config,
    tiny_trainer,
    train_tiny,
)

from ssgan_bench.config import OptimizerConfig
from ssgan_bench.methods.ssgan import Ssgan
from ssgan_bench.training.loop import DivergedError, evaluation_steps, train, update
from ssgan_bench.training.optimizer import learning_rate_at

CLASSICAL = pytest.mark.parametrize("name", ["label_spreading", "poisson_learning", "logistic_regression"])
ARTICLE, IMPROVED, SUPERVISED = {"preset": "article"}, {"preset": "improved_gan"}, {"name": "supervised"}
METHODS = pytest.mark.parametrize("method", [SUPERVISED, ARTICLE, IMPROVED], ids=["supervised", "article", "improved"])


@METHODS
def test_the_same_seeds_give_the_same_bits(method):
    config = tiny_config(method=method, train={"epochs": 2})
    first_losses, first_weights, first_logits = train_tiny(config)
    torch.rand(7)  # the state of the global generator must not matter
    second_losses, second_weights, second_logits = train_tiny(config)
    assert first_losses == second_losses
    assert first_weights == second_weights
    assert all(torch.equal(a, b) for a, b in zip(first_logits, second_logits, strict=True))


def test_another_model_seed_gives_another_result():
    one, other = (train_tiny(tiny_config(model_seed=seed)) for seed in (0, 1))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_the_same_seeds_give_the_same_bits_in_another_process():
    code = (
        "import json, torch; torch.rand(3)\n"
        "from tiny_runs import tiny_config, train_tiny\n"
        "losses, weights, _ = train_tiny(tiny_config())\n"
        "print(json.dumps([losses, weights]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "77"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    losses, weights, _ = train_tiny(tiny_config())
    assert json.loads(result.stdout) == [losses, weights]


@METHODS
@pytest.mark.parametrize("average", [None, 0.9], ids=["weights", "averaged"])
def test_evaluating_a_snapshot_changes_nothing(method, average):
    config = tiny_config(method=method, train={"epochs": 2, "evaluations": 4, "weight_average": average})
    seen = train_tiny(config, evaluate=True)
    unseen = train_tiny(config, evaluate=False)
    assert seen[:2] == unseen[:2]


def test_the_number_of_evaluations_does_not_change_the_weights():
    digests = {
        train_tiny(tiny_config(train={"epochs": 2, "evaluations": evaluations}))[1] for evaluations in (1, 2, 5, 100)
    }
    assert len(digests) == 1


def test_all_arms_start_from_the_same_trunk_and_see_the_same_labeled_images():
    trainers = [tiny_trainer(tiny_config(method=method), images=None) for method in (SUPERVISED, ARTICLE, IMPROVED)]
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        kernels = [trainer.method.discriminator.get_submodule(layer).weight for trainer in trainers]
        assert kernels[0].abs().sum() > 0
        assert all(torch.equal(kernel, kernels[0]) for kernel in kernels)
    for step in range(12):
        batches = [trainer.batches(step) for trainer in trainers]
        labeled = [drawn(batch.images[batch.labeled_mask == 1]) for batch in batches]
        assert labeled[0] == labeled[1] == labeled[2]


def test_gan_arms_start_from_the_same_generator_and_see_the_same_noise():
    trainers = [tiny_trainer(tiny_config(method=method)) for method in (ARTICLE, IMPROVED)]
    states = [trainer.method.generator.state_dict() for trainer in trainers]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(*(trainer.latent("z", 8, step=3) for trainer in trainers))
    assert not torch.equal(trainers[0].latent("z", 8, step=3), trainers[0].latent("z", 8, step=4))


def with_bad_loss(monkeypatch, method_name, bad_step, value):
    """Let one loss of the SSGAN be `value` at one step (from 1)."""
    original = getattr(Ssgan, method_name)
    calls = iter(range(1, 10_000))

    def losses(self, *inputs):
        terms = original(self, *inputs)
        name = next(iter(terms))
        return {**terms, name: terms[name] * value} if next(calls) == bad_step else terms

    monkeypatch.setattr(Ssgan, method_name, losses)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("bad_step", [1, 4, 5, 6, 12])
@pytest.mark.parametrize("update", ["_losses_on_real", "_losses_on_fake", "generator_losses"])
def test_a_non_finite_loss_is_reported_with_its_own_step(monkeypatch, update, bad_step, value):
    with_bad_loss(monkeypatch, update, bad_step, value)
    config = tiny_config(train={"epochs": 2, "evaluations": 3})  # at steps 4, 8 and 12
    snapshots = []
    with pytest.raises(DivergedError, match=rf"^non-finite loss at step {bad_step}: ") as caught:
        snapshots += train(config, tiny_batches(config, images=textured_images()), NUM_CLASSES)
    assert caught.value.step == bad_step


def test_snapshots_before_the_divergence_are_kept(monkeypatch):
    with_bad_loss(monkeypatch, "_losses_on_real", 7, math.nan)
    config = tiny_config(train={"epochs": 2, "evaluations": 3})
    snapshots = train(config, tiny_batches(config, images=textured_images()), NUM_CLASSES)
    first = next(snapshots)
    assert first.step == 4
    assert all(map(math.isfinite, first.losses.values()))
    with pytest.raises(DivergedError):
        next(snapshots)


def test_training_may_be_given_in_steps_whatever_the_length_of_an_epoch():
    train_config = {"epochs": None, "steps": 8, "evaluations": 2}
    config = tiny_config(train=train_config)
    batches = tiny_batches(config, images=textured_images())
    snapshots = list(train(config, batches, NUM_CLASSES))
    assert [(s.step, s.epoch, s.is_final) for s in snapshots] == [(4, 4 / 6, False), (8, 8 / 6, True)]
    same_length = tiny_config(train={"epochs": 2}), tiny_config(train={"epochs": None, "steps": 12})
    assert train_tiny(same_length[0])[1] == train_tiny(same_length[1])[1]


def test_snapshots_say_where_training_stands():
    config = tiny_config(train={"epochs": 2, "evaluations": 3})
    batches = tiny_batches(config, images=textured_images())
    snapshots = list(train(config, batches, NUM_CLASSES))
    assert [(s.step, s.epoch, s.is_final) for s in snapshots] == [(4, 4 / 6, False), (8, 8 / 6, False), (12, 2.0, True)]
    assert all(s.seconds.keys() >= {"setup", "warmup", "train"} for s in snapshots)
    assert all(s.seconds[name] > 0 for s in snapshots for name in ("setup", "warmup", "train"))
    final = snapshots[-1]
    assert final.classify(torch.zeros(5, 1, 16, 16)).shape == (5, NUM_CLASSES)
    images = final.sample(4)
    assert images.shape == (4, 1, 16, 16)
    assert images.abs().max() <= 1
    assert torch.equal(final.sample(4), images)


def test_a_supervised_run_has_nothing_to_sample():
    config = tiny_config(method=SUPERVISED)
    (*_, final) = train(config, tiny_batches(config), NUM_CLASSES)
    assert final.sample is None


@CLASSICAL
def test_a_method_without_steps_has_one_snapshot(name):
    config = tiny_config(method={"name": name}, train={"epochs": 3, "evaluations": 4})
    (only,) = train(config, tiny_batches(config, images=textured_images()), NUM_CLASSES)
    assert (only.step, only.epoch, only.losses, only.is_final, only.sample) == (0, 0.0, {}, True, None)
    assert only.seconds["warmup"] == 0.0
    assert min(only.seconds["setup"], only.seconds["train"]) > 0
    assert only.classify(torch.zeros(5, 1, 16, 16)).shape == (5, NUM_CLASSES)


@CLASSICAL
def test_what_is_for_networks_does_not_change_a_method_without_them(name):
    images = textured_images().float() / 127.5 - 1
    plain = tiny_config(method={"name": name})
    other = tiny_config(
        method={"name": name},
        network={"family": "mlp"},
        optimizer={"learning_rate": 1.0},
        train={"epochs": 9, "batch_size": 3, "labeled_batch_size": 7, "weight_average": 0.5},
    )
    (one,), (two,) = (train(c, tiny_batches(c, images=textured_images()), NUM_CLASSES) for c in (plain, other))
    assert torch.equal(one.classify(images), two.classify(images))


def test_losses_of_a_snapshot_are_means_since_the_last_one():
    every_step = train_tiny(tiny_config(train={"evaluations": 6}))[0]
    twice = train_tiny(tiny_config(train={"evaluations": 2}))[0]
    assert list(twice[0]) == [
        "supervised_loss",
        "real_loss",
        "fake_loss",
        "adversarial_loss",
        "feature_matching_loss",
    ]
    for term in twice[0]:
        assert twice[0][term] == pytest.approx(sum(losses[term] for losses in every_step[:3]) / 3, rel=1e-5)
        assert twice[1][term] == pytest.approx(sum(losses[term] for losses in every_step[3:]) / 3, rel=1e-5)


def weights_and_statistics(network):
    """Copies of what gradients change and of what batch norm changes."""
    weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}
    assert weights
    assert statistics
    return weights, statistics


def changed(before, after):
    """Whether each of two tensors of the same name differ, as a set of answers."""
    return {not torch.equal(before[name], after[name]) for name in before}


@pytest.mark.parametrize("updated", [0, 1], ids=["discriminator", "generator"])
def test_each_update_changes_one_networks_weights_and_both_networks_statistics(updated):
    trainer = tiny_trainer(tiny_config(method=ARTICLE, network={"dropout": 0.0}))
    method, real, z = trainer.method, trainer.batches(0), trainer.latent("z", 8, 0)
    before = [weights_and_statistics(network) for network in networks_of(trainer)]
    losses = (method.generator_losses if updated else method.discriminator_losses)(real, z)
    update(trainer.optimizers[updated], networks_of(trainer)[updated], losses)
    after = [weights_and_statistics(network) for network in networks_of(trainer)]
    for number, ((old, old_statistics), (new, new_statistics)) in enumerate(zip(before, after, strict=True)):
        assert changed(old, new) == {number == updated}
        assert changed(old_statistics, new_statistics) == {True}
    other = networks_of(trainer)[1 - updated]
    assert all(weight.grad is None for weight in other.parameters())  # nor does it compute them


def test_the_generator_learns_from_the_updated_discriminator():
    trainer = tiny_trainer(tiny_config(method=ARTICLE, network={"dropout": 0.0}, optimizer={"learning_rate": 0.05}))
    method, real, z = trainer.method, trainer.batches(0), trainer.latent("z", 8, 0)
    stale = copy.deepcopy(method).generator_losses(real, z)
    expected_method = copy.deepcopy(method)
    optimizer = torch.optim.Adam(expected_method.discriminator.parameters(), lr=0.05, betas=(0.5, 0.999))
    optimizer.zero_grad()
    sum(expected_method.discriminator_losses(real, z).values()).backward()
    optimizer.step()
    expected = expected_method.generator_losses(real, z)
    terms = trainer.step(0)
    for name in expected:
        torch.testing.assert_close(terms[name], expected[name].detach())
        assert not torch.allclose(terms[name], stale[name].detach(), rtol=1e-3)


def test_a_fresh_generator_batch_has_its_own_images_and_z():
    """The discriminator's update is that of "same"; the generator's sees what that of another step could."""
    same, fresh = (
        tiny_trainer(tiny_config(method={"preset": "improved_gan", "generator_batch": batch}, network={"dropout": 0.0}))
        for batch in ("same", "fresh")
    )
    seen = {}
    for name, trainer in (("same", same), ("fresh", fresh)):
        z = seen[name, "z"] = []
        images = seen[name, "images"] = []
        trainer.method.generator.register_forward_pre_hook(lambda _, inputs, z=z: z.append(inputs[0]))
        trainer.method.discriminator.register_forward_pre_hook(lambda _, inputs, x=images: x.append(inputs[0]))
        seen[name, "terms"] = trainer.step(0)
    for term in ("supervised_loss", "real_loss", "fake_loss"):
        assert torch.equal(seen["same", "terms"][term], seen["fresh", "terms"][term])
    for_discriminator, for_generator = seen["fresh", "z"]
    assert torch.equal(for_discriminator, seen["same", "z"][0])
    assert for_generator.shape == for_discriminator.shape
    assert not torch.equal(for_generator, for_discriminator)
    assert torch.equal(seen["same", "z"][1], seen["same", "z"][0])
    real = fresh.batches(0)
    assert torch.equal(seen["fresh", "images"][3], real.others)
    assert torch.equal(seen["same", "images"][3], real.images[real.unlabeled])
    assert real.others.shape == real.images[real.unlabeled].shape


def test_a_step_with_weight_decay_shrinks_the_discriminator_only():
    plain, decayed = (
        tiny_trainer(tiny_config(optimizer={"weight_decay": decay, "learning_rate": 0.01})) for decay in (0.0, 0.5)
    )
    start = plain.method.discriminator.conv3.weight.detach().clone()
    for trainer in (plain, decayed):
        trainer.step(0)
    # AdamW: the weight shrinks by rate * decay, whatever the gradient.
    shrunk = plain.method.discriminator.conv3.weight - 0.01 * 0.5 * start
    torch.testing.assert_close(decayed.method.discriminator.conv3.weight, shrunk, atol=1e-6, rtol=0)
    assert decayed.optimizers[0].weight_decay == 0.5
    assert decayed.optimizers[1].weight_decay == 0.0


def test_the_learning_rate_falls_linearly_over_the_last_steps():
    config = OptimizerConfig(learning_rate=0.8, decay_fraction=0.4)
    rates = [learning_rate_at(step, 10, config) for step in range(10)]
    assert rates == pytest.approx([0.8] * 7 + [0.6, 0.4, 0.2])


def test_the_learning_rate_is_constant_without_decay():
    assert {learning_rate_at(step, 10, OptimizerConfig(learning_rate=0.8)) for step in range(10)} == {0.8}


def test_both_optimizers_use_the_decayed_rate():
    trainer = tiny_trainer(tiny_config(optimizer={"learning_rate": 0.5, "decay_fraction": 1.0}))
    for step in range(trainer.total_steps):
        trainer.step(step)
        expected = 0.5 * (6 - step) / 6
        assert [optimizer.rate for optimizer in trainer.optimizers] == pytest.approx([expected] * 2)


@pytest.mark.parametrize("evaluations", [1, 2, 3, 7, 10, 64])
@pytest.mark.parametrize("total", [1, 2, 5, 6, 63, 1000])
def test_evaluations_are_evenly_spaced_and_end_at_the_last_step(total, evaluations):
    steps = evaluation_steps(total, evaluations)
    gaps = [after - before for before, after in zip([0, *steps], steps, strict=False)]
    assert len(steps) == min(total, evaluations)
    assert steps[-1] == total
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_samples_are_generated_in_batches_from_the_same_z(monkeypatch):
    (*_, final) = train(tiny_config(), tiny_batches(tiny_config(), images=textured_images()), NUM_CLASSES)
    whole = final.sample(10)
    monkeypatch.setattr("ssgan_bench.training.loop.images_at_once", lambda image_size: image_size // 4)
    torch.testing.assert_close(final.sample(10), whole)
