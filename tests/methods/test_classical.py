"""The methods without a network: right on sets whose answer is known, and the same as scikit-learn called directly."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Regression
from threadpoolctl import threadpool_info
from tiny_runs import NUM_CLASSES, NUM_IMAGES, textured_images, tiny_batches, tiny_config, tiny_labels, tiny_splits

from ssgan_bench.config import ConfigError
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.splits import make_splits
from ssgan_bench.methods import classical
from ssgan_bench.methods.base import Method, NetworkMethod, build_method
from ssgan_bench.methods.classical import SMALLEST_PROBABILITY, ClassicalMethod, to_rows
from ssgan_bench.methods.label_spreading import LabelSpreading
from ssgan_bench.methods.logistic_regression import LogisticRegression
from ssgan_bench.methods.poisson_learning import PoissonLearning
from ssgan_bench.training.loop import train

SPREADING, REGRESSION = {"name": "label_spreading"}, {"name": "logistic_regression"}
POISSON = {"name": "poisson_learning"}
METHODS = pytest.mark.parametrize("method", [SPREADING, POISSON, REGRESSION], ids=lambda method: method["name"])
ON_A_GRAPH = pytest.mark.parametrize("method", [SPREADING, POISSON], ids=lambda method: method["name"])


def textured_and_scaled():
    return textured_images().float() / 127.5 - 1


def fitted(config, **data):
    """The only snapshot of a run on the tiny index sets and textured images."""
    snapshots = list(train(config, tiny_batches(config, **{"images": textured_images(), **data}), NUM_CLASSES))
    assert len(snapshots) == 1
    return snapshots[0]


def logits_of(config, **data):
    return fitted(config, **data).classify(textured_and_scaled())


def two_clusters(count=20, distance=1.0):
    """(2 * count, 1, 8, 8) images around two gray levels, and the cluster of each."""
    stream = torch.Generator().manual_seed(0)
    cluster = torch.arange(2 * count) % 2
    noise = 0.05 * torch.randn((2 * count, 1, 8, 8), generator=stream)
    return noise + distance * (cluster - 0.5).reshape(-1, 1, 1, 1), cluster


def fit(method, labeled, labels, unlabeled, num_classes=2, **options):
    config = tiny_config(method=method | options)
    return build_method(config, 1, num_classes).fit(labeled, labels, unlabeled).classify


def test_every_method_is_of_one_kind():
    kinds = {
        cls: [issubclass(cls, kind) for kind in (NetworkMethod, ClassicalMethod)] for cls in Method.by_config.values()
    }
    assert all(sorted(kind) == [False, True] for kind in kinds.values())
    assert {cls for cls, (_, is_classical) in kinds.items() if is_classical} == {
        LabelSpreading,
        PoissonLearning,
        LogisticRegression,
    }


def test_only_methods_on_a_graph_see_unlabeled_images_and_may_miss_some():
    assert LabelSpreading.uses_unlabeled
    assert PoissonLearning.uses_unlabeled
    assert fitted(tiny_config(method=REGRESSION)).reached is None
    assert not LogisticRegression.uses_unlabeled


@METHODS
def test_one_label_per_cluster_is_enough(method):
    images, cluster = two_clusters()
    classify = fit(method, images[:2], cluster[:2], images[2:])
    assert torch.equal(classify(images).argmax(dim=1), cluster)


@ON_A_GRAPH
def test_labels_follow_the_unlabeled_images_where_distance_alone_misleads(method):
    # A chain of gray levels from the labeled image of class 0 towards those of class 1, which are nearer to its end.
    levels = torch.cat([torch.arange(0, 1, 0.05), torch.arange(1.3, 1.4, 0.01)])
    chain = levels.reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    ends, labels = chain[[0, -1]], torch.tensor([0, 1])
    end_of_chain = chain[19:20]
    spread = fit(method, ends, labels, chain[1:-1], n_neighbors=3)
    regression = fit(REGRESSION, ends, labels, chain[:0])
    assert spread(end_of_chain).argmax() == 0
    assert regression(end_of_chain).argmax() == 1


@pytest.mark.parametrize("options", [{}, {"C": 0.01}], ids=["defaults", "others"])
def test_logistic_regression_is_scikit_learns(options):
    config = tiny_config(method=REGRESSION | options)
    labeled = tiny_splits(config).labeled
    rows = to_rows(textured_and_scaled())
    model = Regression(C=options.get("C", 1.0)).fit(rows[labeled], tiny_labels().numpy()[labeled])
    expected = np.maximum(model.predict_proba(rows), SMALLEST_PROBABILITY)
    torch.testing.assert_close(logits_of(config), torch.from_numpy(np.log(expected)).float())


@METHODS
def test_labels_outside_the_labeled_set_are_never_read(method):
    config = tiny_config(method=method)
    garbage = torch.full_like(tiny_labels(), -7)
    labeled = torch.from_numpy(tiny_splits(config).labeled)
    garbage[labeled] = tiny_labels()[labeled]
    assert torch.equal(logits_of(config), logits_of(config, labels=garbage))
    swapped = tiny_labels()
    swapped[labeled] = (swapped[labeled] + 1) % NUM_CLASSES
    assert not torch.equal(logits_of(config), logits_of(config, labels=swapped))


def test_unlabeled_images_change_methods_on_a_graph_and_nothing_else():
    changed = textured_images()
    config = tiny_config(method=SPREADING)
    splits = tiny_splits(config)
    only_unlabeled = np.setdiff1d(splits.unlabeled, splits.labeled)
    changed[only_unlabeled] = changed[only_unlabeled].flip(0)
    changed[only_unlabeled[: len(only_unlabeled) // 2]] = 0
    for method, is_same in ((SPREADING, False), (POISSON, False), (REGRESSION, True)):
        config = tiny_config(method=method)
        assert torch.equal(logits_of(config), logits_of(config, images=changed)) == is_same


@METHODS
def test_validation_and_test_images_change_nothing(method):
    config = tiny_config(method=method)
    splits = tiny_splits(config)
    changed = textured_images()
    changed[np.r_[splits.validation, splits.test]] = 255
    assert torch.equal(logits_of(config), logits_of(config, images=changed))


@METHODS
def test_an_image_that_is_both_labeled_and_unlabeled_counts_once(method):
    among, apart = (
        tiny_config(method=method, data={"unlabeled_includes_labeled": included}) for included in (True, False)
    )
    assert torch.equal(logits_of(among), logits_of(apart))


@METHODS
def test_the_result_is_repeatable_bit_for_bit_and_the_model_seed_decides_nothing(method):
    first = logits_of(tiny_config(method=method))
    torch.rand(5), np.random.rand(5)  # noqa: NPY002  (global generators must not matter)
    assert torch.equal(first, logits_of(tiny_config(method=method)))
    assert torch.equal(first, logits_of(tiny_config(method=method, model_seed=123)))
    assert not torch.equal(first, logits_of(tiny_config(method=method, split_seed=1)))


@METHODS
def test_an_image_is_classified_by_itself(method):
    classify = fitted(tiny_config(method=method)).classify
    images = textured_and_scaled()
    together = classify(images)
    order = torch.randperm(NUM_IMAGES, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(classify(images[order]), together[order])
    torch.testing.assert_close(torch.cat([classify(part) for part in images.split(7)]), together)


@METHODS
def test_no_probability_is_zero_or_undefined(method):
    logits = logits_of(tiny_config(method=method))
    assert logits.dtype == torch.float32
    assert logits.shape == (NUM_IMAGES, NUM_CLASSES)
    assert logits.exp().sum(dim=1).sub(1).abs().max() < 1e-5
    images, cluster = two_clusters()
    classify = fit(method, images[:2], cluster[:2], images[2:])
    # Nothing links the clusters, so label spreading rules a class out.
    assert classify(images).min() >= torch.tensor(SMALLEST_PROBABILITY).log() - 1e-6


@METHODS
def test_a_class_without_a_label_is_never_predicted(method):
    images, cluster = two_clusters()
    classify = fit(method, images[:2], torch.tensor([3, 1])[cluster[:2]], images[2:], num_classes=5)
    logits = classify(images)
    assert torch.equal(logits.argmax(dim=1), torch.tensor([3, 1])[cluster])
    assert logits[:, [0, 2, 4]].exp().max() < 2 * SMALLEST_PROBABILITY


@METHODS
def test_large_images_are_shrunk_for_fitting_and_for_classifying_alike(method):
    stream = torch.Generator().manual_seed(0)
    images = torch.rand((30, 1, 64, 64), generator=stream)
    assert to_rows(images).shape == (30, 32 * 32)
    torch.testing.assert_close(to_rows(images).mean(), images.double().mean().item(), rtol=1e-3, atol=0)
    classify = fit(method, images[:10], torch.arange(10) % 2, images[10:])
    assert classify(images).shape == (30, 2)


def test_a_fit_that_does_not_converge_fails_and_says_what_to_change(monkeypatch):
    monkeypatch.setattr("ssgan_bench.methods.logistic_regression.MOST_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match=r"did not converge in 1 iterations; lower method\.C = 1\.0$"):
        fitted(tiny_config(method=REGRESSION))


@METHODS
def test_one_label_per_class_warns_of_nothing(method):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(tiny_config(method=method, data={"num_labels": NUM_CLASSES}))
    assert caught == []


@METHODS
def test_a_fit_uses_as_many_threads_as_configured(method, monkeypatch):
    seen = []
    cls = Method.by_config[type(tiny_config(method=method).method)]
    original = cls.fit_rows

    def spied(self, *sets):
        seen.append([library["num_threads"] for library in threadpool_info()])
        predict = original(self, *sets)

        def spied_predict(rows):
            seen.append([library["num_threads"] for library in threadpool_info()])
            return predict(rows)

        return spied_predict

    monkeypatch.setattr(cls, "fit_rows", spied)
    before = torch.get_num_threads()
    logits_of(tiny_config(method=method, train={"num_threads": 2}))
    assert [set(counts) for counts in seen] == [{2}, {2}]
    assert torch.get_num_threads() == before


def check(config, **data):
    Method.by_config[type(config.method)].check(config, tiny_batches(config, **data))


@METHODS
def test_labels_redrawn_for_every_batch_are_refused(method):
    config = tiny_config(method=method, data={"label_protocol": "resampled", "labeled_rate": 0.5, "num_labels": None})
    with pytest.raises(ConfigError, match=r"^data\.label_protocol = 'resampled': .* leave the arm out$"):
        check(config)
    with pytest.raises(ConfigError, match="resampled"):
        fitted(config)


@pytest.mark.parametrize(
    ("method", "limit", "message"),
    [
        (SPREADING, "MOST_MULTIPLICATIONS", "50 images of 256 pixels need 5.3e+08 multiplications"),
        (REGRESSION, "MOST_MULTIPLICATIONS", "10 images of 256 pixels need 2.6e+06 multiplications"),
        (SPREADING, "MOST_MEMORY_MIB", "50 images of 256 pixels need 0 MiB of memory"),
    ],
)
def test_what_is_too_large_is_refused_with_numbers_and_a_remedy(monkeypatch, method, limit, message):
    config = tiny_config(method=method)
    check(config)
    monkeypatch.setattr(classical, limit, 0.1)
    with pytest.raises(ConfigError) as caught:
        check(config)
    assert f"method.name = '{method['name']}': {message}" in str(caught.value)
    assert str(caught.value).endswith("or leave the arm out")
    assert ("data.num_unlabeled" in str(caught.value)) == (method == SPREADING)


@pytest.mark.parametrize(
    ("num_images", "channels", "size", "fits"),
    [
        (59_000, 1, 32, True),  # MNIST
        (59_000, 1, 64, True),  # shrunk to 32x32
        (72_000, 3, 32, False),  # SVHN
    ],
)
def test_the_limit_lets_mnist_pass_and_svhn_not(num_images, channels, size, fits):
    config = tiny_config(
        method=SPREADING, data={"image_size": size, "num_validation": 0, "num_test": 1, "num_labels": 10}
    )
    images = torch.zeros((1, channels, size, size), dtype=torch.uint8).expand(num_images, -1, -1, -1)
    labels = torch.arange(num_images) % 10
    splits = make_splits(labels.numpy(), 10, config.data, 0)
    batches = Batches(images, labels, splits, config, uses_unlabeled=True)
    if fits:
        LabelSpreading.check(config, batches)
    else:
        with pytest.raises(ConfigError, match="ten minutes"):
            LabelSpreading.check(config, batches)
