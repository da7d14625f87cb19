"""A run has collapsed when it is far above its siblings; ordinary spread of few labels is none."""

import math

import numpy as np
import pytest

from ssgan_bench.reporting.collapse import collapsed, threshold


def percent(*errors: float) -> list[float]:
    return [error / 100 for error in errors]


def found(errors: list[float]) -> list[float]:
    return [
        round(100 * error, 1) for error, is_collapsed in zip(errors, collapsed(errors), strict=True) if is_collapsed
    ]


def test_the_collapses_of_the_consistency_arm_without_a_gan_are_found() -> None:
    assert found(percent(18.9, 13.9, 16.9, 46.9, 57.7, 32.5, 18.1, 20.9, 42.1)) == [46.9, 57.7, 42.1]


@pytest.mark.parametrize(
    "errors",
    [
        percent(60, 62, 65, 68, 71, 74, 77, 80),  # 10 labels
        percent(55, 55, 46, 51, 40, 49, 52, 40),  # labels only at 10
        percent(25, 33, 21, 12, 26, 29, 24, 14),  # label spreading at 10
        percent(21, 13, 21, 21, 22, 28, 23, 24, 34),  # augmented at 20
        percent(8, 5, 10, 17, 10, 13, 10, 18, 21),
        percent(1.2, 1.3, 1.1, 1.2, 1.4, 2.9),  # twice as much, and two points
        percent(9, 9, 9, 9, 9, 9),
    ],
)
def test_ordinary_spread_is_no_collapse(errors: list[float]) -> None:
    assert found(errors) == []


def test_a_wide_better_half_raises_the_threshold() -> None:
    narrow, wide = percent(19, 20, 20, 20, 38), percent(2, 8, 20, 20, 38)
    assert found(narrow) == [38]
    assert found(wide) == []


def test_most_runs_may_not_have_collapsed_and_few_runs_say_nothing() -> None:
    assert found(percent(10, 11, 60, 70, 80)) == []
    assert threshold(percent(10, 11, 60)) == math.inf
    assert collapsed([]).tolist() == []


def test_normal_runs_are_rarely_taken_for_collapsed() -> None:
    rng = np.random.default_rng(0)
    for n in (4, 8, 16):
        marked = [sum(collapsed(errors)) for errors in rng.normal(0.2, 0.06, (2000, n)).tolist()]
        assert np.mean(marked) / n < 0.005
