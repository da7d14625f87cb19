"""Means beside published ones: the verdict follows the arithmetic, and nothing is judged without a spread."""

import csv
import io

import numpy as np
import pytest
from synthetic import BUDGETS, TWO, make_plan

from ssgan_bench.records.schema import PublishedValue
from ssgan_bench.reporting.answer import answer
from ssgan_bench.reporting.published import PATH, against_published
from ssgan_bench.reporting.sections import build

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


@pytest.mark.parametrize(("distance", "agrees"), [(1.9, True), (-1.9, True), (2.1, False), (-2.1, False)])
def test_two_standard_errors_of_the_difference_decide(analyzed, distance, agrees):
    standard_error = np.sqrt(np.var(ERRORS, ddof=1) / 4 + 0.02**2 / 10)
    (row,) = against_published(analyzed(plan_with(value(np.mean(ERRORS) + distance * standard_error)), error))
    assert row.standard_error == pytest.approx(standard_error)
    assert row.difference == pytest.approx(-distance * standard_error)
    assert row.agrees is agrees


def test_the_answer_of_a_single_arm_is_whether_it_agrees(analyzed):
    first, *_ = answer(analyzed(plan_with(value(0.115), value(0.3, 200)), error))
    agreeing, differing = first.split(" Published: ")
    assert agreeing == (
        "Published: 11.50 ± 2 % at Labeled images = 10 (Somebody 2020, 10 repetitions); here 11.5 [9.4, 13.6] %, which "
        "is within two standard errors of it (difference 0.0, standard error 0.90 percentage points; the t interval "
        "here, which allows for the unknown spread, contains it; 4 seeds, so this is an indication)."
    )
    assert differing.startswith("30.00 ± 2 % at Labeled images = 200")
    assert "which is NOT within two standard errors of it (difference −18.5," in differing
    assert "does not contain it; 4 seeds" in differing


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
    assert section.blocks[1].rows[0][-2:] == ("–", "–")
    (line,) = csv.DictReader(io.StringIO(parts.csv[PATH]))
    assert (line["published_mean"], line["mean"], line["standard_error"]) == ("0.115", "0.1", "")


def test_a_study_without_published_values_has_no_such_section(analyzed):
    document, parts = build(analyzed(plan_with(), error))
    assert "published" not in {section.anchor for section in document.sections}
    assert PATH not in parts.csv
