"""Label spreading: the closed form at every node, what the fit chooses itself, and images that no label reaches."""

import numpy as np
import pytest
import torch
from graphs import chain, dense_weights, digits, digits_without_ties, distances_to, first_of_each_class, fit
from tiny_runs import NUM_CLASSES, textured_images, tiny_batches, tiny_config, tiny_labels, tiny_splits

from ssgan_bench.config import ConfigError
from ssgan_bench.methods import neighbor_graph
from ssgan_bench.methods.base import build_method
from ssgan_bench.methods.classical import Spent
from ssgan_bench.methods.label_spreading import LabelSpreading, folds_of
from ssgan_bench.methods.neighbor_graph import NeighborGraph, normalized
from ssgan_bench.training.loop import train

SPREADING = {"name": "label_spreading"}


def spreading(num_classes=10, **options):
    return build_method(tiny_config(method=SPREADING | options), 1, num_classes)


def closed_form(weights, alpha, given):
    """(1 - alpha) (I - alpha S)^-1 Y, all dense."""
    degrees = weights.sum(axis=1)
    similarity = weights / np.sqrt(np.outer(degrees, degrees))
    return (1 - alpha) * np.linalg.solve(np.eye(len(weights)) - alpha * similarity, given)


@pytest.mark.parametrize("alpha", [0.2, 0.9, 0.99])
def test_every_one_of_1797_digits_gets_the_closed_forms_labels(alpha):
    rows, labels = digits()
    weights = NeighborGraph(rows, 7).weights(7, "equal")
    given = np.zeros((len(rows), 10))
    known = first_of_each_class(labels, 1)
    given[known, labels[known]] = 1.0
    spread = spreading().spread(normalized(weights), alpha, given)
    expected = closed_form(weights.toarray(), alpha, given)
    arrived = expected.sum(axis=1)
    reached = arrived > 0
    assert 0.98 < reached.mean() < 1  # a few digits are a part of the graph by themselves
    assert arrived.max() > 10 * arrived[reached].min()  # and some are far from any label
    error = np.abs(spread - expected).max(axis=1)
    assert (error[reached] / arrived[reached]).max() < 1e-6
    np.testing.assert_array_equal(spread.any(axis=1), reached)


@pytest.mark.parametrize("alpha", [0.2, 0.99])
def test_a_label_arrives_at_the_end_of_a_long_chain(alpha):
    rows = np.arange(200.0)[:, None]
    similarity = normalized(NeighborGraph(rows, 3).weights(3, "equal"))
    given = np.zeros((200, 2))
    given[[0, 1], [0, 1]] = 1.0
    spread = spreading().spread(similarity, alpha, given)
    assert (spread > 0).all()
    np.testing.assert_allclose(spread, closed_form(dense_weights(rows, 3), alpha, given), rtol=1e-5)


def test_a_new_image_gets_the_mean_of_its_neighbors_distributions():
    rows, labels = digits_without_ties()
    known = first_of_each_class(labels[:1000], 5)
    order = np.concatenate([known, np.setdiff1d(np.arange(1000), known)])
    predict = spreading(alpha=0.99, n_neighbors=8).fit_rows(rows[known], labels[known], rows[order[50:]])
    given = np.zeros((1000, 10))
    given[np.arange(50), labels[known]] = 1.0
    solution = closed_form(dense_weights(rows[order], 8), 0.99, given)
    solution /= solution.sum(axis=1, keepdims=True)
    nearest = np.argsort(distances_to(rows[order], rows[1000:]), axis=1)[:, :8]
    np.testing.assert_allclose(predict(rows[1000:]), solution[nearest].mean(axis=1), atol=1e-6)


def test_images_that_no_label_reaches_are_reported_and_all_classes_are_as_likely():
    near, far = chain(torch.arange(0, 1, 0.05)), chain(torch.arange(5, 6, 0.05))
    fitted = fit(SPREADING, near[:1], torch.tensor([2]), torch.cat([near[1:], far]), 4)
    assert fitted.reached(near).all()
    assert not fitted.reached(far).any()
    assert fitted.classify(near).argmax(dim=1).unique().tolist() == [2]
    torch.testing.assert_close(fitted.classify(far).exp(), torch.full((20, 4), 0.25))


def test_a_fit_on_a_kept_graph_is_equal_bit_for_bit_and_costs_what_it_would_alone():
    config, images = tiny_config(method=SPREADING), textured_images()
    neighbor_graph.forget()
    (first,) = train(config, tiny_batches(config, images=images), NUM_CLASSES)
    (second,) = train(config, tiny_batches(config, images=images), NUM_CLASSES)
    (kept,) = neighbor_graph._kept.values()
    scaled = images.float() / 127.5 - 1
    assert torch.equal(first.classify(scaled), second.classify(scaled))
    assert torch.equal(first.reached(scaled), second.reached(scaled))
    kept.spent = Spent(seconds=1000.0, cpu_seconds=900.0)
    (third,) = train(config, tiny_batches(config, images=images), NUM_CLASSES)
    assert 1000 < third.seconds["train"] < 1100
    assert third.cpu_seconds_taken_over == 900
    assert first.seconds["train"] < 100
    assert first.cpu_seconds_taken_over == 0


def folds_for(count):
    rows, labels = digits()
    graph = NeighborGraph(rows, 15)
    known = first_of_each_class(labels, count)
    return graph, known, np.eye(10)[labels[known]]


def test_every_class_is_dealt_out_equally_to_the_folds():
    _, known, given = folds_for(7)
    folds = folds_of(known[::-1], given[::-1], 3)[::-1]
    for label in range(10):
        assert np.bincount(folds[given[:, label] == 1]).tolist() == [3, 2, 2]
    np.testing.assert_array_equal(folds, folds_of(known, given, 3))  # in whatever order the images come


def test_the_errors_of_a_fold_are_those_of_spreading_without_its_labels():
    graph, known, given = folds_for(4)
    similarity = normalized(graph.weights(7, "equal"))
    folds = folds_of(known, given, 4)
    wrong = np.zeros(40, dtype=bool)
    for fold in range(4):
        kept = np.zeros((graph.num_nodes, 10))
        kept[known[folds != fold]] = given[folds != fold]
        left_out = spreading().spread(similarity, 0.9, kept)[known[folds == fold]]
        wrong[folds == fold] = left_out.argmax(axis=1) != given[folds == fold].argmax(axis=1)
    assert 0 < wrong.sum() < 40
    np.testing.assert_array_equal(spreading().fold_errors(graph, known, given, folds, 7, 0.9), wrong)


def test_an_image_that_the_other_folds_do_not_reach_counts_as_wrong():
    rows = np.concatenate([np.arange(0, 1, 0.05), np.arange(5, 6, 0.05)])[:, None]
    graph, known = NeighborGraph(rows, 4), np.array([0, 1, 20])
    wrong = spreading(2).fold_errors(graph, known, np.eye(2)[[0, 0, 0]], np.array([0, 1, 0]), 4, 0.9)
    assert wrong.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("mended", "broken", "best"),
    [
        (1, 0, (7, 0.99)),  # the standard error of a gain of 1 image is 1
        (2, 0, (10, 0.2)),  # that of 2 is 1.4
        (4, 2, (7, 0.99)),  # but 2.4 where 4 are mended and 2 broken
        (6, 2, (10, 0.2)),
    ],
)
def test_another_choice_must_gain_more_than_a_standard_error(monkeypatch, mended, broken, best):
    graph, known, given = folds_for(10)
    usual = np.arange(100) < 25
    other = usual.copy()
    other[:mended], other[100 - broken :] = False, True
    monkeypatch.setattr(LabelSpreading, "fold_errors", lambda self, *given: other if given[4:] == (10, 0.2) else usual)
    model = spreading()
    assert model.choose(graph, known, given) == best
    assert model.chosen == {"n_neighbors": best[0], "alpha": best[1]}


def test_with_one_label_of_a_class_the_usual_values_are_kept(monkeypatch):
    graph, known, given = folds_for(2)
    monkeypatch.delattr(LabelSpreading, "fold_errors")
    model = spreading()
    assert model.choose(graph, known[:-1], given[:-1]) == (7, 0.99)
    assert model.chosen == {"n_neighbors": 7, "alpha": 0.99}


def test_what_is_configured_is_not_chosen():
    graph, known, given = folds_for(3)
    model = spreading(alpha=0.5, n_neighbors=4)
    assert model.choose(graph, known, given) == (4, 0.5)
    assert model.chosen == {}
    model = spreading(n_neighbors=4)
    assert model.choose(graph, known, given)[0] == 4
    assert model.chosen.keys() == {"alpha"}


def test_many_labels_choose_a_small_alpha():
    graph, known, given = folds_for(100)
    assert spreading().choose(graph, known, given)[1] < 0.99


def test_labels_outside_the_labeled_set_choose_nothing():
    config = tiny_config(method=SPREADING, data={"num_labels": 30})
    garbage = torch.full_like(tiny_labels(), -7)
    labeled = torch.from_numpy(tiny_splits(config).labeled)
    garbage[labeled] = tiny_labels()[labeled]
    images = textured_images()
    snapshots = [
        next(train(config, tiny_batches(config, images=images, labels=labels), NUM_CLASSES))
        for labels in (tiny_labels(), garbage)
    ]
    one, other = snapshots
    assert one.chosen == other.chosen
    assert one.chosen.keys() == {"n_neighbors", "alpha"}
    scaled = images.float() / 127.5 - 1
    assert torch.equal(one.classify(scaled), other.classify(scaled))


@pytest.mark.parametrize("name", ["label_spreading", "poisson_learning"])
def test_more_neighbors_than_images_are_refused(name):
    config, possible = (tiny_config(method={"name": name, "n_neighbors": count}) for count in (51, 50))
    with pytest.raises(ConfigError, match=r"^method\.n_neighbors = 51: more than the 50 images"):
        LabelSpreading.by_config[type(config.method)].check(config, tiny_batches(config))
    LabelSpreading.by_config[type(config.method)].check(possible, tiny_batches(possible))


def test_fewer_images_than_the_usual_neighbors_do():
    images = chain(torch.tensor([0.0, 0.1, 0.2, 0.3]))
    fitted = fit(SPREADING, images[:1], torch.tensor([1]), images[1:])
    assert fitted.classify(images).argmax(dim=1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["label_spreading", "poisson_learning"])
def test_a_fit_that_does_not_converge_fails_and_says_what_to_change(name):
    config = tiny_config(method={"name": name, "max_iter": 1})
    with pytest.raises(RuntimeError, match=r"after method\.max_iter = 1 repetitions; raise it$"):
        next(train(config, tiny_batches(config, images=textured_images()), NUM_CLASSES))
