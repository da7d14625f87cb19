"""No run reads a label outside its labeled set, nor a validation or test image: with garbage in their place, every bit
of what it learns is the same.

Over all arms of all presets in studies/, and all methods and presets of the registry, at toy size; what is added to
either is tried without being named here. The data go the way of every run, from a loaded data set to its splits and
batches. Splits are stratified by the true labels, so garbage comes in after them.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ssgan_bench.config import MethodConfig, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.data.splits import Splits
from ssgan_bench.evaluation.classification import predict
from ssgan_bench.methods.base import Method
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import train
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.study_file import read_study

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
DIGITS = DeviceData.from_images(load("digits", Path("unused")), torch.device("cpu"))


def toy(config: dict[str, Any]) -> RunConfig:
    """The same options at toy size: digits, few labels and channels, three steps, and a teacher who is always sure.

    Numbers that choose no other way through the code are the same for all, so that presets of an arm are one.
    """
    data, train, network, method = (dict(config[part]) for part in ("data", "train", "network", "method"))
    data |= {"dataset": "digits", "image_size": 16, "num_validation": 100}
    for part, key, value in (
        (data, "num_labels", 20),
        (data, "labeled_rate", 0.25),
        (data, "num_unlabeled", 40 if data.get("num_unlabeled") else 0),
        (network, "width", 4),
        (network, "norm_momentum", 0.1),
        (method, "confidence_threshold", 0.0),
        (train, "augmentation", 1.0 if train.get("augmentation") else 0.0),
        (train, "weight_average", 0.9),
    ):
        if part.get(key) is not None:
            part[key] = value
    train |= {"epochs": None, "steps": 3, "batch_size": 8, "evaluations": 1, "num_threads": 1}
    if train["labeled_batch_size"] != "as_masked":
        train["labeled_batch_size"] = 4
    parts = {"data": data, "train": train, "network": network, "method": method, "split_seed": 0, "model_seed": 0}
    optimizer = config["optimizer"] | {"learning_rate": 3e-3, "decay_fraction": 0.3}
    return RunConfig.model_validate(config | parts | {"optimizer": optimizer})


def all_configs() -> dict[str, tuple[str, RunConfig]]:
    """Every different configuration by its digest, with the name of the first arm that has it."""
    found: dict[str, RunConfig] = {}
    for path in STUDIES:
        study = read_study(path)
        for preset in study.presets:
            for cell in make_plan(study, str(path), preset, {}, seeds=1).cells:
                levels = "".join(f" {key}={value}" for key, value in cell.levels.items())
                found[f"{study.name} {preset} {cell.arm}{levels}"] = toy(cell.config)
    methods = {name: {"name": name} for name in MethodConfig.by_name}
    methods |= {preset: {"preset": preset} for cls in MethodConfig.by_name.values() for preset in cls.presets}
    for (name, method), family in ((item, family) for item in methods.items() for family in ("conv", "mlp")):
        config = RunConfig.model_validate(
            {
                "data": {"num_labels": 20, "unlabeled_includes_labeled": family == "conv"},
                "network": {"family": family},
                "method": method,
                "train": {"steps": 3, "weight_average": 0.9, "augmentation": 0.5},
            }
        )
        found[f"{name} {family}"] = toy(config.model_dump(mode="json"))
    return {config.digest(): (name, config) for name, config in reversed(found.items())}


CONFIGS = all_configs()


def splits_of(config: RunConfig) -> Splits:
    return DIGITS.told_apart(config.data).splits(config)


def learned(config: RunConfig, data: DeviceData, splits: Splits) -> tuple[dict[str, float], str]:
    """Train on `data`; the last losses, and SHA-256 of the final logits of the true test images and of samples."""
    make_deterministic(num_threads=1)
    uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
    batches = Batches(data.images, data.labels, splits, config, uses_unlabeled=uses_unlabeled)
    hashed = hashlib.sha256()
    for snapshot in train(config, batches, data.num_classes):
        if snapshot.is_final:
            test_images, _ = DIGITS.told_apart(config.data).test_set(splits)
            hashed.update(predict(snapshot.classify, test_images[:200], config.data.image_size).numpy().tobytes())
            if snapshot.sample is not None:
                hashed.update(snapshot.sample(4).numpy().tobytes())
            return snapshot.losses, hashed.hexdigest()
    raise AssertionError("no final snapshot")


def garbage(labels: Tensor, num_classes: int) -> Tensor:
    """Every second label that of another class, the others that of none."""
    wrong = (labels + 1) % num_classes
    wrong[::2] = torch.tensor([-1, 10**9]).repeat(len(wrong))[: len(wrong[::2])]
    return wrong


def with_garbage_labels(data: DeviceData, splits: Splits, *, where: str) -> DeviceData:
    """Labels replaced outside the labeled set, with those of the test set, or inside it alone."""
    labels = data.labels.clone()
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.from_numpy(splits.labeled)] = True
    if where == "outside":
        labels[~chosen] = garbage(labels[~chosen], data.num_classes)
        assert data.test_labels is not None
        return dataclasses.replace(data, labels=labels, test_labels=garbage(data.test_labels, data.num_classes))
    labels[chosen] = (labels[chosen] + 1) % data.num_classes
    return dataclasses.replace(data, labels=labels)


def with_noise(data: DeviceData, splits: Splits) -> DeviceData:
    """Validation and test images replaced by noise, which training cannot take for any other."""
    stream = torch.Generator().manual_seed(7)
    validation = torch.from_numpy(splits.validation)
    assert len(validation) > 0
    assert data.test_images is not None
    images = data.images.clone()
    images[validation] = torch.randint(0, 256, images[validation].shape, generator=stream, dtype=torch.uint8)
    test = torch.randint(0, 256, data.test_images.shape, generator=stream, dtype=torch.uint8)
    return dataclasses.replace(data, images=images, test_images=test)


@pytest.mark.parametrize(("name", "config"), CONFIGS.values(), ids=[name for name, _ in CONFIGS.values()])
def test_garbage_where_a_run_must_not_look_changes_no_bit(name: str, config: RunConfig) -> None:
    data, splits = DIGITS.told_apart(config.data), splits_of(config)
    honest = learned(config, data, splits)
    assert learned(config, with_garbage_labels(data, splits, where="outside"), splits) == honest
    assert learned(config, with_noise(data, splits), splits) == honest
    # Where it must look, it does: the check above can fail.
    assert learned(config, with_garbage_labels(data, splits, where="inside"), splits) != honest


def test_a_run_that_may_see_validation_images_and_labels_is_found_out() -> None:
    config = toy(
        RunConfig.model_validate(
            {"data": {"num_labels": 20}, "method": {"preset": "article"}, "train": {"steps": 3}}
        ).model_dump(mode="json")
    )
    splits = splits_of(config)
    seeing = dataclasses.replace(splits, unlabeled=splits.validation)
    assert learned(config, with_noise(DIGITS, splits), seeing) != learned(config, DIGITS, seeing)
    reading = dataclasses.replace(splits, labeled=splits.validation)
    wrong = with_garbage_labels(DIGITS, reading, where="inside")
    assert learned(config, wrong, reading) != learned(config, DIGITS, reading)


def test_a_teacher_who_is_always_sure_makes_every_consistency_loss_felt() -> None:
    tried = [config for name, config in CONFIGS.values() if config.method.student_augmentation_in_use is not None]
    assert len(tried) > 2
    for config in tried:
        losses, _ = learned(config, DIGITS, splits_of(config))
        assert losses["consistency_loss"] > 0


def test_every_method_and_every_study_is_tried() -> None:
    names = [name for name, _ in CONFIGS.values()]
    assert {config.method.name for _, config in CONFIGS.values()} == set(MethodConfig.by_name)
    assert {config.network.family for _, config in CONFIGS.values()} == {"conv", "mlp"}
    assert {config.data.label_protocol for _, config in CONFIGS.values()} == {"fixed", "resampled"}
    assert {"labeled_rate", "label_leak", "class_mismatch"} <= {name.split()[0] for name in names}
