import math

import numpy as np
import pytest
import torch

from ssgan_bench.objectives.supervised import (
    class_logits_fake_neuron,
    cross_entropy_class_logits,
    cross_entropy_fake_neuron,
)

HEADS = [
    pytest.param(cross_entropy_class_logits, 0, id="class_logits"),
    pytest.param(cross_entropy_fake_neuron, 1, id="fake_neuron"),
]
"""Loss, and how many logits come before those of the classes."""


def numpy_loss_and_gradient(logits, labels, mask, offset):
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = np.zeros_like(logits)
    target[np.arange(len(labels)), labels + offset] = 1.0
    loss = -(mask * np.log((probabilities * target).sum(axis=1))).sum() / mask.sum()
    return loss, mask[:, None] * (probabilities - target) / mask.sum()


@pytest.mark.parametrize(("loss", "offset"), HEADS)
def test_value_and_gradient_are_those_of_the_equation(loss, offset):
    rng = np.random.default_rng(offset)
    logits, labels = rng.normal(size=(6, 4 + offset)) * 3, rng.integers(0, 4, size=6)
    mask = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    expected, expected_gradient = numpy_loss_and_gradient(logits, labels, mask, offset)
    x = torch.from_numpy(logits).requires_grad_()
    value = loss(x, torch.from_numpy(labels), torch.from_numpy(mask))
    value.backward()
    np.testing.assert_allclose(value.item(), expected, rtol=1e-6)
    np.testing.assert_allclose(x.grad, expected_gradient, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(("loss", "offset"), HEADS)
def test_equal_logits_cost_the_log_of_their_number(loss, offset):
    value = loss(torch.zeros(3, 10 + offset), torch.tensor([0, 5, 9]), torch.ones(3))
    assert value.item() == pytest.approx(math.log(10 + offset))


@pytest.mark.parametrize(("loss", "offset"), HEADS)
def test_hidden_labels_are_never_read(loss, offset):
    logits = torch.randn(4, 10 + offset, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    values = {loss(logits, torch.tensor([3, hidden, 7, hidden]), mask).item() for hidden in (-1, 0, 9, 1000)}
    assert len(values) == 1


@pytest.mark.parametrize(("loss", "offset"), HEADS)
def test_extreme_logits_give_finite_loss_and_gradient(loss, offset):
    logits = torch.full((2, 3 + offset), -1e4)
    logits[:, -1] = 1e4
    logits.requires_grad_()
    value = loss(logits, torch.tensor([0, 2]), torch.ones(2))
    value.backward()
    assert value.item() == pytest.approx(1e4)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("loss", "offset"), HEADS)
def test_no_label_at_all_is_not_a_number(loss, offset):
    assert loss(torch.zeros(2, 3 + offset), torch.zeros(2, dtype=torch.int64), torch.zeros(2)).isnan()


def test_class_logits_leave_out_the_first_neuron():
    logits = torch.arange(22.0).reshape(2, 11)
    assert class_logits_fake_neuron(logits).tolist() == [list(range(1, 11)), list(range(12, 22))]
