"""One test per statement of docs/losses.md, each named there."""

import re
from pathlib import Path

import pytest
import torch

from ssgan_bench.objectives.feature_matching import feature_matching_l1, feature_matching_l2
from ssgan_bench.objectives.real_fake import (
    adversarial_loss,
    fake_loss,
    real_logit_fake_neuron,
    real_logit_logsumexp,
    real_logit_softmax,
    real_loss,
)
from ssgan_bench.objectives.supervised import (
    class_logits_fake_neuron,
    cross_entropy_class_logits,
    cross_entropy_fake_neuron,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "losses.md"
BATCH, CLASSES = 6, 10
ALL = torch.ones(BATCH, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_logits(count, seed=0):
    return 2 * torch.randn(BATCH, count, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.randint(CLASSES, (BATCH,), generator=seeded(9))


@pytest.fixture
def extended():
    """K+1 logits (B, 11)."""
    return some_logits(CLASSES + 1)


@pytest.fixture
def logits():
    """K logits (B, 10)."""
    return some_logits(CLASSES)


def gradient(loss, at):
    x = at.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(x), x)
    return grad


def lse(x):
    return torch.logsumexp(x, dim=1)


def one_hot(labels, width):
    return torch.nn.functional.one_hot(labels, width).double()


def shifted_to_zero_lse(extended):
    """The same l_0, class logits shifted so that their LSE is 0."""
    classes = class_logits_fake_neuron(extended)
    return torch.cat([extended[:, :1], classes - lse(classes)[:, None]], dim=1)


def test_every_test_that_the_document_names_is_here():
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_every_test_that_the_document_names_is_here"}


def test_softplus_terms_are_the_log_probabilities():
    r = some_logits(1)[:, 0]
    torch.testing.assert_close(real_loss(r), -torch.sigmoid(r).log().mean())
    torch.testing.assert_close(fake_loss(r), -(1 - torch.sigmoid(r)).log().mean())
    torch.testing.assert_close(adversarial_loss(r), -torch.sigmoid(r).log().mean())


def test_fake_neuron_real_fake_terms_do_not_reach_class_logits(extended):
    neuron = torch.sigmoid(extended[:, 0])
    for loss, expected in ((real_loss, neuron), (fake_loss, neuron - 1)):
        grad = gradient(lambda x, loss=loss: loss(real_logit_fake_neuron(x)), extended)
        assert grad[:, 1:].count_nonzero() == 0
        torch.testing.assert_close(grad[:, 0], expected / BATCH)


def test_fake_neuron_supervised_term_pushes_the_neuron_down(extended, labels):
    grad = gradient(lambda x: cross_entropy_fake_neuron(x, labels, ALL), extended)
    expected = torch.softmax(extended, dim=1) - one_hot(labels + 1, CLASSES + 1)
    torch.testing.assert_close(grad, expected / BATCH)
    assert (grad[:, 0] > 0).all()  # descent lowers l_0


def test_two_probabilities_of_fake_agree_only_if_lse_is_zero(extended):
    by_softmax = torch.softmax(extended, dim=1)[:, 0]
    of_classes = lse(class_logits_fake_neuron(extended))
    torch.testing.assert_close(by_softmax, torch.sigmoid(extended[:, 0] - of_classes))
    assert ((by_softmax < torch.sigmoid(extended[:, 0])) == (of_classes > 0)).all()
    assert (of_classes.abs() > 0.1).all()
    reconciled = shifted_to_zero_lse(extended)
    torch.testing.assert_close(torch.softmax(reconciled, dim=1)[:, 0], torch.sigmoid(reconciled[:, 0]))


def test_shifting_all_logits_changes_only_the_real_fake_terms(extended, labels):
    moved = extended + 1.5
    torch.testing.assert_close(
        cross_entropy_fake_neuron(moved, labels, ALL), cross_entropy_fake_neuron(extended, labels, ALL)
    )
    before, after = real_logit_fake_neuron(extended), real_logit_fake_neuron(moved)
    assert real_loss(after) > real_loss(before)
    assert fake_loss(after) < fake_loss(before)


def test_shifting_class_logits_reconciles_the_two_probabilities(extended):
    reconciled = shifted_to_zero_lse(extended)
    torch.testing.assert_close(torch.softmax(reconciled, dim=1)[:, 0], torch.sigmoid(extended[:, 0]))
    torch.testing.assert_close(
        torch.softmax(class_logits_fake_neuron(reconciled), dim=1),
        torch.softmax(class_logits_fake_neuron(extended), dim=1),
    )


def test_logsumexp_head_is_a_softmax_with_the_fake_logit_at_zero(logits):
    full = torch.softmax(torch.cat([torch.zeros(BATCH, 1), logits], dim=1), dim=1)
    z = logits.exp().sum(dim=1)
    d = torch.sigmoid(real_logit_logsumexp(logits))
    torch.testing.assert_close(d, z / (z + 1))
    torch.testing.assert_close(1 - d, full[:, 0])


def test_logsumexp_real_fake_terms_reach_class_logits_by_their_probability(logits):
    p = torch.softmax(logits, dim=1)
    d = torch.sigmoid(lse(logits))[:, None]
    of_real = gradient(lambda x: real_loss(real_logit_logsumexp(x)), logits)
    of_fake = gradient(lambda x: fake_loss(real_logit_logsumexp(x)), logits)
    torch.testing.assert_close(of_real, -(1 - d) * p / BATCH)
    torch.testing.assert_close(of_fake, d * p / BATCH)
    assert of_real.argmin(dim=1).equal(logits.argmax(dim=1))  # descent raises the likeliest class most
    assert of_fake.argmax(dim=1).equal(logits.argmax(dim=1))


def test_logsumexp_supervised_term_ignores_a_common_shift(logits, labels):
    grad = gradient(lambda x: cross_entropy_class_logits(x, labels, ALL), logits)
    torch.testing.assert_close(grad, (torch.softmax(logits, dim=1) - one_hot(labels, CLASSES)) / BATCH)
    torch.testing.assert_close(grad.sum(dim=1), torch.zeros(BATCH, dtype=torch.float64))
    torch.testing.assert_close(
        cross_entropy_class_logits(logits + 3, labels, ALL), cross_entropy_class_logits(logits, labels, ALL)
    )


def test_improved_gan_unlabeled_loss_is_half_the_real_fake_terms(logits):
    on_real, on_fake = lse(logits), lse(some_logits(CLASSES, seed=1))
    softplus = torch.nn.functional.softplus
    original = (
        -0.5 * on_real.mean() + 0.5 * softplus(on_real).mean() + 0.5 * softplus(on_fake).mean()
    )  # as written in its code
    torch.testing.assert_close(0.5 * (real_loss(on_real) + fake_loss(on_fake)), original)


def test_k_plus_1_cross_entropy_splits_into_classes_and_real(extended, labels):
    classes = class_logits_fake_neuron(extended)
    of_real = real_loss(lse(classes) - extended[:, 0])
    torch.testing.assert_close(
        cross_entropy_fake_neuron(extended, labels, ALL),
        cross_entropy_class_logits(classes, labels, ALL) + of_real,
    )


def test_softmax_head_reaches_the_neuron_and_every_class_logit(extended):
    fake = torch.softmax(extended, dim=1)[:, :1]
    classes = torch.softmax(class_logits_fake_neuron(extended), dim=1)
    for loss, by_neuron in ((real_loss, fake), (fake_loss, fake - 1)):
        grad = gradient(lambda x, loss=loss: loss(real_logit_softmax(x)), extended)
        torch.testing.assert_close(grad[:, :1], by_neuron / BATCH)
        torch.testing.assert_close(grad[:, 1:], -by_neuron * classes / BATCH)
    torch.testing.assert_close(1 - torch.sigmoid(real_logit_softmax(extended)), fake[:, 0])


def test_both_heads_are_cases_of_one_real_logit(extended, logits):
    def consistent(x):
        return lse(class_logits_fake_neuron(x)) - x[:, 0]

    torch.testing.assert_close(1 - torch.sigmoid(consistent(extended)), torch.softmax(extended, dim=1)[:, 0])
    zero_neuron = torch.cat([torch.zeros(BATCH, 1), logits], dim=1)
    torch.testing.assert_close(consistent(zero_neuron), real_logit_logsumexp(logits))
    reconciled = shifted_to_zero_lse(extended)
    torch.testing.assert_close(consistent(reconciled), real_logit_fake_neuron(reconciled))


def test_heads_agree_in_value_at_zero_lse_but_not_in_gradient(extended):
    reconciled = shifted_to_zero_lse(extended)

    def as_logsumexp(x):
        """The K logits of the same softmax: relative to the fake neuron."""
        return class_logits_fake_neuron(x) - x[:, :1]

    for loss in (real_loss, fake_loss, adversarial_loss):
        torch.testing.assert_close(
            loss(real_logit_fake_neuron(reconciled)), loss(real_logit_logsumexp(as_logsumexp(reconciled)))
        )
        stops = gradient(lambda x, loss=loss: loss(real_logit_fake_neuron(x)), reconciled)
        spreads = gradient(lambda x, loss=loss: loss(real_logit_logsumexp(as_logsumexp(x))), reconciled)
        assert stops[:, 1:].count_nonzero() == 0
        assert (spreads[:, 1:] != 0).all()


def test_predicted_class_ignores_the_fake_neuron(extended):
    certain_fake = extended.clone()
    certain_fake[:, 0] = 100.0
    predicted = class_logits_fake_neuron(certain_fake).argmax(dim=1)
    assert predicted.equal(class_logits_fake_neuron(extended).argmax(dim=1))
    assert predicted.equal(extended[:, 1:].softmax(dim=1).argmax(dim=1))


def test_adversarial_loss_does_not_saturate():
    r = torch.tensor([-8.0, -4.0, 0.0, 4.0], dtype=torch.float64)
    d = torch.sigmoid(r)
    non_saturating = gradient(adversarial_loss, r)
    saturating = gradient(lambda x: -fake_loss(x), r)
    torch.testing.assert_close(non_saturating, -(1 - d) / 4)
    torch.testing.assert_close(saturating, -d / 4)
    assert abs(non_saturating[0]) > 0.999 / 4
    assert abs(saturating[0]) < 0.001 / 4


def test_feature_matching_gradients_are_those_of_the_table():
    real, fake = some_logits(8, seed=1), some_logits(8, seed=2)
    d = (real.mean(dim=0) - fake.mean(dim=0)).expand(BATCH, 8)
    for loss, reduction, expected in (
        (feature_matching_l2, "mean", -2 * d / (8 * BATCH)),
        (feature_matching_l2, "sum", -2 * d / BATCH),
        (feature_matching_l1, "mean", -d.sign() / (8 * BATCH)),
    ):
        grad = gradient(lambda x, loss=loss, how=reduction: loss(real, x, how), fake)
        torch.testing.assert_close(grad, expected)


def test_feature_matching_sees_only_means():
    real = some_logits(8)
    collapsed = real.mean(dim=0).expand(3, 8)
    torch.testing.assert_close(
        feature_matching_l2(real, collapsed), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-24
    )
    torch.testing.assert_close(
        feature_matching_l1(real, collapsed), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-12
    )
