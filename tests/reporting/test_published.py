"""Means beside published ones: the verdict follows the arithmetic, and nothing is judged without a spread."""

import csv
import io

import numpy as np
import pytest
from scipy import stats as scipy_stats
from synthetic import BUDGETS, TWO, make_plan

from ssgan_bench.records.schema import PublishedValue
from ssgan_bench.reporting.answer import answer
from ssgan_bench.reporting.frames import Mean
from ssgan_bench.reporting.published import PATH, AgainstPublished, against_published
from ssgan_bench.reporting.sections import build
from ssgan_bench.reporting.stats import mean_interval

ONE = TWO[1:]
ERRORS = (0.10, 0.12, 0.11, 0.13)


def value(mean: float, labels: int = 10) -> PublishedValue:
    return PublishedValue(
        arm="improved_gan", levels={"data.num_labels": labels}, mean=mean, sd=0.02, n=10, source="Somebody 2020"
    )


def plan_with(*values, arms=ONE, seeds=range(4)):
    return make_plan(arms=arms, factors=(BUDGETS,), seeds=seeds, published=values)


def error(cell):
    return ERRORS[cell.model_seed]


@pytest.mark.parametrize("mean", [0.09, 0.11, 0.115, 0.13, 0.14])
def test_interval_and_verdict_are_those_of_welchs_test(analyzed, mean):
    (row,) = against_published(analyzed(plan_with(value(mean)), error))
    theirs = scipy_stats.ttest_ind_from_stats(
        np.mean(ERRORS), np.std(ERRORS, ddof=1), 4, mean, 0.02, 10, equal_var=False
    )
    half = (row.difference.high - row.difference.low) / 2
    assert row.difference.mean == pytest.approx(np.mean(ERRORS) - mean)
    assert 2 * scipy_stats.t.sf(abs(row.difference.mean) / row.standard_error, row.degrees_of_freedom) == (
        pytest.approx(theirs.pvalue)
    )
    assert half == pytest.approx(row.standard_error * scipy_stats.t.ppf(0.975, row.degrees_of_freedom))
    assert row.agrees is bool(theirs.pvalue >= 0.05)


@pytest.mark.parametrize("n", [4, 8, 10])
def test_results_that_are_truly_equal_disagree_in_about_five_percent(n):
    rng, repetitions, disagree = np.random.default_rng(n), 2000, 0
    for ours, theirs in zip(
        rng.normal(0.93, 0.065, (repetitions, n)), rng.normal(0.93, 0.065, (repetitions, 10)), strict=True
    ):
        published = PublishedValue(arm="a", levels={}, mean=theirs.mean(), sd=theirs.std(ddof=1), n=10, source="them")
        disagree += AgainstPublished(Mean("a", (), mean_interval(ours), n, n), published).agrees is False
    assert 0.035 <= disagree / repetitions <= 0.065


def test_equal_values_without_any_spread_agree_with_themselves_only():
    own = Mean("a", (), mean_interval([0.5] * 4), 4, 4)
    same, other = (
        AgainstPublished(own, PublishedValue(arm="a", levels={}, mean=mean, sd=0.0, n=2, source="them"))
        for mean in (0.5, 0.4)
    )
    assert (same.agrees, other.agrees) == (True, False)


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_runs_are_not_judged(analyzed, seeds):
    analysis = analyzed(plan_with(value(0.9), seeds=range(seeds)), error)
    (row,) = against_published(analysis)
    assert row.agrees is None
    assert f"too few runs to judge ({seeds}; it takes 4)" in answer(analysis)[0]
    document, _ = build(analysis)
    (section,) = (section for section in document.sections if section.anchor == "published")
    assert section.blocks[1].rows[0][-1] == "too few runs"


def test_the_answer_of_a_single_arm_is_whether_it_agrees(analyzed):
    first, *_ = answer(analyzed(plan_with(value(0.115), value(0.3, 200)), error))
    agreeing, differing = first.split(" Published: ")
    assert agreeing.startswith("Published: 11.50 ± 2 % at Labeled images = 10 (Somebody 2020, 10 repetitions); here ")
    assert "which agrees with it (difference 0.0 [" in agreeing
    assert "4 seeds, so this is an indication" in agreeing
    assert differing.startswith("30.00 ± 2 % at Labeled images = 200")
    assert "which does NOT agree with it (difference −18.5 [" in differing


def test_conditions_without_a_published_value_keep_their_means(analyzed):
    first, *_ = answer(analyzed(plan_with(value(0.115)), error))
    assert first.startswith("Published: ")
    assert "Mean test error [95 % t interval], n = 4 seeds: " in first
    assert "Nothing is compared" not in first


def test_several_arms_have_it_after_their_comparisons(analyzed):
    analysis = analyzed(plan_with(value(0.115), arms=TWO), error)
    first, *_, last = answer(analysis)
    assert not first.startswith("Published")
    assert last.startswith("Published: 11.50 ± 2 %")


def test_one_seed_is_shown_and_not_judged(analyzed):
    analysis = analyzed(plan_with(value(0.115), seeds=range(1)), error)
    (row,) = against_published(analysis)
    assert row.agrees is None
    assert not any("Published" in paragraph for paragraph in answer(analysis))
    document, parts = build(analysis)
    (section,) = (section for section in document.sections if section.anchor == "published")
    assert section.blocks[1].rows[0][-2:] == ("–", "too few runs")
    (line,) = csv.DictReader(io.StringIO(parts.csv[PATH]))
    assert (line["published_mean"], line["mean"], line["standard_error"]) == ("0.115", "0.1", "")


def test_a_study_without_published_values_has_no_such_section(analyzed):
    document, parts = build(analyzed(plan_with(), error))
    assert "published" not in {section.anchor for section in document.sections}
    assert PATH not in parts.csv
