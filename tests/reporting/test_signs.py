"""Collapses, runs at chance, still falling or not reached by a label are said with their counts; metrics are shown."""

import csv

import numpy as np
import pytest
from scipy import stats
from synthetic import BUDGETS, TWO, box, lost, make_plan, read_rows, rows_of

from ssgan_bench.records.schema import TrainingSigns
from ssgan_bench.reporting import render, write_report
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.evidence import read_evidence
from ssgan_bench.reporting.evidence_columns import SINCE_PROTOCOL_3
from ssgan_bench.reporting.sections import build
from ssgan_bench.reporting.signs import signs, unreached_text

NO_SIGN = TrainingSigns(training_error_rate=0.1, still_falling=False, at_chance=False, collapsed=False)
COLLAPSING = (0.19, 0.14, 0.17, 0.47, 0.58, 0.32, 0.18, 0.21, 0.42)

pytestmark = pytest.mark.usefixtures("blank_figures")


def change(cell):
    """At 10 labels the GAN collapses in 3 of 9 runs, and is still falling in 6; labels only are at chance in 2."""
    marked = {}
    if cell.levels["data.num_labels"] == 10 and cell.arm == "improved_gan":
        marked = {"still_falling": cell.model_seed < 6, "collapsed": cell.model_seed == 4}
    elif cell.levels["data.num_labels"] == 10:
        marked = {"at_chance": cell.model_seed < 2}
    error = COLLAPSING[cell.model_seed] if marked.get("still_falling") is not None else 0.3 + 0.01 * cell.model_seed
    return {"error_rate": error, "points": 1, "training": NO_SIGN.model_copy(update=marked)}


@pytest.fixture
def folder(make_store, tmp_path):
    write_report(
        make_store(make_plan(arms=TWO, factors=(BUDGETS,), seeds=tuple(range(9))), change), tmp_path / "report"
    )
    return tmp_path / "report"


def analysis_of(folder):
    return analyze(read_evidence(folder / "evidence"))


def test_signs_are_counted_by_arm_and_condition(folder):
    found = {(group.arm, *group.condition): group for group in signs(analysis_of(folder).evidence)}
    gan, labels_only = found["improved_gan", 10], found["supervised_only", 10]
    assert (gan.collapsed.text, gan.fell_back.text, gan.still_falling.text) == ("3 of 9", "1 of 9", "6 of 9")
    assert (gan.at_chance.runs, gan.at_chance.text) == (0, "")
    assert labels_only.at_chance.text == "2 of 9"
    assert not any(found[arm, 200].still_falling.runs for arm, _ in TWO)


def test_they_stand_in_the_box_beside_the_mean_and_on_the_terminal(make_store, tmp_path):
    store = make_store(make_plan(arms=TWO, factors=(BUDGETS,), seeds=tuple(range(9))), change)
    result = write_report(store, tmp_path / "report")
    place = f"{TWO[1][1]} at {BUDGETS.label} = 10"
    for what, said in (("Collapsed", "3 of 9"), ("Ended far", "1 of 9"), ("Still falling", "6 of 9")):
        (line,) = [line for line in result.signs if line.startswith(what)]
        assert f"{said.split()[0]} of 36 runs; {place} ({said})." in line
        assert line in box(analysis_of(tmp_path / "report"))
        assert line in result.in_a_terminal[-1].splitlines()
    (row,) = [line for line in result.main_table.splitlines() if line.startswith(TWO[1][1])]
    assert "(3 of 9 collapsed)" in row
    (row,) = [line for line in result.main_table.splitlines() if line.startswith(TWO[0][1])]
    assert "(2 of 9 at chance)" in row


def test_a_study_without_signs_says_nothing_of_them(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2, 3))
    result = write_report(make_store(plan, lambda cell: {"error_rate": 0.2}), tmp_path / "report")
    assert result.signs == ()
    assert len(result.in_a_terminal) == 2


def test_a_collapse_is_not_known_of_few_runs(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2))
    write_report(make_store(plan, lambda cell: {"error_rate": (0.1, 0.1, 0.9)[cell.model_seed]}), tmp_path / "report")
    assert {
        (group.collapsed.runs, group.collapsed.of) for group in signs(analysis_of(tmp_path / "report").evidence)
    } == {(0, 0)}


def test_all_metrics_are_shown_with_their_t_intervals(folder):
    (row,) = [
        row
        for row in read_rows(folder / "tables" / "metrics.csv")
        if (row["arm"], row["data.num_labels"]) == ("improved_gan", "10")
    ]
    for metric, values in (("error_rate", np.array(COLLAPSING)), ("nll", 3 * np.array(COLLAPSING))):
        low, high = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
        assert [float(row[f"{metric}_{x}"]) for x in ("mean", "low", "high")] == pytest.approx(
            [values.mean(), low, high]
        )
    assert float(row["ece_mean"]) == pytest.approx(np.mean(COLLAPSING) / 3)
    assert (row["collapsed"], row["collapsed_of"], row["training_error_rate"]) == ("3", "9", "0.1")
    assert "NLL (nats) | ECE" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("shares", "said"),
    [({10: 0.64, 200: 0.0}, "Label spreading at Labeled images = 10 (64.0 %) and 200 (0.0 %)."), ({}, "")],
)
def test_images_that_no_label_reached_are_said_of_graph_methods(shares, said, make_store, tmp_path):
    arms = (*TWO, ("label_spreading", "Label spreading"))
    plan = make_plan(arms=arms, factors=(BUDGETS,), seeds=(0, 1), yardsticks=("label_spreading",))

    def reach(cell):
        return {
            "unreached_share": shares.get(cell.levels["data.num_labels"]) if cell.arm == "label_spreading" else None
        }

    write_report(make_store(plan, reach), tmp_path / "report")
    assert unreached_text(analysis_of(tmp_path / "report")).endswith(said)
    assert ("no label reached" in (tmp_path / "report" / "report.md").read_text()) == bool(said)


def test_the_evidence_carries_what_the_records_say(folder):
    runs = read_evidence(folder / "evidence").runs
    assert set(map(type, runs["at_chance"])) == {bool}
    assert runs["still_falling"].sum() == 6
    assert runs["cpu_seconds"].notna().all()
    assert runs["training_error_rate"].tolist() == [0.1] * 36
    assert runs["unreached_share"].isna().all()


def test_a_lost_run_shows_no_sign(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    worst = plan.cells[0]
    failed = lost(status="failed", error="boom")
    write_report(make_store(plan, lambda cell: failed if cell is worst else {}), tmp_path / "report")
    runs = read_evidence(tmp_path / "report" / "evidence").runs
    assert runs["at_chance"].iloc[0] is None


def test_evidence_of_an_earlier_protocol_is_read_as_not_measured(folder, tmp_path):
    path = folder / "evidence" / "runs.csv"
    rows = read_rows(path)
    old = [{key: value for key, value in row.items() if key not in SINCE_PROTOCOL_3} for row in rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(old[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(old)
    analysis = analysis_of(folder)
    assert len(old[0]) == len(rows[0]) - 6
    assert {(group.at_chance.of, group.still_falling.of, group.fell_back.of) for group in signs(analysis.evidence)} == {
        (0, 0, 0)
    }
    assert any(group.collapsed.runs for group in signs(analysis.evidence))  # of the test errors alone
    render(folder / "evidence", tmp_path / "again")
    text = (tmp_path / "again" / "report.md").read_text()
    assert "that the worker process had used so far" in text
    _, parts = build(analysis)
    assert {row["cpu_seconds"] for row in rows_of(parts, "tables/timing.csv")} == {""}
    assert {row["still_falling"] for row in rows_of(parts, "tables/metrics.csv")} == {""}


def test_processor_time_of_a_run_is_in_its_table(folder):
    text = (folder / "report.md").read_text()
    assert "that the worker process had used so far" not in text
    assert "| CPU, s |" in text
    timing = read_rows(folder / "tables" / "timing.csv")
    assert all(float(row["cpu_seconds"]) == pytest.approx(0.2 * float(row["step_time_ms"])) for row in timing)
