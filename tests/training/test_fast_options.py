"""Options that make a step faster compute what the plain step computes, up to the stated tolerances."""

import pytest
import torch
from pydantic import ValidationError
from tiny_runs import networks_of, tiny_config, tiny_trainer

from ssgan_bench.networks import products

METHODS = [{"name": "supervised"}, {"preset": "article"}, {"preset": "improved_gan"}]
NO_DROPOUT = {"dropout": 0.0}
ROUNDING = (1e-5, 1e-5)
BFLOAT16 = (0.02, 0.2)
"""Relative, of losses and of all gradients together; bfloat16 has 8 bits of precision, and batch norm over the few
images of these runs loses some of them on the way back."""


def gradients_of(trainer):
    """All gradients of every update to come, network by network; they are gone after it."""
    seen = []
    for network, optimizer in zip(trainer._networks(), trainer.optimizers, strict=True):

        def step(network=network, take_step=optimizer.step):
            seen.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
            take_step()

        optimizer.step = step
    return seen


def assert_alike(plain, fast, tolerances):
    """Three steps with the same losses, and the first one with the same gradients."""
    of_losses, of_gradients = tolerances
    seen_by_plain, seen_by_fast = gradients_of(plain), gradients_of(fast)
    for step in range(3):
        expected, found = plain.step(step), fast.step(step)
        assert found.keys() == expected.keys()
        for name, loss in expected.items():
            torch.testing.assert_close(found[name], loss, rtol=of_losses, atol=of_losses / 10)
        if step == 0:
            wanted, actual = torch.cat(seen_by_plain), torch.cat(seen_by_fast)
            assert (actual - wanted).norm() <= of_gradients * wanted.norm()
    assert all(p.grad is None for trainer in (plain, fast) for net in trainer._networks() for p in net.parameters())


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_channels_last_changes_rounding_alone(method):
    plain = tiny_trainer(tiny_config(method=method, network=NO_DROPOUT))
    fast = tiny_trainer(tiny_config(method=method, network=NO_DROPOUT, train={"channels_last": True}))
    assert fast.method.discriminator.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert_alike(plain, fast, ROUNDING)


@pytest.mark.parametrize("channels_last", [False, True])
def test_convolutions_as_products_change_rounding_alone(monkeypatch, channels_last):
    monkeypatch.setattr(products, "MANY_WEIGHTS", 0)
    large = {"network": NO_DROPOUT, "data": {"image_size": 64}}  # has layers of every kind of product
    config = tiny_config(method={"preset": "article"}, train={"channels_last": channels_last}, **large)
    plain, fast = tiny_trainer(config), tiny_trainer(config)
    pays, answers = products._pays, []
    monkeypatch.setattr(products, "_pays", lambda *tensors: answers.append(pays(*tensors)) or answers[-1])
    for network in plain._networks():
        for layer in network.modules():
            for kind in (torch.nn.Conv2d, torch.nn.ConvTranspose2d):
                if isinstance(layer, kind):
                    layer.__class__ = kind  # with PyTorch's forward
    assert_alike(plain, fast, ROUNDING)
    assert len(answers) == 3 * (4 * 2 + 2)  # steps; passes and layers of the discriminator, and of the generator
    assert all(answers)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_bfloat16_passes_are_close_and_all_that_stays_is_float32(method):
    average = {"weight_average": 0.9}
    plain = tiny_trainer(tiny_config(method=method, network=NO_DROPOUT, train=average))
    fast = tiny_trainer(tiny_config(method=method, network=NO_DROPOUT, train={**average, "precision": "bf16"}))
    assert_alike(plain, fast, BFLOAT16)
    for network in networks_of(fast):
        assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    fast.set_training(False)
    images = torch.zeros(2, 1, 16, 16)
    assert fast.classify(images).dtype == torch.float32
    if fast.method.generator is not None:
        assert fast.sample(2).dtype == torch.float32


def test_bfloat16_is_really_used():
    seen = []
    trainer = tiny_trainer(tiny_config(method={"preset": "article"}, train={"precision": "bf16"}))
    for network in trainer._networks():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
                layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    trainer.step(0)
    assert set(seen) == {torch.bfloat16}


def test_reused_features_are_those_of_the_discriminators_update():
    """With a discriminator that stands still and nothing random in it, it is the same as a fresh pass."""
    still = {"optimizer": {"learning_rate": 1e-12}, "network": {"dropout": 0.0, "normalization": "none"}}
    plain = tiny_trainer(tiny_config(method={"preset": "improved_gan"}, **still))
    fast = tiny_trainer(tiny_config(method={"preset": "improved_gan", "reuse_real_features": True}, **still))
    assert_alike(plain, fast, ROUNDING)


def test_reusing_features_saves_the_pass_of_the_real_images():
    passes = {}
    for reuse in (False, True):
        method = {"preset": "article", "reuse_real_features": reuse}
        trainer = tiny_trainer(tiny_config(method=method))
        sizes = []
        trainer.method.discriminator.register_forward_pre_hook(lambda net, inputs, n=sizes: n.append(len(inputs[0])))
        trainer.step(0)
        passes[reuse] = sizes
    batch_size = trainer.config.train.batch_size
    assert passes[False] == [*passes[True], batch_size]


def test_bfloat16_passes_have_their_gradients_added_in_float32():
    trainer = tiny_trainer(tiny_config(method={"preset": "article"}, network=NO_DROPOUT, train={"precision": "bf16"}))
    weights = list(trainer.method.discriminator.parameters())
    with trainer._passes():
        losses = trainer.method.discriminator_losses(trainer.batches(0), trainer.latent("z", 8, 0))
    together = torch.autograd.grad(sum(losses.values()), weights, retain_graph=True)
    of_fake = torch.autograd.grad(losses.pop("fake_loss"), weights, retain_graph=True)
    of_real = torch.autograd.grad(sum(losses.values()), weights)
    for total, *parts in zip(together, of_real, of_fake, strict=True):
        assert torch.equal(total, sum(parts))


FAST = {"precision": "bf16", "channels_last": True}


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"preset": "article"}},
        {"method": {"preset": "article", "real_and_fake": "joint"}, "train": FAST},
        {"method": {"preset": "improved_gan", "reuse_real_features": True}},
        {"method": {"preset": "improved_gan", "consistency_weight": 1.0}, "train": {"weight_average": 0.9}},
        {"method": {"preset": "improved_gan", "real_and_fake": "joint"}, "network": {"family": "mlp"}},
    ],
    ids=str,
)
def test_reused_images_are_those_that_the_generator_would_draw_again(changes):
    changes = {"network": NO_DROPOUT, **changes}
    plain = tiny_trainer(tiny_config(**changes))
    fast = tiny_trainer(tiny_config(**{**changes, "method": {**changes["method"], "reuse_generated_images": True}}))
    assert_alike(plain, fast, (0.0, 0.0))
    passes = []
    for trainer in (plain, fast):
        trainer.method.generator.register_forward_pre_hook(lambda *_: passes.append("generator"))
        trainer.step(3)
        passes.append("step")
    assert passes == ["generator", "generator", "step", "generator", "step"]


def test_reused_images_move_the_running_statistics_once_and_share_a_dropout_mask():
    trainer = tiny_trainer(tiny_config(method={"preset": "article", "reuse_generated_images": True}))
    seen = []
    trainer.method.discriminator.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0].detach().clone()))
    trainer.step(0)
    assert trainer.method.generator.norm1.num_batches_tracked == 1
    _, by_discriminator, by_generator, _ = seen
    assert torch.equal(by_discriminator, by_generator)


@pytest.mark.parametrize("option", ["reuse_real_features", "reuse_generated_images"])
def test_nothing_is_reused_for_a_fresh_generator_batch(option):
    with pytest.raises(ValidationError, match=rf"{option} with generator_batch = 'fresh': .* use 'same'"):
        tiny_config(method={"preset": "improved_gan", "generator_batch": "fresh", option: True})


def test_reused_features_need_separate_batches():
    with pytest.raises(ValidationError, match=r"reuse_real_features with real_and_fake = 'joint'"):
        tiny_config(method={"preset": "article", "reuse_real_features": True, "real_and_fake": "joint"})
