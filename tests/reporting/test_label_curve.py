"""Reading a label curve the other way round: exact cases, other implementations, coverage."""

import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from ssgan_bench.reporting.label_curve import labels_needed, nonincreasing, read_curve

COUNTS = np.array([10.0, 100.0, 1000.0])
FALLING = np.array([[0.5, 0.3, 0.2]])
LEAST = 1 / 800  # half an error of 400 test images


@pytest.mark.parametrize("k", [3, 4, 7])
def test_nonincreasing_fit_equals_scipys(k):
    means = np.random.default_rng(k).normal(0, 1, (50, k)) - 0.3 * np.arange(k)
    theirs = np.array([isotonic_regression(row, increasing=False).x for row in means])
    np.testing.assert_allclose(nonincreasing(means), theirs)


@pytest.mark.parametrize(
    ("error", "labels"),
    [
        (0.5, 10),
        (0.3, 100),
        (0.2, 1000),
        (math.sqrt(0.5 * 0.3), 10**1.5),  # halfway in log error is halfway in log labels
        (math.sqrt(0.3 * 0.2), 10**2.5),
        (0.51, -math.inf),  # worse than the curve anywhere: fewer labels than were measured
        (0.19, math.inf),
    ],
)
def test_curve_is_read_between_levels_and_never_beyond(error, labels):
    assert read_curve(COUNTS, FALLING, np.array([error]), LEAST)[0] == pytest.approx(labels)


def test_flat_stretch_is_read_at_its_fewest_labels():
    assert read_curve(COUNTS, np.array([[0.5, 0.3, 0.3]]), np.array([0.3]), LEAST)[0] == pytest.approx(100)
    assert read_curve(COUNTS, np.array([[0.3, 0.3, 0.3]]), np.array([0.3]), LEAST)[0] == 10


def test_curve_equals_numpys_interpolation_of_logarithms():
    errors = np.linspace(0.2, 0.5, 40)
    theirs = np.exp(np.interp(-np.log(errors), -np.log(FALLING[0]), np.log(COUNTS)))
    np.testing.assert_allclose(read_curve(COUNTS, np.repeat(FALLING, 40, axis=0), errors, LEAST), theirs)


def test_a_line_in_the_error_itself_would_ask_for_more_labels_where_levels_are_far_apart():
    # Audit of labeled_rate/standard: about 3,200 labels where the line in the error had 4,217.
    counts, curve = np.array([1000.0, 55000.0]), np.array([[0.07, 0.02]])
    straight = math.exp(np.interp(-0.0455, -curve[0], np.log(counts)))
    assert read_curve(counts, curve, np.array([0.0455]), LEAST)[0] < 0.8 * straight


def test_an_error_of_zero_counts_as_half_an_error():
    curve = np.array([[0.5, 0.1, 0.0]])
    assert read_curve(COUNTS, curve, np.array([0.0]), LEAST)[0] == pytest.approx(1000)
    middle = math.sqrt(0.1 * LEAST)
    assert read_curve(COUNTS, curve, np.array([middle]), LEAST)[0] == pytest.approx(10**2.5)


def test_baseline_matches_itself_at_its_own_labels_without_any_uncertainty():
    rng = np.random.default_rng(0)
    baseline = FALLING + rng.normal(0, 0.01, (8, 3))
    found = labels_needed(COUNTS, baseline, baseline[:, 1], LEAST)
    assert (found.needed, found.low, found.high) == pytest.approx((100, 100, 100))


def test_luck_that_arm_and_baseline_share_does_not_widen_the_interval():
    luck = np.random.default_rng(1).normal(0, 0.05, (8, 1))
    found = labels_needed(COUNTS, FALLING * np.exp(luck), math.sqrt(0.5 * 0.3) * np.exp(luck[:, 0]), LEAST)
    assert (found.needed, found.low, found.high) == pytest.approx((10**1.5,) * 3)


def test_interval_may_reach_beyond_the_curve_and_is_absent_for_few_seeds():
    rng = np.random.default_rng(2)
    baseline, arm = FALLING + rng.normal(0, 0.001, (8, 3)), 0.205 + rng.normal(0, 0.03, 8)
    found = labels_needed(COUNTS, baseline, arm, LEAST)
    assert found.high == math.inf
    assert 100 < found.low < 1000
    few = labels_needed(COUNTS, baseline[:3], arm[:3], LEAST)
    assert math.isnan(few.low)
    assert few.n == 3
    assert math.isnan(labels_needed(COUNTS, np.zeros((0, 3)), [], LEAST).needed)


def test_equal_input_gives_an_equal_interval():
    rng = np.random.default_rng(3)
    baseline, arm = FALLING + rng.normal(0, 0.05, (8, 3)), 0.3 + rng.normal(0, 0.05, 8)
    assert labels_needed(COUNTS, baseline, arm, LEAST) == labels_needed(COUNTS, baseline, arm, LEAST)


@pytest.mark.parametrize(
    ("counts", "baseline", "arm"),
    [
        ([10, 100], [[0.5, 0.4]], [0.4, 0.3]),
        ([100, 10], [[0.5, 0.4]], [0.4]),
        ([0, 10], [[0.5, 0.4]], [0.4]),
        ([10, 100], [[0.5, math.nan]], [0.4]),
    ],
)
def test_what_does_not_fit_is_refused(counts, baseline, arm):
    with pytest.raises(ValueError, match="expected"):
        labels_needed(counts, baseline, arm, LEAST)


# Nominal is 0.95. A bootstrap of 5 seeds still covers too little; the report says so.
@pytest.mark.parametrize(("n", "nominal"), [(5, 0.91), (8, 0.95), (10, 0.95)])
def test_interval_covers_as_the_report_says(n, nominal):
    counts, repetitions = np.array([20.0, 50.0, 100.0, 240.0]), 300
    true = 0.1 + 0.3 * (20 / counts)
    target = math.exp(np.interp(math.log(35), np.log(counts), np.log(true)))
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(repetitions):
        luck = rng.normal(0, 0.03, (n, 1))
        baseline = true + luck + rng.normal(0, 0.02, (n, 4))
        found = labels_needed(counts, baseline, target + luck[:, 0] + rng.normal(0, 0.02, n), LEAST)
        covered += found.low <= 35 <= found.high
    assert abs(covered / repetitions - nominal) < 4 * math.sqrt(nominal * (1 - nominal) / repetitions)
