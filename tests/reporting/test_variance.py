"""Variance components of a crossed design against statsmodels' analysis of variance and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from ssgan_bench.reporting.variance import components


def draw(rng, splits, models, variances):
    split, model, rest = (math.sqrt(v) for v in variances)
    noise = rng.normal(0, rest, (splits, models))
    return rng.normal(0, split, (splits, 1)) + rng.normal(0, model, (1, models)) + noise


def test_components_follow_from_the_mean_squares_of_the_analysis_of_variance():
    y = draw(np.random.default_rng(0), 6, 4, (2.0, 0.5, 0.3))
    frame = pd.DataFrame([(i, j, y[i, j]) for i in range(6) for j in range(4)], columns=["split", "model", "y"])
    table = anova_lm(ols("y ~ C(split) + C(model)", frame).fit())
    split, model, rest = (table["sum_sq"] / table["df"]).tolist()
    found = components(y)
    assert found.split.variance == pytest.approx((split - rest) / 4)
    assert found.model.variance == pytest.approx((model - rest) / 6)
    assert found.rest.variance == pytest.approx(rest)
    assert (found.splits, found.models) == (6, 4)


def test_interval_of_the_rest_is_the_chi_square_interval():
    found = components(draw(np.random.default_rng(1), 5, 5, (1, 1, 1)))
    low, high = scipy_stats.chi2.ppf([0.025, 0.975], 16)
    assert found.rest.low == pytest.approx(16 * found.rest.variance / high)
    assert found.rest.high == pytest.approx(16 * found.rest.variance / low)


def test_negative_estimate_is_zero_and_said_so():
    y = np.array([[0.0, 1.0], [1.0, 0.0]])  # rows and columns have equal means: nothing but interaction
    found = components(y)
    assert (found.split.variance, found.split.truncated, found.split.low) == (0.0, True, 0.0)
    assert (found.model.variance, found.model.truncated) == (0.0, True)
    assert (found.rest.variance, found.rest.truncated) == (1.0, False)


def test_shifting_all_values_changes_nothing_and_scaling_scales_variances():
    y = draw(np.random.default_rng(2), 4, 3, (1, 1, 1))
    first, moved = components(y), components(5 + 3 * y)
    assert moved.split.variance == pytest.approx(9 * first.split.variance)
    assert moved.model.high == pytest.approx(9 * first.model.high)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (0, 3)])
def test_a_table_that_is_not_crossed_has_no_components(shape):
    assert math.isnan(components(np.zeros(shape)).rest.variance)


def test_values_that_are_no_finite_table_are_refused():
    with pytest.raises(ValueError, match="table of finite numbers"):
        components([1.0, 2.0])
    with pytest.raises(ValueError, match="table of finite numbers"):
        components([[1.0, math.nan], [1.0, 2.0]])


@pytest.mark.parametrize(("splits", "models"), [(5, 5), (8, 4), (10, 3)])
@pytest.mark.parametrize("variances", [(1.0, 0.3, 0.5), (0.1, 1.0, 1.0)])
def test_intervals_cover_at_least_nearly_as_often_as_said(splits, models, variances):
    repetitions = 1000
    rng = np.random.default_rng(splits)
    found = [components(draw(rng, splits, models, variances)) for _ in range(repetitions)]
    for name, true in zip(("split", "model", "rest"), variances, strict=True):
        parts = [getattr(one, name) for one in found]
        covered = np.mean([part.low <= true <= part.high for part in parts])
        # The modified large-sample interval is not exact: within one point of nominal, beside chance.
        assert covered > 0.94 - 4 * math.sqrt(0.95 * 0.05 / repetitions)
        assert covered < 0.99


def test_estimates_are_unbiased_where_none_is_truncated():
    rng, repetitions = np.random.default_rng(3), 1500
    found = [components(draw(rng, 8, 8, (4.0, 4.0, 0.5))) for _ in range(repetitions)]
    for name, true in (("split", 4.0), ("model", 4.0), ("rest", 0.5)):
        estimates = np.array([getattr(one, name).variance for one in found])
        assert abs(estimates.mean() - true) < 4 * estimates.std(ddof=1) / math.sqrt(repetitions)
