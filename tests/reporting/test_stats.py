"""The statistics against textbook values, other implementations, and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from ssgan_bench.reporting.stats import (
    hedges_gz,
    holm,
    interquartile_mean,
    mean_interval,
    p_floor,
    pairs_needed,
    probability_of_improvement,
    share_lower,
    sign_flip_p,
    tost_p,
)
from ssgan_bench.reporting.wording import p_text

# Darwin's Zea mays data as analyzed by Fisher (The Design of Experiments, section 21): 863 of the 2^15 sign
# patterns sum to at least 314, so the two-sided p is 2 * 863 / 32768 (ties counted; 0.0527).
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


@pytest.mark.parametrize(
    ("p", "text"), [(1 / 8, "0.13"), (3 / 8, "0.38"), (1 / 16, "0.063"), (2 / 256, "0.0078"), (0.5, "0.50"), (1, "1")]
)
def test_p_values_are_rounded_half_up_to_two_digits(p, text):
    assert p_text(p) == text


def test_sign_flip_reproduces_fishers_count_for_darwins_data():
    assert sign_flip_p(DARWIN) == pytest.approx(2 * 863 / 2**15, abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_sign_flip_equals_brute_force_and_scipy(n):
    d = np.random.default_rng(n).normal(0.5, 1, n)
    flips = np.array(list(itertools.product([-1, 1], repeat=n)))
    brute = np.mean(np.abs(flips @ d) >= abs(d.sum()) - 1e-12)
    theirs = scipy_stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(d) == pytest.approx(brute)
    assert sign_flip_p(d) == pytest.approx(theirs.pvalue)


def test_sign_flip_counts_ties_despite_rounding():
    # 0.1 + 0.2 is not 0.3 in floating point: sums that tie in exact arithmetic must be seen as ties.
    d = np.array([1, 2, 3, 3, 2, 1])
    assert sign_flip_p(d / 10) == sign_flip_p(d)


def test_zero_differences_never_reach_the_floor():
    assert sign_flip_p([1.0, 1.0, 1.0, 1.0, 0.0]) == p_floor(4)
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0


def test_sign_flip_is_exact_at_its_floor_and_symmetric():
    assert sign_flip_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]) == p_floor(8) == 2 / 256
    assert sign_flip_p(DARWIN) == sign_flip_p([-d for d in DARWIN])
    assert math.isnan(sign_flip_p([]))


def test_monte_carlo_beyond_twenty_pairs_is_seeded_and_agrees_with_the_exact_test():
    d = np.random.default_rng(3).normal(0.35, 1, 22)
    sums = d[:1]
    for value in d[1:]:
        sums = np.concatenate([sums + value, sums - value])
    exact = float(np.mean(np.abs(sums) >= abs(d.sum()) - 1e-9))
    estimate = sign_flip_p(d)
    assert estimate == sign_flip_p(d)
    assert abs(estimate - exact) < 5 * math.sqrt(exact * (1 - exact) / 100_000)
    assert sign_flip_p(np.ones(30)) == p_floor(30)


def test_mean_interval_equals_scipys_t_interval():
    values = np.random.default_rng(0).normal(5, 2, 7)
    ours = mean_interval(values)
    theirs = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.n == 7
    assert ours.sd == pytest.approx(np.std(values, ddof=1))


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert mean_interval([0.3]).mean == 0.3
    assert math.isnan(mean_interval([0.3]).low)
    assert math.isnan(mean_interval([]).mean)


@pytest.mark.parametrize("bad", [[0.1, math.nan], [0.1, math.inf], [[0.1]]])
def test_values_that_are_not_finite_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        mean_interval(bad)


@pytest.mark.parametrize(("n", "correction"), [(3, 0.5642), (5, 0.7979), (9, 0.9027), (11, 0.9227)])
def test_hedges_gz_uses_the_tabulated_small_sample_correction(n, correction):
    d = np.random.default_rng(n).normal(1, 1, n)
    assert hedges_gz(d) / (d.mean() / d.std(ddof=1)) == pytest.approx(correction, abs=1e-4)


def test_effect_size_of_equal_differences_is_undefined():
    assert math.isnan(hedges_gz([0.1, 0.1, 0.1]))
    assert math.isnan(hedges_gz([0.1, 0.3]))


@pytest.mark.parametrize("m", [1, 4, 12])
def test_holm_equals_statsmodels(m):
    p = np.random.default_rng(m).uniform(0, 0.2, m)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_holm_counts_comparisons_without_data_in_the_family():
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0] == pytest.approx(0.03)
    assert adjusted[2] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize(("family", "n"), [(1, 6), (5, 8), (10, 9), (12, 9)])
def test_pairs_needed_is_the_smallest_n_that_can_pass(family, n):
    assert pairs_needed(family) == n
    assert family * p_floor(n) <= 0.05 < family * p_floor(n - 1)


@pytest.mark.parametrize("n", [5, 8, 10])
def test_interval_covers_and_test_errs_at_their_nominal_rates(n):
    repetitions = 1500
    draws = np.random.default_rng(n).normal(0, 1, (repetitions, n))
    covered = np.mean([e.low <= 0 <= e.high for e in map(mean_interval, draws)])
    # Attainable level of the discrete test: the largest multiple of 2/2^n not above 0.05.
    level = math.floor(0.05 / p_floor(n)) * p_floor(n)
    rejected = np.mean([sign_flip_p(row) <= 0.05 for row in draws])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repetitions)
    assert abs(rejected - level) <= 4 * math.sqrt(level * (1 - level) / repetitions)


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.8, 2.0])
def test_equivalence_p_equals_statsmodels(shift):
    rng = np.random.default_rng(5)
    a, b = rng.normal(shift, 1, 9), rng.normal(0, 1, 9)
    assert tost_p(a - b, 1.0) == pytest.approx(ttost_paired(a, b, -1.0, 1.0)[0])


def test_equivalence_is_shown_exactly_where_the_ninety_percent_interval_is_inside_the_margin():
    d = np.random.default_rng(6).normal(0.2, 1, 8)
    interval = mean_interval(d, 0.90)
    edge = max(abs(interval.low), abs(interval.high))
    assert tost_p(d, 1.001 * edge) < 0.05 < tost_p(d, 0.999 * edge)


def test_equal_differences_are_equivalent_only_inside_the_margin():
    assert tost_p([0.0, 0.0, 0.0], 0.01) == 0.0
    assert tost_p([0.02, 0.02, 0.02], 0.01) == tost_p([0.01, 0.01, 0.01], 0.01) == 1.0
    assert math.isnan(tost_p([0.0], 0.01))
    with pytest.raises(ValueError, match="positive margin"):
        tost_p([0.0, 0.1], 0.0)


@pytest.mark.parametrize("n", [4, 8, 10, 11])
def test_interquartile_mean_equals_scipys_trimmed_mean(n):
    values = np.random.default_rng(n).normal(0, 1, n)
    assert interquartile_mean(values) == pytest.approx(scipy_stats.trim_mean(values, 0.25))
    values[values.argmax()] = 1e6  # one odd run is left out
    assert interquartile_mean(values) < 10


def test_interquartile_mean_of_few_values_is_the_mean_and_of_none_undefined():
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0
    assert math.isnan(interquartile_mean([]))


def test_probability_of_improvement_is_mann_whitneys_u_over_all_pairs():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, 8), rng.integers(0, 6, 7)  # with ties
    u = scipy_stats.mannwhitneyu(a, b).statistic  # counts a > b, ties half
    assert probability_of_improvement(a, b) == pytest.approx(1 - u / 56)
    assert probability_of_improvement([1, 2], [3, 4]) == 1.0
    assert probability_of_improvement([1], [1]) == 0.5
    assert math.isnan(probability_of_improvement([], [1]))


def test_share_of_lower_differences_counts_ties_half():
    assert share_lower([-1, -2, 0, 3]) == 0.625
    assert math.isnan(share_lower([]))


@pytest.mark.parametrize("n", [5, 8, 10])
def test_equivalence_errs_at_its_nominal_rate_where_the_true_difference_is_the_margin(n):
    repetitions, margin = 3000, 3.0  # wide enough that the other side cannot matter
    draws = np.random.default_rng(n).normal(margin, 1, (repetitions, n))
    shown = np.mean([tost_p(row, margin) <= 0.05 for row in draws])
    assert abs(shown - 0.05) < 4 * math.sqrt(0.05 * 0.95 / repetitions)


@pytest.mark.parametrize("n", [8, 10])
def test_holm_keeps_the_family_wise_error_of_correlated_comparisons(n):
    # Four arms against one baseline: differences share the baseline, correlation 1/2, no arm differs.
    repetitions, family = 1500, 4
    rng = np.random.default_rng(n)
    baseline = rng.normal(0, 1, (repetitions, 1, n))
    differences = rng.normal(0, 1, (repetitions, family, n)) - baseline
    errors = np.mean([min(holm([sign_flip_p(d) for d in study])) <= 0.05 for study in differences])
    assert 0 < errors <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / repetitions)


def test_holm_of_five_seeds_never_errs_for_it_never_rejects():
    draws = np.random.default_rng(0).normal(1, 1, (50, 4, 5))
    assert all(min(holm([sign_flip_p(d) for d in study])) > 0.05 for study in draws)
