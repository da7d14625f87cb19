"""Which images are labeled, unlabeled, validation and test: index sets, a pure function of split_seed.

A data set with a test set of its own has that one at every seed. Each of validation, labeled and, elsewhere, test takes
the head of its own random order, so a larger budget contains every smaller one, and neither validation nor test
depends on the label budget. So do the unlabeled images besides the labeled ones, where not all of them are kept.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ssgan_bench.config import ConfigError, DataConfig
from ssgan_bench.seeding import numpy_generator

Indices: TypeAlias = NDArray[np.int64]

NEARLY_ALL = 0.9
"""Share of the training images from which on a budget need not be balanced: all labels are as many as there are."""
TEST_SHARE = 0.2
"""Share of each class that is the test set of a data set without one, unless data.num_test says how many images."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Sorted int64 indices; 0..N-1 are the training images, N.. the extra unlabeled ones."""

    labeled: Indices
    """Images whose label may be used; under the resampled protocol the whole training set."""
    unlabeled: Indices
    validation: Indices
    test: Indices
    """Into the data set's own test images where it has some, else into the training images."""
    num_train: int
    """Size of the training set (told-apart classes, neither validation nor test), of which labeled_rate is a share."""
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
    official_test_labels: NDArray[np.integer] | None = None,
) -> Splits:
    """Split a data set; the same arguments give the same sets on every machine.

    Test and validation are stratified: classes are as frequent as in the data. The labeled images are
    balanced - class counts differ by at most one, and which classes get the remainder is random. Refused where a class
        has too few images for that, unless the budget is at least `NEARLY_ALL` of the training images: then a class
        gives all it has, and the others make up for it;
    proportional - by Webster's method: the next label goes to the class of smallest (count + 1/2) / size.
        (Largest remainders can take a label from a class when the budget grows: budgets would not nest.)
    Images of foreign classes are in none of these sets and come into the unlabeled one only by config.foreign_share.

    Args:
        labels: (N,) integers of the training images: in [0, num_classes) the classes that are told apart, from
            num_classes on the foreign ones (`renumber` makes such labels).
        num_classes: K, the number of classes that are told apart.
        config: label budget, balance, protocol, unlabeled images, and sizes of validation and test.
        split_seed: decides every random choice made here.
        num_extra_unlabeled: images that never had labels; indices N..N+E-1.
        official_test_labels: classes, numbered as in `labels`, of the data set's own test set, which then is the test
            set (without foreign classes); None where there is none, and config.num_test images are split off.

    Raises:
        ConfigError: the sizes do not fit together; the message gives the numbers.
    """
    own = np.flatnonzero(labels < num_classes).astype(np.int64)
    remaining = own
    if official_test_labels is None:
        order = _taking_order(labels, remaining, num_classes, split_seed, "test", balanced=False)
        test = _split_off_test(labels, order, num_classes, config)
        remaining = np.setdiff1d(remaining, test)
    elif config.num_test is not None:
        raise ConfigError(
            f"data.num_test = {config.num_test}: {config.dataset} has a test set of its own, of "
            f"{len(official_test_labels)} images, which every run is tested on; leave the option out"
        )
    else:
        test = np.flatnonzero(official_test_labels < num_classes).astype(np.int64)
    if config.num_validation >= len(remaining):
        raise ConfigError(
            f"data.num_validation = {config.num_validation}: {_name(config)} has {len(remaining)} images "
            "besides the test set, so nothing is left to train on; lower it"
        )
    order = _taking_order(labels, remaining, num_classes, split_seed, "validation", balanced=False)
    validation = np.sort(order[: config.num_validation])
    train = np.setdiff1d(remaining, validation)

    num_labels = _num_labels(config, labels[train], num_classes)
    order = _taking_order(
        labels, train, num_classes, split_seed, "labeled", balanced=config.class_balance == "balanced"
    )
    labeled = train if config.label_protocol == "resampled" else np.sort(order[:num_labels])
    others = np.setdiff1d(train, labeled)
    if config.foreign_share is None:
        extra = len(labels) + np.arange(num_extra_unlabeled, dtype=np.int64)
        others = _first_unlabeled(
            np.concatenate([others, extra]), len(labels) + num_extra_unlabeled, config, split_seed
        )
    else:
        others = _mixed_unlabeled(labels, others, num_classes, config, split_seed, num_extra_unlabeled)
    unlabeled = np.union1d(labeled, others) if config.unlabeled_includes_labeled else others
    if len(unlabeled) == 0:
        raise ConfigError(
            f"data.unlabeled_includes_labeled = false leaves no unlabeled images: {len(labeled)} of {len(train)} "
            "training images are labeled and none is kept besides; set it to true, lower the label budget or raise "
            "data.num_unlabeled"
        )
    return Splits(labeled, unlabeled, validation, test, num_train=len(train), num_labels=num_labels)


def renumber(classes: tuple[int, ...], num_all: int, dataset: str) -> Indices:
    """Make the table old label -> new label that puts `classes` first, in their order, and the others behind them.

    Args:
        classes: the K classes that are told apart.
        num_all: number of classes of the data set.
        dataset: its name, for the message.

    Returns:
        (num_all,) permutation of 0..num_all-1: below K told apart, from K on foreign, in rising order.

    Raises:
        ConfigError: a class that the data set does not have.
    """
    if unknown := [c for c in classes if c >= num_all]:
        raise ConfigError(
            f"data.classes = {list(classes)}: {dataset} has no class {unknown[0]}; its {num_all} classes are "
            f"0 to {num_all - 1}"
        )
    table = np.empty(num_all, dtype=np.int64)
    table[[*classes, *(c for c in range(num_all) if c not in classes)]] = np.arange(num_all)
    return table


def _name(config: DataConfig) -> str:
    """What the told-apart images are called in a message."""
    return config.dataset if config.classes is None else f"data.classes = {list(config.classes)} of {config.dataset}"


def _class_name(config: DataConfig, c: int) -> str:
    """What a told-apart class is called in a message: its number in the data set, from 0."""
    return f"{c if config.classes is None else config.classes[c]} (from 0)"


def _first_unlabeled(candidates: Indices, num_images: int, config: DataConfig, split_seed: int) -> Indices:
    """Keep config.num_unlabeled of the candidates, whatever their class: unlabeled images come as they are."""
    if config.num_unlabeled is None:
        return candidates
    if config.num_unlabeled > len(candidates):
        raise ConfigError(
            f"data.num_unlabeled = {config.num_unlabeled}: {_name(config)} has {len(candidates)} images besides the "
            "labeled, validation and test ones; lower it, or leave it out to keep all"
        )
    # Drawn over all images: a candidate more or less (another label budget) does not reshuffle the others.
    shuffled = numpy_generator(split_seed, "splits/unlabeled").permutation(num_images)
    return np.sort(shuffled[np.isin(shuffled, candidates)][: config.num_unlabeled].astype(np.int64))


def _mixed_unlabeled(
    labels: NDArray[np.integer],
    others: Indices,
    num_classes: int,
    config: DataConfig,
    split_seed: int,
    num_extra_unlabeled: int,
) -> Indices:
    """Unlabeled images of which config.foreign_share is foreign, equally many from each class and at every share.

    The design of Oliver et al. 2018 (P.4) for any classes: with F foreign classes, the U = min(K, F) last classes
    that are told apart give the unlabeled images at share 0, and at share s the first s * U of them are replaced by
    the first s * U foreign ones. For classes 2 to 7 of ten these are {4,5,6,7}, {0,5,6,7}, {0,1,6,7}, {0,1,8,7} and
    {0,1,8,9}, as there. The number of images is config.num_unlabeled, else the most that every share allows.

    Args:
        labels: (N,) classes, the foreign ones from num_classes on.
        others: training images that are not labeled.
        num_classes: K.
        config: share and number.
        split_seed: decides which images of a class are taken.
        num_extra_unlabeled: images without any label, whose class nobody knows.
    """
    share = config.foreign_share
    assert share is not None
    if num_extra_unlabeled:
        raise ConfigError(
            f"data.foreign_share = {share}: {config.dataset} has {num_extra_unlabeled} images of unknown class in "
            "unlabeled/, which may be foreign or not; move them away"
        )
    num_foreign = int(labels.max()) + 1 - num_classes
    if num_foreign < 1:
        raise ConfigError(
            f"data.foreign_share = {share}: data.classes names all {num_classes} classes of {config.dataset}, so none "
            "is foreign; leave some out"
        )
    num_sources = min(num_classes, num_foreign)
    num_replaced = round(share * num_sources)
    if abs(share * num_sources - num_replaced) > 1e-9:
        raise ConfigError(
            f"data.foreign_share = {share}: the unlabeled images come from {num_sources} classes, so the share must be "
            f"a multiple of 1/{num_sources}"
        )
    candidates = np.concatenate([others, np.flatnonzero(labels >= num_classes)])
    at_any_share = range(num_classes - num_sources, num_classes + num_sources)
    per_class = min(int((labels[candidates] == c).sum()) for c in at_any_share)
    total = num_sources * per_class if config.num_unlabeled is None else config.num_unlabeled
    if total > num_sources * per_class:
        raise ConfigError(
            f"data.num_unlabeled = {total}: {num_sources} classes with {per_class} images each, the most that every "
            f"data.foreign_share allows, are {num_sources * per_class}; lower it"
        )
    chosen = [*range(num_classes, num_classes + num_replaced)]
    chosen += range(num_classes - num_sources + num_replaced, num_classes)
    candidates = candidates[np.isin(labels[candidates], chosen)]
    num_all = num_classes + num_foreign
    order = _taking_order(labels, candidates, num_all, split_seed, "unlabeled", balanced=True)
    return np.sort(order[:total])


def _split_off_test(labels: NDArray[np.integer], order: Indices, num_classes: int, config: DataConfig) -> Indices:
    """Take the test set of a data set without one from its images in taking order."""
    if config.num_test is None:
        ordered = labels[order]
        heads = []
        for c in range(num_classes):
            members = order[ordered == c]
            if len(members) < 2:
                raise ConfigError(
                    f"class {_class_name(config, c)} of {config.dataset} has {len(members)} labeled image(s), and "
                    "there is no test/: one is needed for training and one for the test; add images, or a test/ folder"
                )
            heads.append(members[: max(1, round(TEST_SHARE * len(members)))])
        return np.sort(np.concatenate(heads))
    if config.num_test >= len(order):
        raise ConfigError(
            f"data.num_test = {config.num_test}: {_name(config)} has only {len(order)} images and no test set of its "
            "own; lower it"
        )
    return np.sort(order[: config.num_test])


def _num_labels(config: DataConfig, train_labels: NDArray[np.integer], num_classes: int) -> int:
    """Turn the budget into a number of labels, and refuse one that cannot be met by the training images' classes."""
    num_train = len(train_labels)
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
            f"{given}: {_name(config)} has {num_train} training images besides validation and test; lower it"
        )
    if config.class_balance == "balanced" and num_labels < num_classes:
        raise ConfigError(
            f"{given}: fewer labels than the {num_classes} classes of {config.dataset}; use {num_classes} or "
            "more, or set data.class_balance = 'proportional'"
        )
    sizes = np.bincount(train_labels, minlength=num_classes)
    smallest = int(sizes.argmin())
    fewest = int(sizes[smallest])
    most = num_classes * fewest + int((sizes > fewest).sum())
    is_chosen = config.class_balance == "balanced" and config.label_protocol == "fixed"
    if is_chosen and most < num_labels < NEARLY_ALL * num_train:
        raise ConfigError(
            f"{given}: balanced labels are {math.ceil(num_labels / num_classes)} of a class, but class "
            f"{_class_name(config, smallest)} of {config.dataset} has {fewest} training images; use at most {most} "
            "labels, or set data.class_balance = 'proportional'"
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
