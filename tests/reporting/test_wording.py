"""Intervals are written inside what is possible; what they are made from is kept whole."""

import csv
import io
import math

import pytest
from synthetic import BUDGETS, TWO, make_plan

from ssgan_bench.reporting.sections import build
from ssgan_bench.reporting.stats import Estimate
from ssgan_bench.reporting.wording import Unit, estimate_text, possible

ERROR = Unit("test error", "test error (%)", 100.0, " %", " percentage points", 1, (0.0, 1.0))
NLL = Unit("nll", "nll (nats)", 1.0, " nats", " nats", 3, (0.0, math.inf))


def estimate(mean, low, high):
    return Estimate(mean, low, high, 0.1, 3)


def test_an_error_rate_is_written_between_0_and_100():
    assert estimate_text(estimate(0.02, -0.013, 0.053), ERROR) == "2.0 [0.0, 5.3]"
    assert estimate_text(estimate(0.95, 0.87, 1.03), ERROR) == "95.0 [87.0, 100.0]"
    assert estimate_text(estimate(0.5, 0.4, 0.6), ERROR) == "50.0 [40.0, 60.0]"


def test_a_difference_may_be_negative_and_goes_no_further_than_a_whole_range():
    assert estimate_text(estimate(-0.1, -0.3, 0.1), ERROR, sign=True) == "−10.0 [−30.0, +10.0]"
    assert estimate_text(estimate(-0.6, -1.4, 0.2), ERROR, sign=True) == "−60.0 [−100.0, +20.0]"


def test_a_metric_without_an_upper_end_has_none():
    assert estimate_text(estimate(0.5, -0.2, 1.2), NLL) == "0.500 [0.000, 1.200]"
    assert estimate_text(estimate(0.5, -9.0, 9.0), NLL, sign=True) == "+0.500 [−9.000, +9.000]"


def test_what_is_unknown_stays_unknown():
    assert estimate_text(estimate(0.5, math.nan, math.nan), ERROR) == "50.0"
    assert all(math.isnan(bound) for bound in possible(estimate(0.5, math.nan, math.nan), ERROR))


def test_the_table_is_cut_and_its_csv_is_not(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    document, parts = build(analyzed(plan, lambda cell: 0.01 + 0.02 * cell.model_seed))
    (section,) = (section for section in document.sections if section.anchor == "results")
    table = section.blocks[1]
    assert table.rows[0][1] == "2.0 [0.0, 14.7]"
    row = next(csv.DictReader(io.StringIO(parts.csv["tables/main.csv"])))
    assert float(row["low"]) == pytest.approx(-0.107, abs=1e-3)
