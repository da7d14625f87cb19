"""Index sets: disjoint, stratified, nested, reproducible; sizes that do not fit are refused with numbers."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssgan_bench.config import ConfigError, DataConfig
from ssgan_bench.data.splits import Splits, make_splits

NUM_CLASSES = 5
CLASS_SIZES = (40, 60, 80, 100, 120)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(NUM_CLASSES), CLASS_SIZES))


def split(
    seed: int = 0, *, labels: np.ndarray = LABELS, extra: int = 0, official: int | None = None, **data: Any
) -> Splits:
    data = {"num_validation": 50} | ({"num_test": 80} if official is None else {}) | data
    if "labeled_rate" not in data:
        data.setdefault("num_labels", 20)
    return make_splits(
        labels,
        NUM_CLASSES,
        DataConfig(**data),
        seed,
        num_extra_unlabeled=extra,
        official_test_labels=None if official is None else np.arange(official) % NUM_CLASSES,
    )


def class_counts(indices: np.ndarray) -> np.ndarray:
    return np.bincount(LABELS[indices], minlength=NUM_CLASSES)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    num_labels=st.integers(5, 130),
    balance=st.sampled_from(["balanced", "proportional"]),
    includes=st.booleans(),
    official=st.sampled_from([None, 30]),
)
def test_sets_are_sorted_disjoint_and_cover_the_images(
    seed: int, num_labels: int, balance: str, includes: bool, official: int | None
) -> None:
    s = split(
        seed,
        num_labels=num_labels,
        class_balance=balance,
        unlabeled_includes_labeled=includes,
        official=official,
        extra=7,
    )
    for indices in (s.labeled, s.unlabeled, s.validation, s.test):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    own_test = s.test if official is None else np.array([], dtype=np.int64)
    assert len(s.labeled) == s.num_labels == num_labels
    assert len(s.validation) == 50
    training = np.union1d(s.labeled, s.unlabeled[s.unlabeled < len(LABELS)])
    assert len(training) == s.num_train == len(LABELS) - 50 - len(own_test)
    everything = np.concatenate([training, s.validation, own_test])
    assert sorted(everything) == list(range(len(LABELS)))
    assert list(s.unlabeled[-7:]) == list(range(len(LABELS), len(LABELS) + 7))
    assert len(np.intersect1d(s.labeled, s.unlabeled)) == (num_labels if includes else 0)


def test_the_official_test_set_is_used_whole_and_takes_no_training_images() -> None:
    s = split(official=30)
    assert list(s.test) == list(range(30))
    assert s.num_train == len(LABELS) - 50


def test_digests_repeat_across_calls_and_differ_between_seeds() -> None:
    first, again, other = split(3).digests(), split(3).digests(), split(4).digests()
    assert first == again
    assert set(first) == {"labeled", "unlabeled", "validation", "test"}
    assert all(first[name] != other[name] for name in first)


def test_digests_repeat_in_another_process() -> None:
    code = (
        "import numpy as np\n"
        "from ssgan_bench.config import DataConfig\n"
        "from ssgan_bench.data.splits import make_splits\n"
        "c = DataConfig(num_labels=12, num_validation=9, num_test=11)\n"
        "print(make_splits(np.arange(60) % 4, 4, c, 5).digests())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    config = DataConfig(num_labels=12, num_validation=9, num_test=11)
    assert result.stdout.strip() == str(make_splits(np.arange(60) % 4, 4, config, 5).digests())


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({"num_labels": 20}, "bfa08d5a46025eb2"),
        (
            {"num_labels": 23, "unlabeled_includes_labeled": False, "extra": 7, "official": 30},
            "f2a287a97dc75804",
        ),
        ({"labeled_rate": 0.1, "label_protocol": "resampled", "extra": 7}, "3a4198e6a37728b2"),
        ({"num_labels": 33, "class_balance": "proportional", "official": 30}, "6744c0691e74d372"),
    ],
    ids=["fixed", "extra", "resampled", "proportional"],
)
def test_sets_are_those_of_the_first_version(options: dict[str, Any], digest: str) -> None:
    # Taken before unlabeled images could be left out: committed results rest on these sets.
    text = "".join(split(3, **options).digests().values())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_digests_are_those_of_little_endian_int64() -> None:
    # sha256 of the 8 bytes 01 00 00 00 00 00 00 00, computed independently of this package.
    one = Splits(*(np.array([1]) for _ in range(4)), num_train=1, num_labels=1)
    expected = "7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8"
    assert one.digests()["labeled"] == expected


@pytest.mark.parametrize("num_labels", [5, 17, 33, 100])
def test_balanced_class_counts_differ_by_at_most_one(num_labels: int) -> None:
    counts = class_counts(split(num_labels=num_labels).labeled)
    assert counts.max() - counts.min() == (num_labels % NUM_CLASSES > 0)


def test_which_classes_get_the_remainder_is_random() -> None:
    winners = {int(class_counts(split(seed, num_labels=6).labeled).argmax()) for seed in range(40)}
    assert winners == set(range(NUM_CLASSES))


def test_every_image_of_a_class_can_be_labeled_first() -> None:
    # A fixed order within classes would make every split seed label the same images.
    seen = np.unique(np.concatenate([split(seed, official=1).labeled for seed in range(100)]))
    assert len(seen) > 0.9 * len(LABELS)


def test_nearly_all_labels_are_topped_up_when_a_class_runs_out() -> None:
    s = split(num_labels=250, num_test=80, num_validation=50)
    available = class_counts(s.unlabeled)
    counts = class_counts(s.labeled)
    exhausted = counts == available
    assert exhausted.any()
    assert not exhausted.all()
    rest = counts[~exhausted]
    assert rest.max() - rest.min() <= 1
    assert counts[exhausted].max() <= rest.max()


@pytest.mark.parametrize("num_labels", [3, 50, 133])
def test_proportional_class_counts_are_within_one_of_the_exact_share(num_labels: int) -> None:
    s = split(num_labels=num_labels, class_balance="proportional")
    exact = class_counts(s.unlabeled) / s.num_train * num_labels
    assert np.abs(class_counts(s.labeled) - exact).max() < 1


@pytest.mark.parametrize("name", ["test", "validation"])
def test_validation_and_test_are_stratified(name: str) -> None:
    counts = class_counts(getattr(split(), name))
    exact = np.array(CLASS_SIZES) / len(LABELS) * counts.sum()
    assert np.abs(counts - exact).max() < 1.5


@pytest.mark.parametrize("balance", ["balanced", "proportional"])
def test_a_larger_budget_contains_every_smaller_one_on_the_same_validation_and_test(balance: str) -> None:
    smaller = split(9, num_labels=5, class_balance=balance)
    cannot_be_balanced = range(140, 243) if balance == "balanced" else ()  # the smallest class has 27 of 270 images
    for num_labels in range(6, smaller.num_train + 1):
        if num_labels in cannot_be_balanced:
            with pytest.raises(ConfigError, match=r"class 0 .* has 27 training images; use at most 139 labels"):
                split(9, num_labels=num_labels)
            continue
        larger = split(9, num_labels=num_labels, class_balance=balance)
        assert np.isin(smaller.labeled, larger.labeled).all()
        assert len(larger.labeled) == num_labels
        assert (larger.validation == smaller.validation).all()
        assert (larger.test == smaller.test).all()
        smaller = larger


def test_labeled_rate_is_a_share_of_the_training_set() -> None:
    s = split(labeled_rate=0.1)
    assert s.num_train == 270
    assert len(s.labeled) == 27
    assert len(split(labeled_rate=1.0).labeled) == 270


def test_resampled_protocol_may_label_any_training_image_but_keeps_the_budget() -> None:
    fixed, resampled = split(num_labels=30), split(num_labels=30, label_protocol="resampled")
    assert (resampled.labeled == fixed.unlabeled).all()
    assert resampled.num_labels == 30
    assert (resampled.validation == fixed.validation).all()


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"num_labels": 4}, ("data.num_labels = 4", "5 classes", "proportional")),
        ({"labeled_rate": 0.01}, ("data.labeled_rate = 0.01", "3 of 270", "5 classes")),
        ({"labeled_rate": 0.0001}, ("data.labeled_rate = 0.0001", "no labels at all")),
        ({"num_labels": 271}, ("data.num_labels = 271", "270 training images")),
        (
            {"num_labels": 271, "label_protocol": "resampled"},
            ("data.num_labels = 271", "270 training images"),
        ),
        ({"num_test": 400}, ("data.num_test = 400", "400 images")),
        ({"num_test": 390, "num_validation": 10}, ("data.num_validation = 10", "has 10 images")),
        ({"num_validation": 500, "official": 30}, ("data.num_validation = 500", "has 400 images")),
        ({"num_labels": 270, "unlabeled_includes_labeled": False}, ("no unlabeled images", "270")),
        ({"num_unlabeled": 0, "unlabeled_includes_labeled": False}, ("no unlabeled images", "20 of 270")),
        ({"num_unlabeled": 251}, ("data.num_unlabeled = 251", "has 250 images")),
        ({"num_unlabeled": 258, "extra": 7}, ("data.num_unlabeled = 258", "has 257 images")),
        ({"num_unlabeled": 251, "unlabeled_includes_labeled": False}, ("data.num_unlabeled = 251", "has 250 images")),
        ({"label_protocol": "resampled", "unlabeled_includes_labeled": False}, ("resampled", "true")),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_their_numbers(
    options: dict[str, Any], numbers: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        split(**options)
    message = str(caught.value)
    assert "\n" not in message
    assert [number for number in numbers if number not in message] == []


def test_balanced_labels_of_a_class_with_one_image_are_refused() -> None:
    labels = np.array([0] * 30 + [1])
    config = DataConfig(num_labels=10, num_validation=0)
    with pytest.raises(
        ConfigError, match=r"5 of a class, but class 1 \(from 0\) of digits has 1 training images; .* 3 "
    ):
        make_splits(labels, 2, config, 0, official_test_labels=labels)
    few = make_splits(labels, 2, DataConfig(num_labels=3, num_validation=0), 0, official_test_labels=labels)
    assert np.bincount(labels[few.labeled]).tolist() == [2, 1]
    nearly_all = make_splits(labels, 2, DataConfig(num_labels=28, num_validation=0), 0, official_test_labels=labels)
    assert np.bincount(labels[nearly_all.labeled]).tolist() == [27, 1]


def test_redrawn_labels_have_no_balance_to_be_refused() -> None:
    assert split(num_labels=200, label_protocol="resampled").num_labels == 200


def test_without_a_test_set_a_fifth_of_each_class_is_split_off_and_at_least_one_image() -> None:
    labels = np.repeat(np.arange(4), (100, 53, 7, 2))
    for seed in range(5):
        s = make_splits(labels, 4, DataConfig(num_labels=4, num_validation=3), seed)
        assert np.bincount(labels[s.test]).tolist() == [20, 11, 1, 1]
    with pytest.raises(ConfigError, match=r"class 4 \(from 0\) of digits has 1 labeled image"):
        make_splits(np.append(labels, 4), 5, DataConfig(num_labels=5, num_validation=3), 0)


def test_the_test_set_of_a_data_set_takes_no_number() -> None:
    with pytest.raises(ConfigError, match=r"^data\.num_test = 30: digits has a test set of its own, of 30 images"):
        split(official=30, num_test=30)


def test_no_validation_at_all_is_allowed() -> None:
    assert len(split(num_validation=0).validation) == 0


@pytest.mark.parametrize("includes", [True, False])
def test_the_unlabeled_images_are_the_labeled_and_as_many_others_as_asked_for(includes: bool) -> None:
    s = split(num_unlabeled=31, num_labels=25, unlabeled_includes_labeled=includes, extra=40)
    others = np.setdiff1d(s.unlabeled, s.labeled)
    assert len(others) == 31
    assert (others >= len(LABELS)).any()  # images that never had a label are among them
    assert (others < len(LABELS)).any()
    assert len(s.unlabeled) == (56 if includes else 31)
    assert np.isin(s.labeled, s.unlabeled).all() == includes
    assert not np.isin(s.unlabeled, np.concatenate([s.validation, s.test])).any()
    assert s.num_train == 270


def test_no_unlabeled_images_besides_the_labeled_is_a_possible_request() -> None:
    s = split(num_unlabeled=0)
    assert (s.unlabeled == s.labeled).all()
    assert len(s.labeled) == 20


def test_more_unlabeled_images_contain_the_fewer_and_all_of_them_are_the_usual_set() -> None:
    smaller = split(4, num_unlabeled=0)
    for num_unlabeled in range(1, 251):
        larger = split(4, num_unlabeled=num_unlabeled)
        assert np.isin(smaller.unlabeled, larger.unlabeled).all()
        assert len(larger.unlabeled) == 20 + num_unlabeled
        assert [larger.digests()[name] for name in ("labeled", "validation", "test")] == [
            smaller.digests()[name] for name in ("labeled", "validation", "test")
        ]
        smaller = larger
    assert smaller.digests() == split(4).digests()


def test_which_images_stay_unlabeled_depends_on_the_split_seed_and_not_on_their_class() -> None:
    kept = [np.setdiff1d(s.unlabeled, s.labeled) for s in (split(seed, num_unlabeled=100) for seed in range(40))]
    assert len({indices.tobytes() for indices in kept}) == 40
    counts = np.array([class_counts(indices) for indices in kept])
    assert (counts.std(axis=0) > 1).all()  # a balanced or stratified choice would have no spread
