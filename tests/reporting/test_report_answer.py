"""What a report answers: verdicts over the declared family, both readings of lost runs, every kind of factor."""

import html
import json

import pytest
from statsmodels.stats.multitest import multipletests
from synthetic import ARMS, BUDGETS, TWO, lost, make_plan, read_rows

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting import render, write_report


@pytest.mark.usefixtures("blank_figures")
def test_one_seed_gives_no_interval_and_no_p_value(make_store, tmp_path):
    store = make_store(make_plan(seeds=(4,), arms=TWO, factors=(BUDGETS,)))
    result = write_report(store, tmp_path / "report")
    assert result.answer.startswith("One seed shows nothing")
    assert not (tmp_path / "report" / "tables" / "differences.csv").exists()
    assert "[" not in result.main_table
    page = result.index.read_text()
    assert "p (Holm)" not in page
    assert "One seed: no interval, no p value, no verdict." in page


@pytest.mark.usefixtures("blank_figures")
def test_too_few_seeds_for_the_family_are_said_to_show_nothing(make_store, tmp_path):
    # 12 comparisons times 2/2^8 is 0.094: Holm cannot pass 0.05 even for the largest effect.
    store = make_store(make_plan(), lambda cell: {"points": 1})
    answer = write_report(store, tmp_path / "report").answer
    assert "No difference from Labels only is shown, and with so few seeds none could be" in answer
    assert "after Holm 0.094, and a verdict would take at least 9 seeds" in answer
    assert "K-logit GAN with feature matching lower at Labeled images = 10, 20 and 50" in answer


@pytest.mark.usefixtures("blank_figures")
def test_declared_family_can_show_with_eight_seeds_what_all_levels_together_cannot(make_store, tmp_path):
    # The same runs as above, but 6 declared comparisons: 6 times 2/2^8 is 0.047.
    plan = make_plan(family=(10, 20))
    result = write_report(make_store(plan, lambda cell: {"points": 1}), tmp_path / "report")
    _, first, *_ = result.answer.split("\n\n")
    assert (
        "A lower test error than Labels only is shown for K-logit GAN with feature matching "
        "at Labeled images = 10 and 20."
    ) in first
    assert "the declared family of 6 comparisons (Labeled images = 10 and 20)" in result.answer
    assert "after Holm 0.047" in result.answer


@pytest.mark.usefixtures("blank_figures")
def test_holm_runs_over_the_declared_family_only_and_other_levels_claim_nothing(make_store, tmp_path):
    plan = make_plan(family=(10, 20))
    result = write_report(make_store(plan, lambda cell: {"points": 1}), tmp_path / "report")
    rows = read_rows(tmp_path / "report" / "tables" / "differences.csv")
    inside = [row for row in rows if row["data.num_labels"] in ("10", "20")]
    outside = [row for row in rows if row["data.num_labels"] in ("50", "200")]
    assert len(inside) == len(outside) == 6
    adjusted = multipletests([float(row["p"]) for row in inside], method="holm")[1]
    assert [float(row["p_holm"]) for row in inside] == pytest.approx(list(adjusted))
    assert {row["in_family"] for row in inside} == {"True"}
    # The K-logit arm wins at 50 labels for every seed, and still nothing is claimed there.
    assert min(float(row["p"]) for row in outside) == 2 / 2**8
    assert {(row["p_holm"], row["verdict"], row["in_family"]) for row in outside} == {("", "described only", "False")}
    assert all(float(row["low"]) < float(row["mean"]) < float(row["high"]) for row in outside)
    described = [text for text in result.answer.split("\n\n") if "Labeled images = 50" in text]
    assert len(described) == 1
    assert described[0].startswith("At Labeled images = 50 and 200, outside the family, nothing is claimed;")
    page = html.unescape(result.index.read_text())
    assert page.count("not in the family") == len(outside)


@pytest.mark.usefixtures("blank_figures")
def test_family_spans_the_levels_of_further_factors(make_store, tmp_path):
    width = FactorInfo(key="network.width", label="Width", levels=(16, 32))
    plan = make_plan(arms=TWO, factors=(BUDGETS, width), family=(10,), seeds=(0, 1, 2))
    write_report(make_store(plan), tmp_path / "report")
    rows = read_rows(tmp_path / "report" / "tables" / "differences.csv")
    tested = {(row["data.num_labels"], row["network.width"]) for row in rows if row["in_family"] == "True"}
    assert tested == {("10", "16"), ("10", "32")}


@pytest.mark.usefixtures("blank_figures")
def test_family_that_names_no_level_is_refused_in_one_line(report, tmp_path):
    _, _, folder = report
    study = folder / "evidence" / "study.json"
    plan = json.loads(study.read_text())
    assert plan["family"] == [10, 200]
    study.write_text(json.dumps(plan | {"family": [11]}))
    with pytest.raises(ConfigError, match=r"family: names no level of data\.num_labels"):
        render(folder / "evidence", tmp_path / "new")


@pytest.mark.usefixtures("blank_figures")
def test_answer_names_where_an_arm_is_better_worse_and_not_shown(make_store, tmp_path):
    plan = make_plan(
        arms=(("supervised_only", "Labels only"), ("a", "Method A"), ("b", "Method B")),
        factors=(BUDGETS,),
        seeds=tuple(range(10)),
    )

    def change(cell):
        effect = {"supervised_only": (0, 0), "a": (-0.1, 0.05), "b": (0.1, 0.0)}[cell.arm]
        wobble = 0.001 * (cell.model_seed + 1) * (1 if (cell.model_seed % 2 or cell.arm != "b") else -1)
        shift = effect[0] if cell.levels["data.num_labels"] == 10 else effect[1]
        return {"error_rate": 0.4 + shift + (wobble if cell.arm != "supervised_only" else 0), "points": 1}

    answer = write_report(make_store(plan, change), tmp_path / "report").answer
    assert (
        "A lower test error than Labels only is shown for Method A at Labeled images = 10. "
        "A higher one is shown for Method A at Labeled images = 200; Method B at Labeled images = 10.\n"
    ) in answer
    assert "Method A: better at Labeled images = 10 (−9.4 [" in answer
    assert ", worse at Labeled images = 200 (+5.5 [" in answer
    assert "Method B: worse at Labeled images = 10 (" in answer
    assert ", no difference shown at Labeled images = 200; not shown to help." in answer


@pytest.mark.usefixtures("blank_figures")
def test_verdict_whose_interval_includes_zero_is_flagged(make_store, tmp_path):
    # Seven seeds gain 0.1 points and one gains 10: all signs agree, so p is at its floor, but the t interval is wide.
    plan = make_plan(arms=TWO, factors=(BUDGETS,))

    def change(cell):
        gain = 0 if cell.arm == "supervised_only" else 0.1 if cell.model_seed == 0 else 0.001
        steady = cell.levels["data.num_labels"] == 200
        return {"error_rate": 0.4 - (0.1 if steady and gain else gain), "points": 1}

    answer = write_report(make_store(plan, change), tmp_path / "report").answer
    assert "is shown for K-logit GAN with feature matching at Labeled images = 10 and 200." in answer
    assert "Test and interval disagree for K-logit GAN with feature matching at Labeled images = 10:" in answer


@pytest.mark.usefixtures("blank_figures")
def test_both_readings_of_lost_runs_are_given(report):
    _, result, folder = report
    rows = read_rows(folder / "tables" / "differences.csv")
    lost_rows = {row["reading"]: row for row in rows if row["data.num_labels"] == "200"}
    assert lost_rows["dropped"]["n"] == "7"
    assert lost_rows["counted_as_worst"]["n"] == "8"
    assert float(lost_rows["counted_as_worst"]["mean"]) > float(lost_rows["dropped"]["mean"]) + 0.05
    assert "counting each failed or diverged run as 90.0 %" in result.answer


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize(("num_classes", "chance"), [(2, "50.0 %"), (4, "75.0 %"), (100, "99.0 %")])
def test_lost_run_counts_as_chance_level_of_the_recorded_classes(num_classes, chance, make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2))
    # The lost run failed before it knew its classes.
    failed = lost(status="failed", error="boom", splits=None)
    store = make_store(
        plan,
        lambda cell: failed if cell is plan.cells[-1] else {"error_rate": 0.2, "num_classes": num_classes},
    )
    answer = write_report(store, tmp_path / "report").answer
    assert f"counting each failed or diverged run as {chance} instead" in answer


@pytest.mark.usefixtures("blank_figures")
def test_lost_run_counts_as_the_worst_run_where_that_is_worse_than_chance(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2))
    store = make_store(
        plan,
        lambda cell: (
            lost(status="diverged", diverged_step=7, num_classes=2)
            if cell is plan.cells[-1]
            else {"error_rate": 0.6 if cell is plan.cells[0] else 0.2, "num_classes": 2}
        ),
    )
    assert "run as 60.0 % instead" in write_report(store, tmp_path / "report").answer


FACTOR_SETS = {
    "no factor": (),
    "one level": (FactorInfo(key="data.num_labels", label="Labels", levels=(20,)),),
    "words": (FactorInfo(key="method.variant", label="Variant", levels=("a", "b")),),
    "switch": (FactorInfo(key="method.flag", label="Flag", levels=(False, True)),),
    "linear": (FactorInfo(key="network.dropout", label="Dropout", levels=(0.1, 0.2, 0.3)),),
    "with zero": (FactorInfo(key="method.weight", label="Weight", levels=(0, 0.01, 1)),),
    "two factors": (BUDGETS, FactorInfo(key="network.width", label="Width", levels=(16, 32))),
}


@pytest.mark.parametrize("factors", FACTOR_SETS.values(), ids=FACTOR_SETS)
def test_every_kind_of_factor_has_a_main_figure_and_a_column_per_condition(factors, make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=factors, seeds=(0, 1, 2))
    write_report(make_store(plan, lambda cell: {"curves": ()}), tmp_path / "report")
    conditions = len({tuple(cell.levels.items()) for cell in plan.cells})
    rows = read_rows(tmp_path / "report" / "tables" / "main.csv")
    assert len(rows) == 2 * conditions
    assert all(row["n"] == "3" for row in rows)
    panels = list((tmp_path / "report" / "figures").glob("main*.svg"))
    assert len(panels) == (2 if len(factors) == 2 else 1)


@pytest.mark.usefixtures("blank_figures")
def test_one_arm_is_reported_without_a_comparison(make_store, tmp_path):
    plan = make_plan(arms=ARMS[:1], factors=(BUDGETS,), seeds=(0, 1, 2))
    result = write_report(make_store(plan), tmp_path / "report")
    assert result.answer.startswith("Nothing is compared: the study has one arm.")


@pytest.mark.usefixtures("blank_figures")
def test_study_without_any_result_is_reported_as_such(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    store = make_store(plan, lambda cell: lost(status="failed", error="boom") if cell.arm != "improved_gan" else None)
    result = write_report(store, tmp_path / "report")
    assert result.answer == "There is no answer yet: none of the 8 planned runs has a result."


@pytest.mark.usefixtures("blank_figures")
def test_other_metric_is_not_shown_as_percent(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2), metric="nll")
    result = write_report(make_store(plan), tmp_path / "report")
    assert "percentage" not in result.answer
    assert "nats" in result.index.read_text()
    assert "%" not in result.main_table


@pytest.mark.usefixtures("blank_figures")
def test_many_arms_with_one_verdict_are_not_named_one_by_one(make_store, tmp_path):
    arms = [("base", "Base"), *((f"arm_{i}", f"Arm {i}") for i in range(5))]
    plan = make_plan(arms=arms, factors=(BUDGETS,), family=(10,))

    def change(cell):
        return {"metrics": {"error_rate": (0.2 if cell.arm == "base" else 0.3) + 0.001 * cell.model_seed}, "curves": ()}

    answer = write_report(make_store(plan, change), tmp_path / "report").answer
    assert (
        "No arm is shown to have a lower test error than Base. A higher one is shown for all 5 tested arms at "
        "Labeled images = 10."
    ) in answer
    assert "Arm 3: worse at Labeled images = 10" in answer
