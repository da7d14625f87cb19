"""Power of the exact sign-flip test against the test itself, closed forms, the t test and another simulation."""

import math
import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ssgan_bench.reporting.exact_power import (
    detectable_effect_exact,
    exact_power,
    pairs_needed_exact,
    sign_flip_p_values,
)
from ssgan_bench.reporting.power import detectable_effect, paired_t_power
from ssgan_bench.reporting.stats import sign_flip_p


@pytest.mark.parametrize("n", [2, 3, 8, 11, 16])
def test_many_p_values_at_once_equal_those_of_the_test(n):
    samples = np.random.default_rng(n).normal(0.4, 1, (40, n))
    np.testing.assert_allclose(sign_flip_p_values(samples), [sign_flip_p(row) for row in samples], atol=1e-12)


# Simulated by a program of its own for differences (mean, sd) of labeled_rate/quick, 4 tests.
@pytest.mark.parametrize(
    ("mean", "sd", "n", "power"),
    [(-3.7, 3.0, 8, 0.40), (-6.8, 4.7, 8, 0.53), (-3.7, 3.0, 12, 0.87), (-6.8, 4.7, 12, 0.96)],
)
def test_power_equals_an_independent_simulation(mean, sd, n, power):
    assert exact_power(mean / sd, n, 4) == pytest.approx(power, abs=0.03)


def test_power_is_that_of_equal_signs_where_only_they_can_show_anything():
    # Six comparisons of 8 pairs: Holm's first step is 0.05 / 6 = 2.1 / 2^8, so all eight signs must agree.
    for effect in (0.5, 1.0, 1.65):
        closed = scipy_stats.norm.cdf(effect) ** 8 + scipy_stats.norm.cdf(-effect) ** 8
        assert exact_power(effect, 8, 6) == pytest.approx(closed, abs=0.02)


def test_without_an_effect_power_is_the_level():
    assert exact_power(0.0, 12, 1) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("family", [1, 3, 6])
@pytest.mark.parametrize("n", [8, 12, 20])
def test_exact_test_has_no_more_power_than_the_t_test(n, family):
    effect = detectable_effect(n, 0.05 / family)
    assert exact_power(effect, n, family) <= 0.8 + 0.025  # simulated


def test_power_goes_over_into_the_t_tests_without_a_step():
    effect = detectable_effect(20, 0.05 / 3)
    assert exact_power(effect, 20, 3) == pytest.approx(paired_t_power(effect, 20, 0.05 / 3), abs=0.02)
    assert exact_power(0.5, 40, 3) == paired_t_power(0.5, 40, 0.05 / 3)


@pytest.mark.parametrize("n", [8, 12, 16])
def test_a_detectable_effect_is_detected_as_often_as_said(n):
    draws = np.random.default_rng(100 + n).normal(detectable_effect_exact(n, 3), 1, (1500, n))
    shown = np.mean([sign_flip_p(row) <= 0.05 / 3 for row in draws])
    assert abs(shown - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 1500)


@pytest.mark.parametrize(("effect", "family"), [(1.25, 3), (1.0, 4), (2.5, 6), (0.4, 1)])
def test_pairs_needed_are_the_fewest_that_suffice(effect, family):
    n = int(pairs_needed_exact(effect, family))
    assert exact_power(effect, n, family) >= 0.8 > exact_power(effect, n - 1, family)


def test_what_no_number_of_pairs_shows_is_infinite_and_what_has_no_meaning_refused():
    assert detectable_effect_exact(5, 3) == math.inf  # 2 / 2^5 is above 0.05 / 3
    assert exact_power(9.0, 5, 3) == 0
    assert pairs_needed_exact(1e-4, 1) == math.inf
    assert math.isnan(exact_power(1.0, 1, 1))
    assert math.isnan(detectable_effect_exact(1, 1))
    with pytest.raises(ValueError, match="other than zero"):
        pairs_needed_exact(0.0, 1)
    with pytest.raises(ValueError, match="family of at least 1"):
        exact_power(1.0, 8, 0)


def test_a_report_does_not_wait_for_it():
    start = time.process_time()
    pairs_needed_exact(detectable_effect_exact(15, 5) / 2, 5)
    assert time.process_time() - start < 2  # 0.3 s; a machine may be slow
