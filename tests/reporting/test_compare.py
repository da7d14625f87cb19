"""`report compare A B`: pairing, the verdict in its four forms, and what it refuses."""

import csv
import html
import io

import pytest
from scipy import stats
from synthetic import ARMS, lost, make_plan, make_record

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.report import main
from ssgan_bench.reporting import write_report

TWO = ARMS[:1] + ARMS[3:]
BUDGETS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 200))


def read_rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@pytest.fixture
def stores(make_store, tmp_path):
    """Two run folders of one plan; `change` gives what differs in the second one's records."""

    def build(change=lambda cell: {}, *, first=lambda cell: {}, plan=None, second_plan=None):
        plan = plan or make_plan(arms=TWO, factors=(BUDGETS,))
        a = make_store(plan, first, folder=tmp_path / "a")
        b = make_store(second_plan or plan, change, folder=tmp_path / "b")
        return a, b

    return build


def error_of(plan, cell):
    return make_record(plan, cell).metrics["error_rate"]


def shifted(plan, cell, shift):
    """A record's metrics with another error."""
    record = make_record(plan, cell)
    return {"metrics": record.metrics | {"error_rate": record.metrics["error_rate"] + shift}}


def compare(tmp_path, capsys, *more):
    status = main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), *more])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def test_same_metrics_are_identical_bit_for_bit(stores, tmp_path, capsys):
    stores(lambda cell: {"timing": None, "started_at": "2027-01-01T00:00:00Z"})
    out = compare(tmp_path, capsys)
    assert out.startswith(
        "Identical: in all 32 pairs of runs B ends as A does, with error_rate, nll and ece equal bit for bit."
    )


@pytest.mark.parametrize("metric", ["error_rate", "nll", "ece"])
def test_one_last_bit_in_one_metric_of_one_run_is_not_identical(metric, stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,))

    def change(cell):
        if cell != plan.cells[5]:
            return {}
        metrics = make_record(plan, cell).metrics
        return {"metrics": metrics | {metric: metrics[metric] * (1 + 2**-52)}}

    stores(change)
    assert "Agrees within sampling error: 31 of 32 pairs of runs are identical" in compare(tmp_path, capsys)


def test_noise_agrees_and_the_interval_is_the_paired_t_interval(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,))
    shifts = {cell.cell_id: 0.01 * (-1) ** i * (1 + i % 5) for i, cell in enumerate(plan.cells)}
    stores(lambda cell: shifted(plan, cell, shifts[cell.cell_id]))
    out = compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    assert out.startswith("Agrees within sampling error: 0 of 32 pairs of runs are identical, and no paired difference")
    (row,) = [
        row
        for row in read_rows(tmp_path / "page" / "tables" / "comparison.csv")
        if (row["arm"], row["data.num_labels"]) == ("improved_gan", "10")
    ]
    own = [c for c in plan.cells if (c.arm, c.levels["data.num_labels"]) == ("improved_gan", 10)]
    differences = [shifts[cell.cell_id] for cell in own]
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert [float(row[k]) for k in ("low", "high")] == pytest.approx([interval.low, interval.high])
    assert float(row["largest_absolute_difference"]) == pytest.approx(max(map(abs, differences)))
    assert row["identical"] == "0"


def test_shift_of_one_arm_is_named_and_the_other_arm_is_not(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,))
    stores(
        lambda cell: shifted(plan, cell, 0.0205 + 0.001 * cell.model_seed) if cell.arm == "improved_gan" else {},
    )
    first = compare(tmp_path, capsys).splitlines()[0]
    assert first.startswith("Differs: 16 of 32 pairs of runs are identical, and a difference is shown for")
    assert "K-logit GAN with feature matching (+2.4 [" in first
    assert "p = 0.016 after Holm, n = 8)" in first  # 2/2^8 times two arms
    assert "Labels only" not in first


def test_too_few_seeds_leave_it_undecided_however_large_the_difference(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2))
    stores(lambda cell: shifted(plan, cell, 0.1), plan=plan)
    out = compare(tmp_path, capsys)
    assert out.startswith("Undecided: 0 of 12 pairs of runs are identical, and with so few seeds no difference could")


def test_runs_of_one_split_are_no_independent_pairs(stores, tmp_path, capsys):
    # Three splits with four model seeds each: 12 pairs per arm and condition, and every one of them is worse in B.
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2), model_seeds=range(50, 54))
    more = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2), model_seeds=range(50, 55))
    shift = {split: 0.02 * (1 + split) for split in range(3)}
    stores(lambda cell: shifted(more, cell, shift[cell.split_seed]), plan=plan, second_plan=more)
    out = compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    assert out.startswith("Undecided: 0 of 48 pairs of runs are identical, and with so few splits no difference could")
    interval = stats.ttest_1samp(list(shift.values()), 0).confidence_interval()
    for name in ("comparison", "tests"):
        for row in read_rows(tmp_path / "page" / "tables" / f"{name}.csv"):
            assert row["n"] == "3"
            assert [float(row[k]) for k in ("low", "high")] == pytest.approx([interval.low, interval.high])
    assert {row["num_pairs"] for row in read_rows(tmp_path / "page" / "tables" / "comparison.csv")} == {"12"}
    text = (tmp_path / "page" / "report.md").read_text()
    assert "n = 3 splits; runs of one split are averaged first" in text
    assert "| 0/54, 1/54, 2/54 |" in text


def test_opposite_differences_at_two_levels_are_described_by_level(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,))
    stores(lambda cell: shifted(plan, cell, 0.004 if cell.levels["data.num_labels"] == 10 else -0.004))
    out = compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    rows = read_rows(tmp_path / "page" / "tables" / "comparison.csv")
    assert [round(float(row["difference"]), 9) for row in rows] == [0.004, -0.004, 0.004, -0.004]
    assert out.startswith("Agrees within sampling error")
    assert (
        "single 95 % intervals, not corrected for their number, exclude zero for Labels only at Labeled images = 10; "
        "Labels only at Labeled images = 200; K-logit GAN" in out
    )
    assert "Differences that cancel over the conditions escape it" in (tmp_path / "page" / "report.md").read_text()


def test_runs_without_a_counterpart_and_unlike_ends_are_told(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,))
    more = make_plan(arms=TWO, factors=(BUDGETS,), seeds=range(10))
    diverged = lost(status="diverged", diverged_step=3)
    # The second folder has two more seeds, one run that has not been made, and one that diverged.
    gone, bad = plan.cells[0].cell_id, plan.cells[1].cell_id
    stores(lambda cell: None if cell.cell_id == gone else diverged if cell.cell_id == bad else {}, second_plan=more)
    out = compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    assert "30 of 31 pairs of runs are identical" in out
    assert "Not covered: 1 run only in A and 8 runs only in B." in out
    assert "1 pair ended differently" in out
    assert len(read_rows(tmp_path / "page" / "tables" / "unpaired.csv")) == 9
    assert len(read_rows(tmp_path / "page" / "tables" / "pairs.csv")) == 31


def test_other_machine_commit_and_configuration_are_listed(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,))
    cells = tuple(
        cell.model_copy(update={"config": cell.config | {"network": {"width": 64, "family": "conv"}}})
        for cell in plan.cells
    )
    other = plan.model_copy(update={"cells": cells})

    def change(cell):
        provenance = make_record(other, cell).provenance
        return {"provenance": provenance.model_copy(update={"commit": "feed", "device_name": "Other chip"})}

    stores(change, plan=plan, second_plan=other)
    out = compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    rows = {row["what"]: (row["A"], row["B"]) for row in read_rows(tmp_path / "page" / "tables" / "setup.csv")}
    assert rows == {
        "network.width (all arms)": ("32", "64"),
        "commit": ("0123456789abcdef0123456789abcdef01234567", "feed"),
        "device_name": ("Example Processor 9000", "Other chip"),
    }
    assert "The configuration differs in 32 of 32 pairs" in out


def test_what_the_plans_declare_is_compared(stores, tmp_path, capsys):
    fields = {"margin": 0.01, "yardsticks": ("improved_gan",), "sample_quality": True, "expectation": "Other."}
    small = {"factors": (BUDGETS,), "seeds": (0, 1), "arms": ARMS[:2] + ARMS[3:]}
    stores(plan=make_plan(**small), second_plan=make_plan(**small, **fields))
    compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    rows = {row["what"]: (row["A"], row["B"]) for row in read_rows(tmp_path / "page" / "tables" / "setup.csv")}
    assert rows == {
        "margin": ("none", "0.01"),
        "yardsticks": ("none", "improved_gan"),
        "sample_quality": ("False", "True"),
        "expectation": (make_plan(**small).expectation, "Other."),
    }


def test_report_evidence_and_run_folder_of_the_same_runs_are_alike(stores, tmp_path, capsys):
    store, _ = stores()
    report = write_report(store, tmp_path / "report").index.parent
    for other in (report, report / "evidence", store.folder):
        assert main(["compare", str(report), str(other)]) == 0
        assert capsys.readouterr().out.startswith("Identical: in all 32 pairs")


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ({"study": "other_study"}, "study 'label_budget'"),
        ({"preset": "full"}, "preset 'quick'"),
        ({"metric": "nll"}, "metric 'error_rate'"),
    ],
)
def test_unlike_studies_are_refused_in_one_line(texts, named, stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    stores(plan=plan, second_plan=make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1), **texts))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--to", str(tmp_path / "page")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert named in error
    assert not (tmp_path / "page").exists()


def test_other_protocol_is_refused_in_one_line(stores, tmp_path, capsys):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    newer = plan.model_copy(update={"protocol_version": "2.0"})
    stores(lambda cell: {"protocol_version": "2.0"}, plan=plan, second_plan=newer)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "protocol_version '1.0'" in capsys.readouterr().err


def test_folder_without_runs_is_refused_in_one_line(tmp_path, capsys):
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "name one that holds evidence/, study.json or plan.json" in error


def test_study_named_compare_is_reported_behind_two_dashes(make_store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg/>", b"png"))
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1), study="compare")
    make_store(plan, folder=tmp_path / "runs" / "compare" / "quick")
    assert main(["--out", str(tmp_path), "--", "compare"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("index.html")


def test_hostile_texts_stay_text_on_the_page(stores, tmp_path, capsys):
    evil = '<script>alert(1)</script> & a | b "q" \\input{x} $y_'
    plan = make_plan(arms=(("a", evil), ("b", "B")), factors=(BUDGETS,), seeds=(0, 1), study=evil)
    stores(plan=plan)
    compare(tmp_path, capsys, "--to", str(tmp_path / "page"))
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("<script") == 1
    assert html.escape(evil, quote=False)[:30] in page
    assert "<script" not in (tmp_path / "page" / "report.md").read_text()
    assert all("\\input{" not in tex.read_text() for tex in (tmp_path / "page" / "tables").glob("*.tex"))
