from collections import Counter

import numpy as np
import pytest
import torch
from tiny_runs import NUM_IMAGES, drawn, tiny_batches, tiny_config, tiny_images, tiny_labels, tiny_splits

from ssgan_bench.config import ConfigError
from ssgan_bench.data.batches import scale_images
from ssgan_bench.seeding import generator

FIELDS = ("images", "labels", "labeled_mask")
RESAMPLED = {"label_protocol": "resampled", "num_labels": None, "labeled_rate": 0.4}
SUPERVISED = {"name": "supervised"}


def assert_same_batch(one, other):
    assert one.unlabeled == other.unlabeled
    for field in FIELDS:
        assert torch.equal(getattr(one, field), getattr(other, field)), field


@pytest.mark.parametrize("data", [{}, RESAMPLED], ids=["fixed", "resampled"])
def test_a_batch_is_a_function_of_its_step_alone(data):
    config = tiny_config(data=data)
    batches = tiny_batches(config)
    in_order = [batches(step) for step in range(20)]  # more than three epochs
    for step in (13, 2, 19, 0, 2, 7):
        assert_same_batch(batches(step), in_order[step])
        assert_same_batch(tiny_batches(config)(step), in_order[step])


@pytest.mark.parametrize("data", [{}, RESAMPLED], ids=["fixed", "resampled"])
def test_another_model_seed_draws_other_batches(data):
    one, other = (tiny_batches(tiny_config(data=data, model_seed=seed))(0) for seed in (0, 1))
    assert drawn(one.images) != drawn(other.images)


def test_fixed_batches_hold_labeled_images_first_and_then_unlabeled_ones():
    config = tiny_config()
    splits = tiny_splits(config)
    batch = tiny_batches(config)(3)
    index = drawn(batch.images)
    assert batch.labeled_mask.tolist() == [1.0] * 4 + [0.0] * 8
    assert set(index[:4]) <= set(splits.labeled.tolist())
    assert set(index[batch.unlabeled]) <= set(splits.unlabeled.tolist())
    assert len(index[batch.unlabeled]) == 8
    assert batch.labels.tolist() == tiny_labels()[index].tolist()
    assert (batch.images.dtype, batch.labels.dtype, batch.labeled_mask.dtype) == (
        torch.float32,
        torch.int64,
        torch.float32,
    )


def test_an_epoch_draws_every_unlabeled_image_at_most_once_in_an_order_of_its_own():
    batches = tiny_batches(tiny_config())
    assert batches.steps_per_epoch == 50 // 8
    epochs = []
    for epoch in range(2):
        steps = range(epoch * 6, epoch * 6 + 6)
        epochs.append([i for step in steps for i in drawn(batches(step).images[batches(step).unlabeled])])
    assert [len(set(index)) for index in epochs] == [48, 48]
    assert epochs[0] != epochs[1]


def test_images_of_a_fresh_generator_batch_have_an_order_of_their_own_of_the_same_set():
    batches = tiny_batches(tiny_config(method={"preset": "improved_gan", "generator_batch": "fresh"}))
    own, others = [], []
    for step in range(6):
        batch = batches(step)
        assert torch.equal(batch.to_match, batch.others)
        own += drawn(batch.images[batch.unlabeled])
        others += drawn(batch.others)
    assert len(set(others)) == 48
    assert set(others) <= set(tiny_splits(batches.config).unlabeled.tolist())
    assert own != others
    distorted = tiny_config(method=batches.config.method.model_dump(), train={"augmentation": 2.0})
    assert not torch.equal(tiny_batches(distorted)(0).others, batches(0).others)
    same = tiny_batches(tiny_config(method={"preset": "improved_gan"}))(0)
    assert same.others is None
    assert drawn(same.to_match) == own[:8]


@pytest.mark.parametrize("size", [1, 4, 10, 25], ids="labeled_batch_size={}".format)
def test_the_endless_cycle_uses_all_labels_equally_often(size):
    config = tiny_config(train={"labeled_batch_size": size})
    batches = tiny_batches(config)
    counts = Counter[int]()
    for step in range(20):
        counts.update(drawn(batches(step).images[:size]))
        assert max(counts.values()) - min(counts.get(i, 0) for i in tiny_splits(config).labeled.tolist()) <= 1
    assert set(counts) == set(tiny_splits(config).labeled.tolist())
    assert set(counts.values()) == {20 * size // 10}


def test_the_cycle_is_shuffled_anew_each_time_round():
    batches = tiny_batches(tiny_config(train={"labeled_batch_size": 10}))
    first, second = drawn(batches(0).images[:10]), drawn(batches(1).images[:10])
    assert sorted(first) == sorted(second)
    assert first != second


def test_labeled_images_can_be_kept_out_of_the_unlabeled_ones():
    config = tiny_config(data={"unlabeled_includes_labeled": False})
    batches = tiny_batches(config)
    labeled = set(tiny_splits(config).labeled.tolist())
    unlabeled = {i for step in range(12) for i in drawn(batches(step).images[batches(step).unlabeled])}
    assert not labeled & unlabeled


@pytest.mark.parametrize(("rate", "batch_size", "count"), [(0.2, 8, 1), (0.4, 8, 3), (0.99, 8, 7), (0.2, 50, 10)])
def test_the_resampled_mask_keeps_the_articles_number_of_labels(rate, batch_size, count):
    config = tiny_config(data={**RESAMPLED, "labeled_rate": rate}, train={"batch_size": batch_size})
    for step in range(5):
        batch = tiny_batches(config)(step)
        assert batch.labeled_mask.sum() == count  # int(rate * B)
        assert len(batch.labeled_mask) == batch_size
        assert drawn(batch.images[batch.unlabeled]) == drawn(batch.images)  # every row counts as unlabeled


def test_the_resampled_mask_is_redrawn_and_so_uses_almost_every_label():
    config = tiny_config(data=RESAMPLED)
    batches = tiny_batches(config)
    seen = set()
    for step in range(12 * batches.steps_per_epoch):
        batch = batches(step)
        seen |= set(drawn(batch.images[batch.labeled_mask == 1]))
    assert tiny_splits(config).num_labels == 20
    assert len(seen) >= 45  # of 50; a mask drawn once would use 20


@pytest.mark.parametrize("data", [{}, RESAMPLED], ids=["fixed", "resampled"])
def test_the_supervised_baseline_sees_the_labeled_images_of_the_gan_and_no_others(data):
    gan, supervised = (
        tiny_batches(tiny_config(data=data, method=method)) for method in ({"preset": "article"}, SUPERVISED)
    )
    for step in range(14):
        real = gan(step)
        alone = supervised(step)
        assert drawn(alone.images) == drawn(real.images[real.labeled_mask == 1])
        assert alone.labels.tolist() == real.labels[real.labeled_mask == 1].tolist()
        assert alone.labeled_mask.all()


def test_images_for_initialization_are_those_the_method_may_see():
    config = tiny_config(method=SUPERVISED)
    labeled = tiny_splits(config).labeled.tolist()
    assert sorted(drawn(tiny_batches(config).images_for_initialization())) == labeled
    config = tiny_config()
    chosen = drawn(tiny_batches(config).images_for_initialization(count=20))
    assert len(set(chosen)) == 20
    assert set(chosen) <= set(tiny_splits(config).unlabeled.tolist())


@pytest.mark.parametrize("included", [True, False])
@pytest.mark.parametrize("name", ["label_spreading", "logistic_regression"])
def test_whole_sets_hold_every_image_the_method_may_see_once(name, included):
    config = tiny_config(method={"name": name}, data={"unlabeled_includes_labeled": included})
    splits, batches = tiny_splits(config), tiny_batches(config)
    labeled, labels, unlabeled = batches.whole_sets()
    assert drawn(labeled) == splits.labeled.tolist()
    assert torch.equal(labels, tiny_labels()[torch.from_numpy(splits.labeled)])
    others = np.setdiff1d(splits.unlabeled, splits.labeled).tolist() if name == "label_spreading" else []
    assert drawn(unlabeled) == others
    assert batches.set_sizes == (10, len(others)) == (10, 40 if others else 0)


def test_a_batch_larger_than_the_unlabeled_set_repeats_its_images_equally_often():
    config = tiny_config(data={"num_unlabeled": 3}, train={"batch_size": 20})
    pool = tiny_splits(config).unlabeled.tolist()
    assert len(pool) == 13
    batches = tiny_batches(config)
    counts = Counter[int]()
    for step in range(13):
        batch = batches(step)
        counts.update(drawn(batch.images[batch.unlabeled]))
        assert counts.total() == 20 * (step + 1)
        assert max(counts.values()) - min(counts[i] for i in pool) <= 1
    assert counts == dict.fromkeys(pool, 20)
    assert drawn(batches(0).images) != drawn(batches(13).images)
    assert_same_batch(batches(2), tiny_batches(config)(2))


@pytest.mark.parametrize(("batch_size", "steps"), [(50, 1), (26, 1), (25, 2), (8, 6)])
def test_an_epoch_is_as_many_full_batches_as_there_are(batch_size, steps):
    assert tiny_batches(tiny_config(train={"batch_size": batch_size})).steps_per_epoch == steps


def shuffled(pool, seed, name, epoch):
    """What an order must be: PyTorch's permutation by the named stream, applied to the sorted index set."""
    return pool[torch.randperm(len(pool), generator=generator(seed, name, epoch)).numpy()].tolist()


@pytest.mark.parametrize("model_seed", [0, 5])
@pytest.mark.parametrize("batch_size", [8, 13, 50])
def test_sets_that_fill_a_batch_are_drawn_as_in_the_first_version(batch_size, model_seed):
    # Written down independently, from the code with which the first committed results were made.
    config = tiny_config(train={"batch_size": batch_size}, model_seed=model_seed)
    labeled, unlabeled = (getattr(tiny_splits(config), name) for name in ("labeled", "unlabeled"))
    per_epoch = 50 // batch_size
    batches = tiny_batches(config)
    for step in range(15):
        endless = [i for epoch in range(7) for i in shuffled(labeled, model_seed, "labeled", epoch)]
        order = shuffled(unlabeled, model_seed, "unlabeled", step // per_epoch)
        start = step % per_epoch * batch_size
        expected = endless[4 * step : 4 * step + 4] + order[start : start + batch_size]
        assert drawn(batches(step).images) == expected


def test_masks_are_drawn_as_in_the_first_version():
    config = tiny_config(data=RESAMPLED)
    unlabeled = tiny_splits(config).unlabeled
    batches = tiny_batches(config)
    for step in range(15):
        start = step % 6 * 8
        rows = np.array(shuffled(unlabeled, 0, "unlabeled", step // 6)[start : start + 8])
        batch = batches(step)
        assert drawn(batch.images) == shuffled(rows, 0, "mask", step)
        assert batch.labeled_mask.tolist() == [1.0] * 3 + [0.0] * 5


@pytest.mark.parametrize("method", [{"preset": "article"}, SUPERVISED], ids=["gan", "supervised"])
@pytest.mark.parametrize(
    ("data", "size"), [({}, 4), ({}, 7), ({}, 25), (RESAMPLED, 4)], ids=["fixed", "odd", "large", "resampled"]
)
def test_labels_used_are_the_distinct_labeled_rows_of_all_batches_so_far(method, data, size):
    config = tiny_config(method=method, data=data, train={"labeled_batch_size": size})
    batches, asked = tiny_batches(config), tiny_batches(config)
    seen, counts = set(), [0]
    for step in range(30):
        batch = batches(step)
        seen |= set(drawn(batch.images[batch.labeled_mask == 1]))
        counts.append(len(seen))
        assert batches.labels_used(step + 1) == counts[-1]  # asked after every step
    assert [asked.labels_used(step) for step in (0, 5, 5, 17, 30, 3)] == [counts[i] for i in (0, 5, 5, 17, 30, 3)]
    assert counts[-1] == (10 if not data else counts[-1])


def test_a_batch_larger_than_all_there_is_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"^train\.batch_size = 51: larger than the 50 unlabeled images of digits"):
        tiny_batches(tiny_config(train={"batch_size": 51}))


def test_asking_for_the_labels_used_does_not_change_what_is_drawn():
    config = tiny_config(data=RESAMPLED)
    asked, not_asked = tiny_batches(config), tiny_batches(config)
    for step in range(14):
        assert_same_batch(asked(step), not_asked(step))
        asked.labels_used(step + 1)


def test_a_rate_that_masks_every_label_is_refused_with_the_numbers():
    config = tiny_config(data={**RESAMPLED, "labeled_rate": 0.1})
    with pytest.raises(ConfigError, match=r"a labeled rate of 0\.1 keeps no label in a batch of 8"):
        tiny_batches(config)


@pytest.mark.parametrize("method", [{"preset": "article"}, SUPERVISED], ids=["gan", "supervised"])
def test_fixed_labels_can_be_as_many_per_step_as_the_mask_keeps(method):
    as_masked = {"labeled_batch_size": "as_masked"}
    config = tiny_config(method=method, data={**RESAMPLED, "label_protocol": "fixed"}, train=as_masked)
    fixed = tiny_batches(config)
    masked = tiny_batches(tiny_config(method=method, data=RESAMPLED, train=as_masked))
    for step in range(10):
        assert fixed(step).labeled_mask.sum() == masked(step).labeled_mask.sum() == 3
        assert set(drawn(fixed(step).images[:3])) <= set(tiny_splits(config).labeled.tolist())
        assert fixed.images_per_step == len(fixed(step).images)
        assert masked.images_per_step == len(masked(step).images)
    assert [fixed.labels_used(step) for step in (1, 6, 7, 50)] == [3, 18, 20, 20]
    with pytest.raises(ConfigError, match=r"'as_masked': a labeled rate of 0\.1 keeps no label in a batch of 8"):
        tiny_batches(tiny_config(data={"num_labels": None, "labeled_rate": 0.1}, train=as_masked))


def test_pixels_are_scaled_from_0_255_to_minus_one_one():
    images = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 8, 8)
    for size in (8, 16, 5):
        scaled = scale_images(images, size)
        assert scaled.shape == (4, 3, size, size)
        assert scaled.dtype == torch.float32
        torch.testing.assert_close(scaled[:, 0, 2, 3], torch.tensor([-1.0, -0.6, 0.6, 1.0]))
        assert -1 <= scaled.min() <= scaled.max() <= 1


def bilinear(size_in, size_out):
    """(size_out, size_in) interpolation matrix with half-pixel centers; shrinking widens the triangle filter."""
    scale = size_in / size_out
    centers = (np.arange(size_out) + 0.5) * scale
    distance = np.abs(np.arange(size_in) + 0.5 - centers[:, None].clip(0.5, size_in - 0.5)) / max(scale, 1)
    weights = np.maximum(0, 1 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("size_in", "size_out"), [(8, 16), (28, 32), (8, 11), (32, 16), (28, 16)])
def test_resizing_is_bilinear_and_shrinking_averages(size_in, size_out):
    stream = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, size_in, size_in), generator=stream, dtype=torch.uint8)
    matrix = bilinear(size_in, size_out)
    expected = matrix @ (images.numpy() / 127.5 - 1) @ matrix.T
    np.testing.assert_allclose(scale_images(images, size_out), expected, atol=2e-6)


def test_scaling_leaves_the_data_set_as_it_is():
    images = tiny_images()
    scale_images(images, 16)
    scale_images(images, 8)
    assert torch.equal(images, tiny_images())
    assert len(images) == NUM_IMAGES
