"""Marks of several arms at one place of an axis."""

import itertools

import pytest

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.drawing import MARK_WIDTH, Axis


def spread(levels, arms):
    """Shifts of the arms, and the length of the axis as drawn."""
    axis = Axis(FactorInfo(key="data.num_labels", label="Labeled images", levels=levels))
    places = axis.at.values()
    return [axis.dodge(i, arms) for i in range(arms)], max(places) - min(places) + axis.gap


@pytest.mark.parametrize("levels", [(10, 100, 1000, 55000), (20, 100), (0.2, 0.3, 0.5)], ids=str)
def test_on_a_scale_neighbors_stand_a_mark_apart_and_near_their_number(levels):
    shifts, length = spread(levels, arms=7)
    steps = [b - a for a, b in itertools.pairwise(shifts)]
    assert min(steps) >= MARK_WIDTH * length
    assert max(map(abs, shifts)) <= 3.5 * MARK_WIDTH * length * 1.01
    assert sum(shifts) == pytest.approx(0)


def test_in_slots_of_their_own_they_take_three_fifths():
    shifts, _ = spread(("article", "improved_gan"), arms=7)
    assert shifts[-1] - shifts[0] == pytest.approx(0.6)


def test_a_single_arm_stands_on_its_number():
    assert spread((10, 100), arms=1)[0] == [0.0]
