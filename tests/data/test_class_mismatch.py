"""Class mismatch: which classes are told apart, which unlabeled images are foreign, and how many there are."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ssgan_bench.config import ConfigError, DataConfig
from ssgan_bench.data.splits import Splits, make_splits, renumber

CLASS_SIZES = (90, 95, 100, 105, 110, 100, 100, 100, 100, 100)
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(10), CLASS_SIZES))
OWN = (2, 3, 4, 5, 6, 7)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def split(seed: int = 0, *, extra: int = 0, official: np.ndarray | None = None, **data: Any) -> Splits:
    data = (
        {"num_labels": 60, "num_validation": 60, "classes": OWN}
        | ({} if official is not None else {"num_test": 120})
        | data
    )
    if "foreign_share" in data:
        data.setdefault("unlabeled_includes_labeled", False)
    config = DataConfig(**data)
    assert config.classes is not None
    table = renumber(config.classes, 10, "digits")
    return make_splits(
        table[LABELS],
        len(config.classes),
        config,
        seed,
        num_extra_unlabeled=extra,
        official_test_labels=None if official is None else table[official],
    )


def classes_of(indices: np.ndarray) -> set[int]:
    """Classes in the data set's own numbering."""
    return set(LABELS[indices].tolist())


def test_the_classes_told_apart_come_first_in_their_order_and_the_foreign_ones_behind() -> None:
    table = renumber(OWN, 10, "digits")
    assert table[list(OWN)].tolist() == [0, 1, 2, 3, 4, 5]
    assert table[[0, 1, 8, 9]].tolist() == [6, 7, 8, 9]
    assert renumber((3, 0), 4, "x").tolist() == [1, 2, 3, 0]
    assert renumber(tuple(range(10)), 10, "x").tolist() == list(range(10))


def test_labeled_validation_and_test_images_are_of_the_classes_told_apart() -> None:
    official = np.arange(50) % 10
    for s in (split(), split(official=official), split(foreign_share=0.5), split(class_balance="proportional")):
        assert classes_of(s.labeled) == classes_of(s.validation) == set(OWN)
        assert np.bincount(LABELS[s.labeled]).max() <= 12
    assert classes_of(split().test) == set(OWN)
    assert set(official[split(official=official).test].tolist()) == set(OWN)
    assert len(split(official=official).test) == 30
    assert classes_of(split().unlabeled) == set(OWN)  # foreign images come in by foreign_share alone
    assert split().num_train == sum(CLASS_SIZES[2:8]) - 60 - 120
    assert len(split(num_labels=None, labeled_rate=0.1).labeled) == round(0.1 * split().num_train)


@pytest.mark.parametrize(
    ("share", "sources"),
    [(0.0, {4, 5, 6, 7}), (0.25, {0, 5, 6, 7}), (0.5, {0, 1, 6, 7}), (0.75, {0, 1, 8, 7}), (1.0, {0, 1, 8, 9})],
)
def test_the_sources_of_unlabeled_images_are_those_of_oliver_et_al(share: float, sources: set[int]) -> None:
    for number in (None, 200):
        s = split(3, foreign_share=share, num_unlabeled=number)
        assert classes_of(s.unlabeled) == sources
        assert len(set(np.bincount(LABELS[s.unlabeled])[sorted(sources)].tolist())) == 1
        foreign = np.isin(LABELS[s.unlabeled], OWN, invert=True)
        assert foreign.mean() == share


@pytest.mark.parametrize("number", [None, 200, 201])
def test_the_number_of_unlabeled_images_and_all_other_sets_are_the_same_at_every_share(number: int | None) -> None:
    for seed in range(5):
        found = [split(seed, foreign_share=share, num_unlabeled=number) for share in SHARES]
        assert len({len(s.unlabeled) for s in found}) == 1
        assert number is None or len(found[0].unlabeled) == number
        assert len({(s.digests()["labeled"], s.digests()["validation"], s.digests()["test"]) for s in found}) == 1
        assert len({s.digests()["unlabeled"] for s in found}) == 5


def test_unlabeled_images_of_a_mix_are_in_no_other_set_and_nested_over_sizes() -> None:
    for share in SHARES:
        smaller = np.array([], dtype=np.int64)
        for number in (1, 7, 40, 200, None):
            s = split(1, foreign_share=share, num_unlabeled=number)
            assert not np.isin(s.unlabeled, np.concatenate([s.labeled, s.validation, s.test])).any()
            assert (np.diff(s.unlabeled) > 0).all()
            assert np.isin(smaller, s.unlabeled).all()
            smaller = s.unlabeled


def test_other_classes_and_numbers_follow_the_same_rule() -> None:
    # Two of ten told apart: two sources, replaced by the two lowest foreign ones.
    two: dict[str, Any] = {"classes": (5, 3), "num_labels": 10, "num_test": 60}
    assert classes_of(split(**two, foreign_share=0.0).unlabeled) == {5, 3}
    assert classes_of(split(**two, foreign_share=0.5).unlabeled) == {0, 3}
    assert classes_of(split(**two, foreign_share=1.0).unlabeled) == {0, 1}
    # Nine of ten: one source.
    nine = tuple(range(9))
    assert classes_of(split(classes=nine, foreign_share=1.0, num_labels=90).unlabeled) == {9}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": (2, 10)}, ("data.classes = [2, 10]", "no class 10", "0 to 9")),
        ({"foreign_share": 0.3}, ("data.foreign_share = 0.3", "4 classes", "multiple of 1/4")),
        ({"foreign_share": 0.5, "classes": tuple(range(10))}, ("data.foreign_share = 0.5", "none is foreign")),
        ({"foreign_share": 0.5, "extra": 9}, ("data.foreign_share = 0.5", "9 images of unknown class")),
        ({"foreign_share": 0.5, "num_unlabeled": 1000}, ("data.num_unlabeled = 1000", "4 classes with", "lower it")),
        ({"num_labels": 5}, ("data.num_labels = 5", "6 classes")),
        ({"num_labels": 436}, ("data.num_labels = 436", "435 training images", "[2, 3, 4, 5, 6, 7] of digits")),
        ({"num_test": 700}, ("data.num_test = 700", "615 images")),
    ],
)
def test_impossible_requests_are_refused_with_their_numbers(options: dict[str, Any], says: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        split(**options)
    assert "\n" not in str(caught.value)
    assert [text for text in says if text not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": (2, 2)}, "a class stands twice"),
        ({"classes": (2,)}, "at least 2"),
        ({"classes": ("2", "3")}, "valid integer"),
        ({"foreign_share": 0.5, "unlabeled_includes_labeled": False}, "give data.classes as well"),
        ({"foreign_share": 0.5, "classes": OWN}, "set data.unlabeled_includes_labeled = false"),
        ({"num_unlabeled": 9, "label_protocol": "resampled"}, "so there are none besides"),
    ],
)
def test_contradictions_are_refused_before_any_data_is_read(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says.replace(".", r"\.")):
        DataConfig(num_labels=20, **options)


def test_classes_may_be_written_as_a_list_as_study_files_and_records_do() -> None:
    config = DataConfig.model_validate({"num_labels": 20, "classes": [2, 3]})
    assert config.classes == (2, 3)
    assert DataConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_run_sees_renumbered_labels_and_a_test_set_without_foreign_images() -> None:
    from ssgan_bench.data.datasets import ImageData
    from ssgan_bench.data.on_device import DeviceData

    images = torch.zeros(1000, 1, 8, 8, dtype=torch.uint8)
    test_labels = torch.arange(50) % 10
    data = ImageData(
        name="digits",
        train_images=images,
        train_labels=torch.from_numpy(LABELS),
        test_images=torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1).expand(50, 1, 8, 8),
        test_labels=test_labels,
        unlabeled_images=None,
        class_names=tuple("0123456789"),
        sha256="0" * 64,
    )
    whole = DeviceData.from_images(data, torch.device("cpu"))
    config = DataConfig(num_labels=60, num_validation=60, classes=OWN)
    assert whole.told_apart(DataConfig(num_labels=60)) is whole
    own = whole.told_apart(config)
    assert own.num_classes == 6
    splits = make_splits(own.labels.numpy(), 6, config, 0, official_test_labels=renumber(OWN, 10, "x")[test_labels])
    seen_images, seen_labels = own.test_set(splits)
    kept = [i for i in range(50) if i % 10 in OWN]
    assert seen_images[:, 0, 0, 0].tolist() == kept
    assert seen_labels.tolist() == [i % 10 - 2 for i in kept]
    for index in (splits.labeled, splits.validation):
        assert own.labels[index].tolist() == [int(c) - 2 for c in LABELS[index]]
