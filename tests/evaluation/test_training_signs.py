"""Chance by an exact test; still falling and collapsed by rules that noise does not meet."""

import numpy as np
import pytest
from scipy import stats

from ssgan_bench.evaluation.training_signs import has_collapsed, is_at_chance, is_still_falling


@pytest.mark.parametrize("counts", [[40] * 10, [300, 100], [10, 20, 400]])
def test_at_chance_is_what_a_one_sided_binomial_test_at_one_percent_does_not_refute(counts: list[int]) -> None:
    total = sum(counts)
    chance = 1 - max(counts) / total
    for errors in range(total + 1):
        p = stats.binomtest(errors, total, chance, alternative="less").pvalue
        assert is_at_chance(errors, counts) == (p > 0.01)


def test_guessing_the_most_frequent_class_is_at_chance_and_a_perfect_classifier_is_not() -> None:
    assert is_at_chance(100, [300, 100])
    assert not is_at_chance(0, [300, 100])
    assert is_at_chance(0, [400])  # one class: nothing to learn


def test_a_clear_fall_counts_and_a_small_an_early_or_a_past_one_does_not() -> None:
    falling = [0.9, 0.7, 0.5, 0.3]
    assert is_still_falling(falling, 200)
    assert not is_still_falling([0.9, 0.5, 0.3, 0.3], 200)
    assert not is_still_falling(falling[::-1], 200)
    assert not is_still_falling([0.30, 0.28, 0.26, 0.24], 200)  # within two standard errors of 3 points
    assert is_still_falling([0.30, 0.28, 0.26, 0.24], 5000)
    assert not is_still_falling([0.30, 0.29, 0.29, 0.28], 100_000)  # certain, and less than 5 %
    assert not is_still_falling([0.0] * 8, 200)


def test_a_quarter_of_the_evaluations_is_averaged() -> None:
    assert not is_still_falling([0.5] * 4 + [0.2, 0.3, 0.3, 0.2], 5000)
    assert is_still_falling([0.5] * 4 + [0.4, 0.3, 0.3, 0.2], 5000)


def test_a_flat_curve_rarely_looks_as_if_it_fell() -> None:
    rng = np.random.default_rng(0)
    curves = rng.binomial(200, 0.2, (2000, 8)) / 200  # errors as independent as they never are on the same images
    assert np.mean([bool(is_still_falling(curve.tolist(), 200)) for curve in curves]) < 0.05


def test_a_collapse_is_ten_points_and_half_as_much_again_above_the_best() -> None:
    assert has_collapsed([0.5, 0.15, 0.2, 0.42])
    assert not has_collapsed([0.5, 0.15, 0.42, 0.16])  # it recovered
    assert not has_collapsed([0.9, 0.6, 0.75])  # 15 points, a quarter more
    assert not has_collapsed([0.2, 0.02, 0.06])  # three times, 4 points


def test_short_curves_say_nothing() -> None:
    assert is_still_falling([0.9, 0.6, 0.3], 200) is None
    assert has_collapsed([0.9]) is None
    assert has_collapsed([]) is None
