import hashlib
import math

import pytest
from pydantic import ValidationError
from tiny_runs import DEFAULTS, tiny_config

from ssgan_bench.config import (
    ConvConfig,
    DataConfig,
    MethodConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    digest,
    method_preset,
)
from ssgan_bench.methods.ssgan import SsganConfig
from ssgan_bench.mistakes import parse_run_config

CHANGES = {
    "data": {
        "dataset": "mnist",
        "image_size": 32,
        "num_labels": 11,
        "class_balance": "proportional",
        "label_protocol": "resampled",
        "unlabeled_includes_labeled": False,
        "num_unlabeled": 13,
        "classes": (0, 2),
        "num_validation": 6,
        "num_test": 6,
        "evaluation_set": "validation",
    },
    "network": {
        "width": 5,
        "latent_dim": 7,
        "dropout": 0.2,
        "fast_dropout": False,
        "normalization": "none",
        "norm_momentum": 0.1,
    },
    "optimizer": {
        "learning_rate": 2e-3,
        "beta1": 0.6,
        "beta2": 0.99,
        "epsilon": 1e-7,
        "epsilon_root": 1e-8,
        "weight_decay": 0.1,
        "decay_fraction": 0.5,
    },
    "train": {
        "epochs": 2,
        "batch_size": 9,
        "labeled_batch_size": 5,
        "evaluations": 3,
        "augmentation": 0.5,
        "weight_average": 0.9,
        "evaluation_statistics": "running",
        "precision": "bf16",
        "channels_last": True,
        "cuda_graph": True,
        "num_threads": 2,
    },
    "method": {
        "head": "logsumexp",
        "real_fake_weight": 0.5,
        "adversarial_weight": 0.5,
        "feature_matching": "l1",
        "feature_matching_weight": 0.5,
        "feature_matching_reduction": "sum",
        "generator_batch": "fresh",
        "reuse_real_features": True,
        "reuse_generated_images": True,
        "real_and_fake": "joint",
    },
}
"""For every field a value other than DEFAULTS'; those that need or exclude others have tests of their own."""


def mistakes_of(**changes):
    config, mistakes = parse_run_config({**DEFAULTS, **changes})
    assert (config is None) == bool(mistakes)
    by_key = {mistake.key: mistake for mistake in mistakes}
    assert len(by_key) == len(mistakes), "a mistake is reported twice"
    return by_key


def test_every_mistake_is_reported_at_once_under_its_dotted_key():
    mistakes = mistakes_of(
        data={"num_labels": "20", "image_size": 7, "colour": 1},
        network={"width": 2},
        method={"name": "ssgan", "head": "two_heads", "weight": 1},
        optimizer={"learning_rate": 0.0, "beta1": 1.0},
        train={"epochs": 0, "batch_size": 64.5, "num_threads": True},
        split_seed=-1,
        other={},
    )
    assert mistakes.keys() == {
        "data.num_labels",
        "data.image_size",
        "data.colour",
        "network.width",
        "method.head",
        "method.weight",
        "optimizer.learning_rate",
        "optimizer.beta1",
        "train.epochs",
        "train.batch_size",
        "train.num_threads",
        "split_seed",
        "other",
    }
    assert mistakes["data.colour"].message.startswith("unknown key; known here: class_balance, classes, dataset, ")
    assert mistakes["method.weight"].message.startswith("unknown key; known here: adversarial_weight, ")
    assert mistakes["train.batch_size"].value == 64.5
    assert mistakes["network.width"].message == "must be at least 4 and at most 512"


@pytest.mark.parametrize(
    "method",
    [None, "ssgan", 3, [], {}, {"name": "gan"}, {"name": ["ssgan"]}, {"preset": "artcle"}, {"preset": ["article"]}],
    ids=str,
)
def test_a_method_that_does_not_exist_is_one_mistake_beside_the_others(method):
    mistakes = mistakes_of(method=method, train={"epochs": 0})
    assert mistakes.keys() == {"method", "train.epochs"}
    known = "improved_gan" if isinstance(method, dict) and "preset" in method else "supervised"
    assert known in mistakes["method"].message


def test_a_missing_section_is_named():
    config, mistakes = parse_run_config({})
    assert config is None
    assert {mistake.key for mistake in mistakes} == {"data", "method", "train"}


@pytest.mark.parametrize("labels", [{}, {"num_labels": 10, "labeled_rate": 0.5}], ids=["neither", "both"])
def test_the_label_budget_is_given_exactly_once(labels):
    mistake = mistakes_of(data=labels)["data"]
    assert mistake.message == "give exactly one of data.num_labels and data.labeled_rate"


@pytest.mark.parametrize("length", [{}, {"epochs": 7, "steps": 90}], ids=["neither", "both"])
def test_the_length_of_training_is_given_exactly_once(length):
    mistake = mistakes_of(train=length)["train"]
    assert mistake.message == "give exactly one of train.epochs and train.steps"


def test_steps_count_alone_and_epochs_by_their_length():
    assert TrainConfig(steps=90).total_steps(6) == TrainConfig(steps=90).total_steps(1) == 90
    assert TrainConfig(epochs=3).total_steps(6) == 18


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("section", ["data", "network", "optimizer", "method"])
def test_not_a_number_and_infinity_are_refused(section, value):
    key = {
        "data": "labeled_rate",
        "network": "dropout",
        "optimizer": "learning_rate",
        "method": "adversarial_weight",
    }[section]
    values = {"name": "ssgan", key: value} if section == "method" else {key: value}
    mistakes = mistakes_of(**{section: values})
    assert mistakes.keys() == {f"{section}.{key}"}
    assert mistakes[f"{section}.{key}"].message == "must be a finite number"


def test_an_integer_is_accepted_for_a_float_and_is_the_same_configuration():
    one, same = (tiny_config(optimizer={"learning_rate": value}, method=method) for value, method in (
        (1, {"name": "ssgan", "real_fake_weight": 2}),
        (1.0, {"name": "ssgan", "real_fake_weight": 2.0}),
    ))  # fmt: skip
    assert type(one.optimizer.learning_rate) is float
    assert one == same
    assert one.digest() == same.digest()


def test_neither_text_nor_truth_values_are_accepted_for_numbers():
    mistakes = mistakes_of(train={"epochs": "7", "evaluations": True}, optimizer={"beta1": "0.5"})
    assert mistakes.keys() == {"train.epochs", "train.evaluations", "optimizer.beta1"}


def test_image_sizes_are_limited_by_the_conv_networks_only():
    mistake = mistakes_of(data={"num_labels": 10, "image_size": 28})[""]
    assert "data.image_size = 28" in mistake.message
    assert mistakes_of(data={"num_labels": 10, "image_size": 28}, network={"family": "mlp"}) == {}


def test_an_option_of_another_family_of_networks_is_an_unknown_key():
    mistakes = mistakes_of(network={"family": "mlp", "width": 8, "dropout": 0.5})
    assert mistakes.keys() == {"network.width", "network.dropout"}
    assert mistakes["network.width"].message == "unknown key; known here: family, latent_dim"
    assert mistakes_of(network={"family": "vit"})["network"].message == "unknown family 'vit'; known: conv, mlp"
    assert mistakes_of(network=3)["network"].message.startswith("must be a table")


@pytest.mark.parametrize(
    ("width", "size", "normalization", "answer"),
    [(64, 64, "batch", True), (32, 64, "batch", False), (64, 32, "none", False), (64, 64, "weight", False)],
)
def test_the_memory_format_is_resolved_and_recorded(width, size, normalization, answer):
    network = {"width": width, "normalization": normalization}
    config = tiny_config(network=network, data={"image_size": size})
    assert config.model_dump(mode="json")["train"]["channels_last"] is answer
    other = tiny_config(network=network, data={"image_size": size}, train={"channels_last": not answer})
    assert other.train.channels_last is not answer


def test_the_article_preset_is_the_articles_system():
    assert tiny_config(method={"preset": "article"}).method == SsganConfig(
        head="fake_neuron",
        real_fake_weight=1.0,
        adversarial_weight=1.0,
        feature_matching="l2",
        feature_matching_weight=1.0,
        feature_matching_reduction="mean",
    )
    articles = OptimizerConfig(learning_rate=2e-4, beta1=0.5, beta2=0.999, epsilon=1e-8, weight_decay=0.0)
    assert OptimizerConfig() == articles
    assert ConvConfig() == ConvConfig(width=128, latent_dim=100, dropout=0.3, norm_momentum=0.01)
    assert TrainConfig(epochs=7).batch_size == 128


def test_the_improved_gan_preset_has_k_logits_and_feature_matching_only():
    assert tiny_config(method={"preset": "improved_gan"}).method == SsganConfig(
        head="logsumexp",
        real_fake_weight=0.5,
        adversarial_weight=0.0,
        feature_matching="l2",
        feature_matching_weight=1.0,
    )


def test_options_given_beside_a_preset_win():
    method = tiny_config(method={"preset": "improved_gan", "feature_matching": "l1"}).method
    assert (method.head, method.feature_matching) == ("logsumexp", "l1")


def test_a_preset_of_another_method_is_refused():
    mistakes = mistakes_of(method={"preset": "article", "name": "supervised"})
    assert mistakes["method"].message == "preset 'article' belongs to method 'ssgan', not to 'supervised'"


@pytest.mark.parametrize("preset", sorted(name for cls in MethodConfig.by_name.values() for name in cls.presets))
def test_every_preset_resolves(preset):
    assert tiny_config(method={"preset": preset}).method.name == method_preset(preset)["name"]


@pytest.mark.parametrize("matching", [{"feature_matching": "off"}, {"feature_matching_weight": 0.0}], ids=str)
def test_a_generator_that_would_learn_nothing_is_refused(matching):
    mistakes = mistakes_of(method={"preset": "article", "adversarial_weight": 0.0, **matching})
    assert "the generator would learn nothing" in mistakes["method"].message


def test_a_configuration_cannot_be_changed():
    config = tiny_config()
    with pytest.raises(ValidationError, match="frozen"):
        config.model_seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.method.head = "logsumexp"


def test_a_configuration_survives_its_json():
    config = tiny_config(method={"preset": "improved_gan"})
    again = RunConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert again.digest() == config.digest()


def test_equal_configurations_have_equal_digests_in_whatever_order_they_are_written():
    backwards = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(DEFAULTS.items())
    }
    assert RunConfig.model_validate(backwards).digest() == tiny_config().digest()
    written_out = tiny_config(method={"name": "ssgan", "head": "fake_neuron"}, model_seed=0)
    assert written_out.digest() == tiny_config().digest()


def test_the_digest_is_the_sha256_of_canonical_json():
    assert digest({"b": [1, None], "a": 0.5}) == hashlib.sha256(b'{"a":0.5,"b":[1,null]}').hexdigest()
    with pytest.raises(ValueError, match="JSON compliant"):
        digest(math.nan)


def test_any_change_changes_the_digest():
    changed = [
        tiny_config(**{section: {**({"name": "ssgan"} if section == "method" else {}), key: value}})
        for section, options in CHANGES.items()
        for key, value in options.items()
    ]
    changed += [tiny_config(split_seed=1), tiny_config(model_seed=1), tiny_config(method={"name": "supervised"})]
    changed += [tiny_config(data={"num_labels": None, "labeled_rate": 0.2})]
    changed += [tiny_config(train={"epochs": None, "steps": 6})]
    changed += [RunConfig.model_validate(DEFAULTS | {"network": {"family": "mlp", "latent_dim": 6}})]
    for options in ({}, {"confidence_threshold": 0.5}, {"student_augmentation": 1.0}):
        method = {"name": "ssgan", "consistency_weight": 1.0, **options}
        changed += [tiny_config(method=method, train={"weight_average": 0.9})]
    mixed = {"classes": (0, 1), "unlabeled_includes_labeled": False}
    changed += [tiny_config(data={**mixed, "foreign_share": share}) for share in (None, 0.0, 0.5)]
    digests = {config.digest() for config in [tiny_config(), *changed]}
    assert len(digests) == len(changed) + 1


def test_options_that_came_later_are_no_part_of_a_configuration_without_them():
    """Else every run would get another digest, and with it another cell, whenever an option is added."""
    written_out = tiny_config(train={"precision": "fp32"})
    assert written_out.digest() == tiny_config().digest()
    assert "precision" not in written_out.model_dump(mode="json")["train"]
    method = tiny_config().model_dump(mode="json")["method"]
    assert not {"generator_batch", "reuse_real_features", "reuse_generated_images"} & method.keys()
    assert "epsilon_root" not in tiny_config().model_dump(mode="json")["optimizer"]


@pytest.mark.parametrize(
    ("section", "cls", "tested_apart"),
    [
        ("data", DataConfig, {"labeled_rate", "foreign_share"}),
        ("network", ConvConfig, {"family"}),
        ("optimizer", OptimizerConfig, set()),
        ("train", TrainConfig, {"steps"}),
        ("method", SsganConfig, {"name", "consistency_weight", "confidence_threshold", "student_augmentation"}),
    ],
)
def test_the_changes_above_cover_every_field(section, cls, tested_apart):
    assert CHANGES[section].keys() | tested_apart == cls.model_fields.keys()
