"""Which images are labeled, unlabeled, validation and test: index sets, a pure function of split_seed.

Each of test, validation and labeled takes the head of its own random order, so a larger budget contains every
smaller one, and neither validation nor test depends on the label budget.
"""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ssgan_bench.config import ConfigError, DataConfig
from ssgan_bench.seeding import numpy_generator

Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """Sorted int64 indices; 0..N-1 are the training images, N.. the extra unlabeled ones."""

    labeled: Indices
    """Images whose label may be used; under the resampled protocol the whole training set."""
    unlabeled: Indices
    validation: Indices
    test: Indices
    """Into the official test images where the data set has some, else into the training images."""
    num_train: int
    """Size of the training set (neither validation nor test), of which labeled_rate is a share."""
    num_labels: int
    """The label budget; equals len(labeled) under the fixed protocol."""

    def digests(self) -> dict[str, str]:
        """SHA-256 (hex) of each index set as little-endian int64 bytes."""
        sets = {
            "labeled": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest() for name, indices in sets.items()}


def make_splits(
    labels: NDArray[np.integer],
    num_classes: int,
    config: DataConfig,
    split_seed: int,
    *,
    num_extra_unlabeled: int = 0,
    num_official_test: int | None = None,
) -> Splits:
    """Split a data set; the same arguments give the same sets on every machine.

    Test and validation are stratified: classes are as frequent as in the data. The labeled images are
    balanced - class counts differ by at most one, and which classes get the remainder is random; when a class
        runs out of images, as it may near a full budget, the others make up for it;
    proportional - by Webster's method: the next label goes to the class of smallest (count + 1/2) / size.
        (Largest remainders can take a label from a class when the budget grows: budgets would not nest.)

    Args:
        labels: (N,) integers in [0, num_classes), of the training images.
        num_classes: K.
        config: label budget, balance, protocol, and sizes of validation and test.
        split_seed: decides every random choice made here.
        num_extra_unlabeled: images that never had labels; indices N..N+E-1.
        num_official_test: size of the official test set, which then is the test set; None where there is none
            and config.num_test images are split off.

    Raises:
        ConfigError: the sizes do not fit together; the message gives the numbers.
    """
    num_images = len(labels)
    everything = np.arange(num_images, dtype=np.int64)
    remaining = everything
    if num_official_test is None:
        if config.num_test >= num_images:
            raise ConfigError(
                f"data.num_test = {config.num_test}: {config.dataset} has only {num_images} images and no "
                "official test set; lower it"
            )
        order = _taking_order(labels, remaining, num_classes, split_seed, "test", balanced=False)
        test = np.sort(order[: config.num_test])
        remaining = np.setdiff1d(remaining, test)
    else:
        test = np.arange(num_official_test, dtype=np.int64)
    if config.num_validation >= len(remaining):
        raise ConfigError(
            f"data.num_validation = {config.num_validation}: {config.dataset} has {len(remaining)} images "
            "besides the test set, so nothing is left to train on; lower it"
        )
    order = _taking_order(labels, remaining, num_classes, split_seed, "validation", balanced=False)
    validation = np.sort(order[: config.num_validation])
    train = np.setdiff1d(remaining, validation)

    num_labels = _num_labels(config, len(train), num_classes)
    order = _taking_order(
        labels, train, num_classes, split_seed, "labeled", balanced=config.class_balance == "balanced"
    )
    labeled = train if config.label_protocol == "resampled" else np.sort(order[:num_labels])
    unlabeled = train if config.unlabeled_includes_labeled else np.setdiff1d(train, labeled)
    unlabeled = np.concatenate([unlabeled, num_images + np.arange(num_extra_unlabeled, dtype=np.int64)])
    if len(unlabeled) == 0:
        raise ConfigError(
            f"data.unlabeled_includes_labeled = false leaves no unlabeled images: all {len(train)} training "
            "images are labeled; set it to true or lower the label budget"
        )
    return Splits(labeled, unlabeled, validation, test, num_train=len(train), num_labels=num_labels)


def _num_labels(config: DataConfig, num_train: int, num_classes: int) -> int:
    """Turn the budget into a number of labels, and refuse one that cannot be met."""
    if config.label_protocol == "resampled" and not config.unlabeled_includes_labeled:
        raise ConfigError(
            "data.label_protocol = 'resampled' uses every training image as labeled at some time; it needs "
            "data.unlabeled_includes_labeled = true"
        )
    if config.num_labels is not None:
        num_labels, given = config.num_labels, f"data.num_labels = {config.num_labels}"
    else:
        assert config.labeled_rate is not None  # DataConfig holds exactly one of the two
        num_labels = round(config.labeled_rate * num_train)
        given = f"data.labeled_rate = {config.labeled_rate} ({num_labels} of {num_train} training images)"
    if num_labels == 0:
        raise ConfigError(f"{given} gives no labels at all; raise it")
    if num_labels > num_train:
        raise ConfigError(
            f"{given}: {config.dataset} has {num_train} training images besides validation and test; lower it"
        )
    if config.class_balance == "balanced" and num_labels < num_classes:
        raise ConfigError(
            f"{given}: fewer labels than the {num_classes} classes of {config.dataset}; use {num_classes} or "
            "more, or set data.class_balance = 'proportional'"
        )
    return num_labels


def _taking_order(
    labels: NDArray[np.integer],
    candidates: Indices,
    num_classes: int,
    split_seed: int,
    name: str,
    *,
    balanced: bool,
) -> Indices:
    """Order the candidates such that every prefix is a stratified (or class-balanced) random sample.

    The random order is drawn over all images, not over the candidates, so that a candidate more or less does
    not reshuffle the others.

    Args:
        labels: (N,) class of every image.
        candidates: (M,) indices that may be taken.
        num_classes: K.
        split_seed: seed of the random order.
        name: stream, so that test, validation and labeled are drawn independently.
        balanced: equal counts per class; else counts proportional to the candidates' class frequencies.

    Returns:
        (M,) the candidates, reordered.
    """
    rng = numpy_generator(split_seed, f"splits/{name}")
    shuffled = rng.permutation(len(labels))
    class_rank = rng.permutation(num_classes)
    order = shuffled[np.isin(shuffled, candidates)].astype(np.int64)
    classes = labels[order]
    sizes = np.bincount(classes, minlength=num_classes)
    # position[i]: how many earlier entries of `order` have the class of entry i.
    by_class = np.argsort(classes, kind="stable")
    position = np.empty(len(order), dtype=np.int64)
    position[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    key = position if balanced else (position + 0.5) / sizes[classes]
    taken: Indices = order[np.lexsort((class_rank[classes], key))]
    return taken
