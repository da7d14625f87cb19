"""No method reads a label outside the labeled set: with garbage in their place every bit of the result is the same.

All methods and presets of the registry are tried, so that a new one is tried without being named here.
"""

import pytest
import torch
from tiny_runs import (
    NUM_CLASSES,
    textured_images,
    tiny_batches,
    tiny_config,
    tiny_labels,
    tiny_splits,
    weights_digest,
)

from ssgan_bench.config import MethodConfig, RunConfig
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import Trainer, train

METHODS = {name: {"name": name} for name in MethodConfig.by_name}
METHODS |= {preset: {"preset": preset} for cls in MethodConfig.by_name.values() for preset in cls.presets}
# A teacher is sure of something at once, so that the term is there in the few steps of these tests.
SURE = {"consistency_weight": 1.0, "confidence_threshold": 0.0}
METHODS["consistency"] |= SURE
METHODS["improved_gan with consistency"] = {"preset": "improved_gan", **SURE}
TRAIN = {"epochs": 2, "weight_average": 0.9, "augmentation": 0.5}
GARBAGE = {
    "another class": lambda labels: (labels + 1) % NUM_CLASSES,
    "one class": lambda labels: torch.zeros_like(labels),
    "no class": lambda labels: torch.tensor([-1, NUM_CLASSES, 10**9]).repeat(len(labels))[: len(labels)],
}


def outcome(config: RunConfig, labels: torch.Tensor) -> tuple[list[object], list[torch.Tensor]]:
    """Losses of every snapshot and a digest of all weights; the logits of all images at every snapshot."""
    make_deterministic(num_threads=1)
    batches = tiny_batches(config, images=textured_images(), labels=labels)
    facts: list[object] = []
    logits = []
    for snapshot in train(config, batches, NUM_CLASSES):
        facts.append(snapshot.losses)
        logits.append(snapshot.classify(batches.images.float() / 127.5 - 1))
    trainer = getattr(snapshot.classify, "__self__", None)
    if isinstance(trainer, Trainer):  # a method without networks has no weights
        facts.append(weights_digest(trainer))
    return facts, logits


def same(one: tuple[list[object], list[torch.Tensor]], other: tuple[list[object], list[torch.Tensor]]) -> bool:
    return one[0] == other[0] and all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


def hidden(config: RunConfig) -> torch.Tensor:
    """(60,) bool: the images whose label the run must not read."""
    mask = torch.ones(len(tiny_labels()), dtype=torch.bool)
    mask[torch.from_numpy(tiny_splits(config).labeled)] = False
    return mask


@pytest.mark.parametrize("method", [name for name in METHODS if "consistency" in name])
def test_these_methods_do_feel_their_consistency_loss(method: str) -> None:
    facts, _ = outcome(tiny_config(method=METHODS[method], train=TRAIN), tiny_labels())
    assert all(losses["consistency_loss"] > 0 for losses in facts if isinstance(losses, dict))


def test_the_registry_has_the_methods_of_the_studies() -> None:
    assert {"supervised", "ssgan", "article", "improved_gan"} <= METHODS.keys()


@pytest.mark.parametrize("includes", [True, False], ids=["labeled also unlabeled", "labeled apart"])
@pytest.mark.parametrize("network", [{}, {"family": "mlp"}], ids=["conv", "mlp"])
@pytest.mark.parametrize("method", METHODS)
def test_labels_outside_the_labeled_set_are_never_read(method: str, network: dict[str, str], includes: bool) -> None:
    config = tiny_config(
        method=METHODS[method],
        network=network,
        data={"unlabeled_includes_labeled": includes},
        train=TRAIN,
    )
    honest = outcome(config, tiny_labels())
    for make in GARBAGE.values():
        labels = tiny_labels()
        labels[hidden(config)] = make(labels[hidden(config)])
        assert same(honest, outcome(config, labels))


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_the_labeled_set_are_read(method: str) -> None:
    config = tiny_config(method=METHODS[method], train=TRAIN)
    labels = tiny_labels()
    first = tiny_splits(config).labeled[0]
    labels[first] = (labels[first] + 1) % NUM_CLASSES
    assert not same(outcome(config, tiny_labels()), outcome(config, labels))
