"""What a report says beyond differences from the baseline: equivalence, power, labels needed, variance."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired
from synthetic import LABELS, TWO, box, make_plan, rows_of, wobble

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.answer import answer
from ssgan_bench.reporting.exact_power import detectable_effect_exact
from ssgan_bench.reporting.findings import crossing
from ssgan_bench.reporting.label_efficiency import needed_text
from ssgan_bench.reporting.sections import build

BUDGETS = FactorInfo(key="data.num_labels", label="Labels", levels=(10, 200))
THREE = FactorInfo(key="data.num_labels", label="Labels", levels=(10, 100, 1000))


# Equivalence


def test_equivalence_is_shown_after_holm_and_said_first(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), margin=0.01)
    analysis = analyzed(plan, lambda cell: 0.2 + wobble(cell))
    assert {row.verdict for row in analysis.comparisons} == {"equivalent"}
    first, details, footing, *_ = answer(analysis)
    assert (
        "Equivalence with Labels only within 1 percentage point is shown for "
        "K-logit GAN with feature matching at Labels = 10 and 200." in first
    )
    assert "equivalent within 1 at Labels = 10 and 200" in details
    assert "two one-sided t tests" in footing
    assert any(
        item.startswith("“Equivalent within 1” means: a true difference of 1 percentage point")
        for item in box(analysis)
    )


def test_equivalence_of_few_seeds_is_an_indication_and_lost_runs_that_undo_it_are_named(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=range(5), margin=0.01)
    gone = next(cell for cell in plan.cells if cell.arm == "improved_gan")
    analysis = analyzed(plan, lambda cell: None if cell is gone else 0.2 + wobble(cell))
    first = answer(analysis)[0]
    assert first.startswith(
        "No difference from Labels only is shown, and with so few seeds none could be, however large. Below 8 seeds "
        "this is an indication, not a claim: Equivalence with Labels only within 1 percentage point is shown for "
    )
    assert first.endswith("Counting lost runs as failures of their arm would change this; see below.")
    assert any("The protocol asks for at least 8 seeds for a claim" in item for item in box(analysis))


def test_too_few_seeds_without_an_equivalence_indicate_nothing_that_needs_a_caveat(analyzed):
    analysis = analyzed(make_plan(arms=TWO, factors=(BUDGETS,), seeds=range(3)), lambda cell: 0.2 + wobble(cell))
    assert answer(analysis)[0].endswith("however large.")


def test_equivalence_p_is_the_paired_t_test_of_the_records_with_holm_over_the_family(analyzed):
    plan = make_plan(factors=(LABELS,), family=(10, 20), margin=0.02)
    analysis = analyzed(plan, lambda cell: 0.3 + wobble(cell, 0.02))
    _, parts = build(analysis)
    rows = rows_of(parts, "tables/differences.csv")
    errors = {}
    for cell in plan.cells:
        errors.setdefault((cell.arm, cell.levels["data.num_labels"]), []).append(0.3 + wobble(cell, 0.02))
    for row in rows:
        level = int(row["data.num_labels"])
        ours, theirs = np.array(errors[row["arm"], level]), np.array(errors["supervised_only", level])
        assert float(row["tost_p"]) == pytest.approx(ttost_paired(ours, theirs, -0.02, 0.02)[0])
        assert float(row["iqm"]) == pytest.approx(scipy_stats.trim_mean(ours - theirs, 0.25))
        u = scipy_stats.mannwhitneyu(ours, theirs).statistic
        assert float(row["probability_of_improvement"]) == pytest.approx(1 - u / 64)
        assert float(row["share_better"]) == np.mean(ours < theirs)
        assert row["margin"] == "0.02"
    inside = [row for row in rows if row["in_family"] == "True"]
    adjusted = multipletests([float(row["tost_p"]) for row in inside], method="holm")[1]
    assert [float(row["tost_p_holm"]) for row in inside] == pytest.approx(list(adjusted))
    assert {row["tost_p_holm"] for row in rows if row["in_family"] == "False"} == {""}


def test_shown_difference_goes_before_an_equivalence_and_is_said_to_be_small(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), margin=0.05)
    analysis = analyzed(plan, lambda cell: 0.2 + wobble(cell) - 0.01 * (cell.arm != "supervised_only"))
    assert {(row.verdict, row.equivalent) for row in analysis.comparisons} == {("better", True)}
    assert "is shown to be below the margin of 5 percentage points" in answer(analysis)[1]


@pytest.mark.parametrize("margin", [0.02, None])
def test_forest_shades_the_margin_and_its_caption_says_so(analyzed, margin):
    document, parts = build(analyzed(make_plan(arms=TWO, factors=(BUDGETS,), margin=margin), lambda cell: 0.3))
    (axes,) = parts.drawings["differences"]().axes
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == ([] if margin is None else pytest.approx([4.0]))
    (section,) = [section for section in document.sections if section.anchor == "differences"]
    assert ("below the margin of 2 percentage points" in section.blocks[0].caption) == (margin is not None)


def test_without_a_margin_nothing_is_equivalent_and_the_box_says_what_that_means(analyzed):
    analysis = analyzed(make_plan(arms=TWO, factors=(BUDGETS,)), lambda cell: 0.2 + wobble(cell))
    assert {row.verdict for row in analysis.comparisons} == {"no difference shown"}
    assert any("declares no margin" in item for item in box(analysis))
    assert not any("equivalent" in text.lower() for text in answer(analysis))


def test_differences_that_exceed_the_margin_are_not_equivalent(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), margin=0.01)
    analysis = analyzed(plan, lambda cell: 0.2 + wobble(cell, 0.05))
    assert {row.verdict for row in analysis.comparisons} == {"no difference shown"}


def test_box_says_what_could_have_been_shown(analyzed):
    # Differences of +-1 point: standard deviation 1.069; power at 0.05 / 2 with 8 pairs.
    plan = make_plan(arms=TWO, factors=(BUDGETS,), margin=0.005)
    analysis = analyzed(
        plan, lambda cell: 0.2 + 0.01 * (1 if cell.model_seed % 2 else -1) * (cell.arm != "supervised_only")
    )
    (power,) = [item for item in box(analysis) if item.startswith("Power:")]
    assert "with 8 seeds and the spread seen here (standard deviation of the paired differences 1.1 percentage" in power
    spread = 0.01 * math.sqrt(8 / 7)
    shown = 100 * spread * detectable_effect_exact(8, 2)
    assert f"a true difference of {shown:.1f} percentage points would be shown with probability 0.8" in power
    seeds = math.ceil(TTestPower().solve_power(0.005 / spread, alpha=0.05 / 2, power=0.8))
    assert (
        f"with probability 0.8 you need {seeds} seeds." in power
    )  # so many that the t test's power is the exact one's


# Label efficiency


def curve(labels):
    return 0.8 * labels**-0.3  # a power of the labels: straight in both logarithms


def test_labels_needed_are_read_from_the_baselines_curve_with_pairs_kept(analyzed):
    # The arm is as good as the baseline with ten times its labels, minus a little; the luck of a seed is shared.
    def error(cell):
        luck = 1 + 0.1 * math.sin(cell.split_seed)
        factor = 1 if cell.arm == "supervised_only" else 10**0.5
        return curve(cell.levels["data.num_labels"] * factor) * luck

    analysis = analyzed(make_plan(arms=TWO, factors=(THREE,)), error)
    found = {row.condition[0]: row for row in analysis.efficiency}
    assert found[10].labels.needed == pytest.approx(10**1.5)
    assert (found[10].labels.low, found[10].labels.high) == pytest.approx((10**1.5, 10**1.5))
    assert [needed_text(found[level]) for level in (10, 100, 1000)] == [
        "32 [32, 32]",
        "316 [316, 316]",
        ">1,000 [>1,000, >1,000]",
    ]
    (sentence,) = [text for text in answer(analysis) if text.startswith("Label efficiency")]
    assert "at Labels = 10, the baseline Labels only needs" in sentence
    assert "32 [32, 32] for K-logit GAN" in sentence
    _, parts = build(analysis)
    rows = rows_of(parts, "tables/label_efficiency.csv")
    assert [(row["needed_beyond"], bool(row["needed"])) for row in rows] == [("", True), ("", True), (">1,000", False)]
    assert "label_efficiency" in parts.drawings


def test_seed_without_a_baseline_run_is_left_out_of_the_curve(analyzed):
    plan = make_plan(arms=TWO, factors=(THREE,))
    gone = next(c for c in plan.cells if c.arm == "supervised_only" and c.levels["data.num_labels"] == 1000)
    analysis = analyzed(plan, lambda cell: None if cell is gone else curve(cell.levels["data.num_labels"]))
    assert {row.labels.n for row in analysis.efficiency} == {7}


@pytest.mark.parametrize(
    "factor", [BUDGETS, FactorInfo(key="network.width", label="Width", levels=(8, 16, 32))], ids=["two levels", "width"]
)
def test_other_studies_have_no_label_efficiency(factor, analyzed):
    analysis = analyzed(make_plan(arms=TWO, factors=(factor,)), lambda cell: 0.3)
    assert analysis.efficiency == []
    document, parts = build(analysis)
    assert "label-efficiency" not in [section.anchor for section in document.sections]
    assert "tables/label_efficiency.csv" not in parts.csv


# Crossed designs


def crossed(**fields):
    return make_plan(arms=TWO, factors=(BUDGETS,), seeds=range(6), model_seeds=(50, 51, 52), **fields)


def test_runs_of_one_split_are_averaged_before_pairing_so_that_n_counts_splits(analyzed):
    plan = crossed()
    analysis = analyzed(plan, lambda cell: 0.3 + wobble(cell, 0.02))
    errors = {
        (c.arm, c.levels["data.num_labels"], c.split_seed, c.model_seed): 0.3 + wobble(c, 0.02) for c in plan.cells
    }
    for row in analysis.comparisons:
        level = row.condition[0]
        d = [
            np.mean([errors[row.arm, level, s, m] - errors["supervised_only", level, s, m] for m in (50, 51, 52)])
            for s in range(6)
        ]
        interval = scipy_stats.ttest_1samp(d, 0).confidence_interval(0.95)
        assert row.difference.n == 6
        assert (row.difference.low, row.difference.high) == pytest.approx((interval.low, interval.high))
    assert {(m.estimate.n, m.runs, m.planned) for m in analysis.means} == {(6, 18, 18)}
    assert any("6 splits with 3 model seeds each" in item for item in box(analysis))
    assert any("compared split by split" in item for item in box(analysis))


def test_lost_run_of_a_crossed_design_leaves_its_split_in_the_pairs_and_out_of_the_components(analyzed):
    plan = crossed()
    analysis = analyzed(plan, lambda cell: None if cell is plan.cells[-1] else 0.3 + wobble(cell, 0.02))
    row = analysis.comparisons[-1]
    assert row.difference.n == 6
    assert analysis.pessimistic[-1].difference.mean > row.difference.mean
    assert [spread.components.splits for spread in analysis.spreads] == [6, 6, 6, 5]
    document, _ = build(analysis)
    (problems,) = [section for section in document.sections if section.anchor == "problems"]
    assert len(problems.blocks[-1].rows) == 1  # the comparison that the lost run touches


def test_answer_says_where_the_variance_comes_from(analyzed):
    def error(cell):
        return 0.3 + 0.03 * math.sin(3 * cell.split_seed) + 0.001 * cell.model_seed + wobble(cell, 0.001)

    analysis = analyzed(crossed(), error)
    sentence = answer(analysis)[0]  # the question of a crossed study: first of all
    assert sentence.startswith("Of the variance")
    assert "By intervals that do not overlap, the choice of labeled images varies results more" in sentence
    _, parts = build(analysis)
    rows = rows_of(parts, "tables/variance_components.csv")
    assert [row["component"] for row in rows[:3]] == ["split", "model", "rest"]
    assert sum(float(row["share"]) for row in rows[:3]) == pytest.approx(1)
    assert float(rows[0]["share"]) > 0.9
    assert "variance" in parts.drawings


def test_plain_study_and_an_l_shaped_one_are_not_crossed(analyzed):
    plain = make_plan(arms=TWO, factors=(BUDGETS,))
    assert crossing(analyzed(plain, lambda cell: 0.3).evidence.study) == ([], [])
    square = crossed()
    arms_of_an_l = [cell for cell in square.cells if cell.split_seed == 0 or cell.model_seed == 50]
    assert crossing(square.model_copy(update={"cells": tuple(arms_of_an_l)})) == ([], [])
    assert crossing(square) == ([0, 1, 2, 3, 4, 5], [50, 51, 52])


def test_one_split_with_many_model_seeds_counts_model_seeds_and_says_so(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(7,), model_seeds=range(5))
    analysis = analyzed(plan, lambda cell: 0.3 + wobble(cell))
    assert {row.difference.n for row in analysis.comparisons} == {5}
    assert analysis.spreads == []
    assert any("not other labeled images" in item for item in box(analysis))


def test_drawings_of_all_designs_render(analyzed):
    plan = make_plan(arms=TWO, factors=(THREE,), seeds=range(4), model_seeds=(50, 51))
    _, parts = build(analyzed(plan, lambda cell: curve(cell.levels["data.num_labels"]) * (1 + wobble(cell, 0.1))))
    for name in ("label_efficiency", "variance"):
        figure = parts.drawings[name]()
        figure.canvas.draw()
        box_of = figure.axes[0].xaxis.label.get_window_extent()
        assert 0 <= box_of.x0 < box_of.x1 <= figure.bbox.x1, name
