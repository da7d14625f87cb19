import numpy as np
import pytest
import torch

from ssgan_bench.objectives.consistency import pseudo_label_cross_entropy


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7])
def test_value_and_gradient_are_those_of_the_equation(threshold):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(9, 4)) * 2, rng.normal(size=(9, 4)) * 2
    q, p = softmax(teacher), softmax(student)
    sure, target = q.max(axis=1) >= threshold, q.argmax(axis=1)
    assert threshold in (0.0, 0.5) or 0 < sure.sum() < 9
    expected = -(sure * np.log(p[np.arange(9), target])).mean()
    x, t = torch.from_numpy(student).requires_grad_(), torch.from_numpy(teacher).requires_grad_()
    value = pseudo_label_cross_entropy(x, t, threshold)
    value.backward()
    np.testing.assert_allclose(value.item(), expected, rtol=1e-9)
    np.testing.assert_allclose(x.grad, sure[:, None] * (p - np.eye(4)[target]) / 9, rtol=1e-9, atol=1e-12)
    assert t.grad is None


def test_an_unsure_teacher_teaches_nothing():
    student = torch.randn(5, 3, requires_grad=True)
    value = pseudo_label_cross_entropy(student, torch.zeros(5, 3), threshold=0.5)
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(student.grad, torch.zeros(5, 3))
