import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssgan_bench.objectives.real_fake import (
    adversarial_loss,
    fake_loss,
    real_logit_fake_neuron,
    real_logit_logsumexp,
    real_logit_softmax,
    real_loss,
)

LOSSES = [
    pytest.param(real_loss, 1, id="real"),
    pytest.param(fake_loss, 0, id="fake"),
    pytest.param(adversarial_loss, 1, id="adversarial"),
]
"""Loss, and the target that D(x) = sigmoid(real_logit) is pulled to."""


def probability(r):
    return 1 / (1 + np.exp(-r))


@pytest.mark.parametrize(("loss", "target"), LOSSES)
def test_value_and_gradient_are_those_of_the_equation(loss, target):
    r = np.random.default_rng(0).normal(size=7) * 4
    d = probability(r)
    expected = -np.log(d if target else 1 - d).mean()
    x = torch.from_numpy(r).requires_grad_()
    value = loss(x)
    value.backward()
    np.testing.assert_allclose(value.item(), expected, rtol=1e-6)
    np.testing.assert_allclose(x.grad, (d - target) / 7, rtol=1e-6)


@pytest.mark.parametrize(("loss", "target"), LOSSES)
def test_undecided_discriminator_costs_log_2(loss, target):
    assert loss(torch.zeros(5)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("loss", "target"), LOSSES)
@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_extreme_logits_give_finite_loss_and_gradient(loss, target, extreme):
    r = torch.full((3,), extreme, requires_grad=True)
    value = loss(r)
    value.backward()
    wrong = (extreme > 0) != bool(target)
    assert value.item() == pytest.approx(1e4 if wrong else 0.0)
    torch.testing.assert_close(r.grad, torch.full((3,), (float(extreme > 0) - target) / 3))


@pytest.mark.parametrize(("loss", "article_target"), [(real_loss, 0), (fake_loss, 1), (adversarial_loss, 0)])
def test_fake_neuron_terms_are_the_binary_cross_entropies_of_the_article(loss, article_target):
    logits = torch.randn(8, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    neuron = logits[:, 0]
    expected = F.binary_cross_entropy_with_logits(neuron, torch.full_like(neuron, article_target))
    torch.testing.assert_close(loss(real_logit_fake_neuron(logits)), expected, rtol=1e-9, atol=0)


def test_logsumexp_probability_is_z_over_z_plus_1():
    logits = np.random.default_rng(0).normal(size=(5, 10)) * 2
    z = np.exp(logits).sum(axis=1)
    actual = torch.sigmoid(real_logit_logsumexp(torch.from_numpy(logits)))
    np.testing.assert_allclose(actual, z / (z + 1), rtol=1e-12)


def test_gradients_reach_the_class_logits_in_proportion_to_their_softmax():
    logits = np.random.default_rng(1).normal(size=(5, 10)) * 2
    z = np.exp(logits).sum(axis=1, keepdims=True)
    d, p = z / (z + 1), np.exp(logits) / z
    for loss, expected in ((real_loss, -(1 - d) * p / 5), (fake_loss, d * p / 5)):
        x = torch.from_numpy(logits).requires_grad_()
        loss(real_logit_logsumexp(x)).backward()
        np.testing.assert_allclose(x.grad, expected, rtol=1e-6)


@pytest.mark.parametrize("extreme", [-1e4, 1e4])
@pytest.mark.parametrize("real_logit", [real_logit_fake_neuron, real_logit_logsumexp])
def test_extreme_head_outputs_stay_finite(real_logit, extreme):
    logits = torch.full((2, 11), extreme, requires_grad=True)
    value = real_loss(real_logit(logits)) + fake_loss(real_logit(logits))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_softmax_head_says_fake_with_the_probability_of_neuron_0():
    logits = torch.randn(8, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    torch.testing.assert_close(1 - torch.sigmoid(real_logit_softmax(logits)), logits.softmax(dim=1)[:, 0])


def test_softmax_head_with_a_constant_fake_logit_is_the_logsumexp_head():
    class_logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with_zero = torch.cat([torch.zeros(8, 1, dtype=torch.float64), class_logits], dim=1)
    torch.testing.assert_close(real_logit_softmax(with_zero), real_logit_logsumexp(class_logits))
