import numpy as np
import pytest
import torch

from ssgan_bench.objectives.feature_matching import feature_matching_l1, feature_matching_l2

CASES = [
    pytest.param(feature_matching_l2, np.square, lambda d: 2 * d, id="l2"),
    pytest.param(feature_matching_l1, np.abs, np.sign, id="l1"),
]
"""Loss, distance of one feature, and the distance's derivative."""


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("loss", "distance", "derivative"), CASES)
def test_value_and_gradients_are_those_of_the_equation(loss, distance, derivative, reduction):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(4, 6)), rng.normal(size=(7, 6)) + 0.5
    d = real.mean(axis=0) - fake.mean(axis=0)
    divisor = 6 if reduction == "mean" else 1
    x, y = (torch.from_numpy(a).requires_grad_() for a in (real, fake))
    value = loss(x, y, reduction)
    value.backward()
    np.testing.assert_allclose(value.item(), distance(d).sum() / divisor, rtol=1e-6)
    np.testing.assert_allclose(x.grad, np.tile(derivative(d) / divisor / 4, (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(y.grad, np.tile(-derivative(d) / divisor / 7, (7, 1)), rtol=1e-6)


@pytest.mark.parametrize(("loss", "distance", "derivative"), CASES)
def test_mean_over_features_is_the_default(loss, distance, derivative):
    real, fake = torch.ones(2, 8), torch.zeros(3, 8)
    assert loss(real, fake).item() == 1.0
    assert loss(real, fake, "sum").item() == 8.0


@pytest.mark.parametrize(("loss", "distance", "derivative"), CASES)
def test_only_batch_means_count(loss, distance, derivative):
    """Different features with one mean match perfectly, with zero gradient."""
    real = torch.tensor([[1.0, -2.0], [3.0, 2.0]])
    fake = torch.tensor([[2.0, 0.0]] * 5, requires_grad=True)
    value = loss(real, fake)
    value.backward()
    assert value.item() == 0.0
    assert fake.grad.count_nonzero() == 0


@pytest.mark.parametrize("loss", [feature_matching_l1, feature_matching_l2])
def test_extreme_features_stay_finite(loss):
    fake = torch.full((2, 3), -1e4, requires_grad=True)
    value = loss(torch.full((4, 3), 1e4), fake, "sum")
    value.backward()
    assert value.isfinite()
    assert fake.grad.isfinite().all()
