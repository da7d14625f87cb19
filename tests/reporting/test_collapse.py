"""A collapsed run lies far above the other runs of its arm; spread alone, or luck below, is none."""

import numpy as np
import pytest

from ssgan_bench.reporting.collapse import collapsed


def test_runs_far_above_the_median_collapsed():
    errors = np.array([19, 14, 17, 47, 58, 18, 21, 20, 16]) / 100
    assert np.flatnonzero(collapsed(errors)).tolist() == [3, 4]


@pytest.mark.parametrize(
    "errors",
    [
        [0.10, 0.19, 0.10, 0.10],  # not ten points
        [0.10, 0.30, 0.50, 0.70],  # widely spread
        [0.40, 0.41, 0.05, 0.42],  # far below
        [0.9],
        [],
    ],
)
def test_no_run_collapsed(errors):
    assert not collapsed(errors).any()
