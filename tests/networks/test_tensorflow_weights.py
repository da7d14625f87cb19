import numpy as np
import numpy_reference as reference
import pytest
import torch

from ssgan_bench.networks.conv import Discriminator, Generator
from ssgan_bench.networks.layers import init_weights
from ssgan_bench.networks.tensorflow_weights import (
    dump_discriminator,
    dump_generator,
    load_discriminator,
    load_generator,
)

PAIR = [
    pytest.param(Discriminator, load_discriminator, dump_discriminator, id="discriminator"),
    pytest.param(Generator, load_generator, dump_generator, id="generator"),
]


def build(network, seed=0):
    built = network(64, width=4)
    init_weights(built, torch.Generator().manual_seed(seed))
    return built


def randomize(weights, seed=0):
    """Random values everywhere, biases and statistics too, so that no mix-up can go unnoticed."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, array in weights.items():
        value = rng.normal(size=array.shape) * 0.3
        out[name] = np.abs(value) + 0.5 if name.endswith(("gamma", "moving_variance")) else value
    return out


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.parametrize(("network", "load", "dump"), PAIR)
def test_loading_what_was_dumped_reproduces_every_tensor(network, load, dump):
    source, target = build(network, 0), build(network, 1)
    weights = {name: array.astype(np.float32) for name, array in randomize(dump(source)).items()}
    load(target, weights)
    assert_same(dump(target), weights)
    load(source, dump(target))
    for name, value in target.state_dict().items():
        torch.testing.assert_close(source.state_dict()[name], value, rtol=0, atol=0)


def test_names_and_shapes_are_those_of_the_original_graph():
    shapes = {name: array.shape for name, array in dump_discriminator(Discriminator(64)).items()}
    assert shapes["Discriminator/conv1/kernel"] == (4, 4, 1, 128)
    assert shapes["Discriminator/conv4/kernel"] == (3, 3, 512, 1024)
    assert shapes["Discriminator/batch_normalization/moving_mean"] == (256,)
    assert shapes["Discriminator/batch_normalization_1/gamma"] == (512,)
    assert shapes["Discriminator/dense/kernel"] == (1024, 11)
    assert len(shapes) == 18
    shapes = {name: array.shape for name, array in dump_generator(Generator(64)).items()}
    assert shapes["Generator/deconv1/kernel"] == (4, 4, 512, 100)
    assert shapes["Generator/deconv4/kernel"] == (4, 4, 1, 128)
    assert shapes["Generator/batch_normalization_2/beta"] == (128,)
    assert len(shapes) == 20


@pytest.mark.parametrize(("network", "load", "dump"), PAIR)
def test_a_dump_is_a_copy(network, load, dump):
    built = build(network)
    weights = dump(built)
    before = {name: array.copy() for name, array in weights.items()}
    for array in weights.values():
        array += 1
    assert_same(dump(built), before)


@pytest.mark.parametrize("spelling", ["{scope}/{name}", "{name}", "{scope}/{name}:0", "{name}:0"])
@pytest.mark.parametrize(("network", "load", "dump"), PAIR)
def test_scope_prefix_and_output_suffix_are_optional(network, load, dump, spelling):
    weights = randomize(dump(build(network)))
    renamed = {}
    for full_name, array in weights.items():
        scope, name = full_name.split("/", 1)
        renamed[spelling.format(scope=scope, name=name)] = array
    target = build(network, 1)
    load(target, renamed)
    assert_same(dump(target), {name: array.astype(np.float32) for name, array in weights.items()})


def test_a_whole_checkpoint_loads_into_both_networks():
    discriminator, generator = build(Discriminator), build(Generator)
    checkpoint = randomize(dump_discriminator(discriminator)) | randomize(dump_generator(generator), seed=1)
    slots = {f"{name}/d_optimiser_1": array for name, array in checkpoint.items()}
    slots |= {f"{name}/Adam": array for name, array in checkpoint.items()}
    checkpoint_with_slots = slots | checkpoint | {"beta1_power": np.array(0.5), "beta2_power_1": np.array(0.9)}
    load_discriminator(discriminator, checkpoint_with_slots)
    load_generator(generator, checkpoint_with_slots)
    both = dump_discriminator(discriminator) | dump_generator(generator)
    assert_same(both, {name: array.astype(np.float32) for name, array in checkpoint.items()})


def test_absent_moving_statistics_stay():
    discriminator = build(Discriminator)
    discriminator.norm2.running_mean.fill_(7.0)
    weights = {k: v for k, v in dump_discriminator(discriminator).items() if "moving" not in k}
    load_discriminator(discriminator, weights)
    assert discriminator.norm2.running_mean.unique().tolist() == [7.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("Discriminator/conv3/bias"),
            r"Discriminator/conv3/bias of shape \(16,\) is missing",
        ),
        (
            lambda w: w.update({"Discriminator/dense/kernel": np.zeros((11, 32))}),
            r"Discriminator/dense/kernel: wanted shape \(32, 11\), got \(11, 32\)",
        ),
        (
            lambda w: w.update({"Discriminator/conv9/kernel": np.zeros(1)}),
            "'Discriminator/conv9/kernel' is not one of the article's discriminator",
        ),
        (
            lambda w: w.update({"dense/bias:0": np.zeros(11)}),
            "Discriminator/dense/bias is given twice",
        ),
    ],
)
def test_a_misfit_names_the_variable_and_changes_nothing(change, message):
    discriminator = build(Discriminator)
    before = dump_discriminator(discriminator)
    weights = randomize(before)
    change(weights)
    with pytest.raises(ValueError, match=message):
        load_discriminator(discriminator, weights)
    assert_same(dump_discriminator(discriminator), before)


def test_discriminator_in_evaluation_mode_is_the_numpy_forward_of_the_same_weights():
    discriminator = build(Discriminator)
    weights = randomize(dump_discriminator(discriminator))
    load_discriminator(discriminator, weights)
    images = np.random.default_rng(1).uniform(-1, 1, size=(3, 64, 64, 1))

    w = {name.removeprefix("Discriminator/"): array for name, array in weights.items()}
    x = images
    for name, stride, padding, norm in (
        ("conv1", 2, "same", None),
        ("conv2", 2, "same", "batch_normalization"),
        ("conv3", 4, "same", "batch_normalization_1"),
        ("conv4", 1, "valid", None),
    ):
        x = reference.conv(x, w[f"{name}/kernel"], stride, padding)[0] + w[f"{name}/bias"]
        x = np.maximum(x, 0.2 * x)
        if norm:
            statistics = (w[f"{norm}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance"))
            x = reference.batch_norm_inference(x, *statistics)
    expected_features = x.mean(axis=(1, 2))
    expected_logits = expected_features @ w["dense/kernel"] + w["dense/bias"]

    inputs = torch.from_numpy(images).float().permute(0, 3, 1, 2)
    features, logits = discriminator.eval()(inputs)
    np.testing.assert_allclose(features.detach(), expected_features, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits.detach(), expected_logits, rtol=1e-5, atol=1e-5)


def test_generator_in_evaluation_mode_is_the_numpy_forward_of_the_same_weights():
    generator = build(Generator)
    weights = randomize(dump_generator(generator))
    load_generator(generator, weights)
    z = np.random.default_rng(1).normal(size=(3, 100))

    w = {name.removeprefix("Generator/"): array for name, array in weights.items()}
    x = z[:, None, None, :]
    for name, stride, padding, norm in (
        ("deconv1", 1, "valid", "batch_normalization"),
        ("deconv2", 4, "same", "batch_normalization_1"),
        ("deconv3", 2, "same", "batch_normalization_2"),
    ):
        x = reference.conv_transpose(x, w[f"{name}/kernel"], stride, padding)[0] + w[f"{name}/bias"]
        statistics = (w[f"{norm}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        x = reference.batch_norm_inference(np.maximum(x, 0), *statistics)
    x, _ = reference.conv_transpose(x, w["deconv4/kernel"], 2, "same")
    expected = np.tanh(x + w["deconv4/bias"])

    images = generator.eval()(torch.from_numpy(z).float()).detach().permute(0, 2, 3, 1)
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-5)
