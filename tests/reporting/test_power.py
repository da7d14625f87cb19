"""Power of the paired t test against statsmodels, textbook values and simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestPower

from ssgan_bench.reporting.power import detectable_effect, paired_t_power, pairs_for


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
@pytest.mark.parametrize("n", [3, 5, 8, 10, 30])
def test_power_equals_statsmodels(n, alpha):
    for effect in (0.1, 0.5, 1.0, 1.5):
        assert paired_t_power(effect, n, alpha) == pytest.approx(TTestPower().power(effect, n, alpha), abs=1e-8)


# Cohen's medium and large effects, two-sided 5 %, power 0.8: 34 and 15 pairs (G*Power's manual and most textbooks).
@pytest.mark.parametrize(("effect", "n"), [(0.5, 34), (0.8, 15), (0.2, 199)])
def test_pairs_for_a_textbook_effect(effect, n):
    assert pairs_for(effect) == n == math.ceil(TTestPower().solve_power(effect, alpha=0.05, power=0.8))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
@pytest.mark.parametrize("effect", [0.1, 0.37, 1.2, 4.0])
def test_pairs_for_is_the_smallest_number_that_suffices(effect, alpha):
    n = int(pairs_for(effect, alpha))
    assert paired_t_power(effect, n, alpha) >= 0.8
    assert n == 2 or paired_t_power(effect, n - 1, alpha) < 0.8


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 60])
@pytest.mark.parametrize("n", [2, 3, 8, 100])
def test_detectable_effect_has_the_wanted_power(n, alpha):
    assert paired_t_power(detectable_effect(n, alpha), n, alpha) == pytest.approx(0.8, abs=1e-6)


def test_power_stays_a_probability_far_out():
    assert paired_t_power(10, 20, 1e-3) == 1.0
    assert all(0 <= paired_t_power(e, n, a) <= 1 for e in (0, 1, 9) for n in (2, 50, 5000) for a in (0.05, 1e-3))


def test_what_cannot_be_computed_is_nan_or_refused():
    assert math.isnan(paired_t_power(1.0, 1))
    assert math.isnan(detectable_effect(1))
    assert pairs_for(1e-4) == math.inf
    with pytest.raises(ValueError, match="other than zero"):
        pairs_for(0.0)


@pytest.mark.parametrize("n", [5, 8, 10])
def test_a_detectable_effect_is_detected_as_often_as_said(n):
    repetitions = 5000
    draws = np.random.default_rng(n).normal(detectable_effect(n), 1, (repetitions, n))
    shown = np.mean(scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05)
    assert abs(shown - 0.8) < 4 * math.sqrt(0.8 * 0.2 / repetitions)


def test_exact_test_needs_more_than_the_t_test_by_as_much_as_is_said():
    # Six comparisons of 8 pairs: Holm's first step is 0.05 / 6 = 2.1 / 2^8, so all eight signs must agree.
    assert scipy_stats.norm.cdf(detectable_effect(8, 0.05 / 6)) ** 8 == pytest.approx(0.67, abs=0.01)
