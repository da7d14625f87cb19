"""The labels that runs have really used: shown where the label protocol varies, with the recorded counts."""

import csv
import io
from pathlib import Path

import pytest
from synthetic import make_plan, make_record

from ssgan_bench.records.schema import FactorInfo, StudyPlan
from ssgan_bench.reporting import write_report

ARMS = (("ssgan_fixed", "Fixed labels"), ("ssgan_resampled", "Redrawn mask"))
RATES = FactorInfo(key="data.labeled_rate", label="Labeled share", levels=(0.05, 0.2))


def label_plan(protocols: tuple[str, str]) -> StudyPlan:
    plan = make_plan(arms=ARMS, factors=(RATES,), seeds=(0, 1, 2))
    by_arm = dict(zip((name for name, _ in ARMS), protocols, strict=True))
    cells = [
        cell.model_copy(
            update={"config": cell.config | {"data": cell.config["data"] | {"label_protocol": by_arm[cell.arm]}}}
        )
        for cell in plan.cells
    ]
    return plan.model_copy(update={"cells": tuple(cells)})


@pytest.fixture
def report(make_store, tmp_path, monkeypatch):
    """Redrawn masks use 100, 200, ... labels (seed by seed one more), fixed subsets 20 from the first point on."""
    monkeypatch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg/>", b"png"))

    def make(protocols):
        plan = label_plan(protocols)

        def change(cell):
            curves = make_record(plan, cell, points=3).curves
            if cell.arm == "ssgan_fixed":
                return {"curves": curves}
            counted = [
                point.model_copy(update={"labels_used": 100 * k + cell.model_seed}) for k, point in enumerate(curves, 1)
            ]
            return {"curves": tuple(counted)}

        write_report(make_store(plan, change), tmp_path / "report")
        return tmp_path / "report"

    return make


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


def test_labels_used_are_shown_by_epoch_beside_the_nominal_number(report):
    folder = report(("fixed", "resampled"))
    rows = rows_of(folder / "tables" / "labels_used.csv")
    assert len(rows) == 2 * 2 * 3
    resampled = [r for r in rows if r["arm"] == "ssgan_resampled" and r["data.labeled_rate"] == "0.2"]
    assert [float(r["labels_used"]) for r in resampled] == [101, 201, 301]  # mean over seeds 0, 1 and 2
    assert [float(r["epoch"]) for r in resampled] == pytest.approx([0.7, 1.4, 2.1])
    assert {r["n"] for r in rows} == {"3"}
    assert {(float(r["nominal_labels"]), float(r["training_images"])) for r in rows} == {(20, 1200)}
    text = (folder / "report.md").read_text()
    assert "## Labels really used" in text
    assert "| Fixed labels | 0.05 | 20 | 20 | 1.0 × | 1.7 % | 2.1 |" in text
    assert "| Redrawn mask | 0.2 | 20 | 301 | 15.1 × | 25.1 % | 2.1 |" in text
    assert sorted(path.name for path in (folder / "figures").glob("labels*.svg")) == ["labels_1.svg", "labels_2.svg"]
    curves = rows_of(folder / "evidence" / "curves.csv")
    assert {(r["kind"], r["name"]) for r in curves if r["kind"] == "labels"} == {("labels", "labels_used")}


def test_labels_used_are_not_shown_where_all_arms_share_a_protocol(report):
    folder = report(("fixed", "fixed"))
    assert "Labels really used" not in (folder / "report.md").read_text()
    assert not list((folder / "figures").glob("labels*"))
    assert not (folder / "tables" / "labels_used.csv").exists()


FOUR = (
    ("ssgan_fixed", "SSGAN, fixed"),
    ("ssgan_redrawn", "SSGAN, redrawn"),
    ("supervised_only", "Labels only"),
    ("supervised_redrawn", "Labels only, redrawn"),
)
ERRORS = {"ssgan_fixed": 0.20, "ssgan_redrawn": 0.15, "supervised_only": 0.18, "supervised_redrawn": 0.16}


def with_protocols(plan: StudyPlan) -> StudyPlan:
    """Let arms named "redrawn" redraw their mask."""
    cells = []
    for cell in plan.cells:
        protocol = "resampled" if cell.arm.endswith("redrawn") else "fixed"
        data = cell.config["data"] | {"label_protocol": protocol}
        method = {"name": cell.config["method"]["name"]}  # the same for an arm and its twin
        cells.append(cell.model_copy(update={"config": cell.config | {"data": data, "method": method}}))
    return plan.model_copy(update={"cells": tuple(cells)})


def test_gain_of_a_redrawn_mask_is_taken_apart(make_store, tmp_path, monkeypatch):
    """Seeds 0 to 2 add 0, 1 and 2 points to all arms; at 0.2 the SSGAN with fixed labels of seed 2 is lost."""
    monkeypatch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg/>", b"png"))
    plan = with_protocols(make_plan(arms=FOUR, factors=(RATES,), seeds=(0, 1, 2)))

    def change(cell):
        if (cell.arm, cell.levels["data.labeled_rate"], cell.split_seed) == ("ssgan_fixed", 0.2, 2):
            return {"status": "failed", "metrics": {}}
        return {"metrics": {"error_rate": ERRORS[cell.arm] + 0.01 * cell.split_seed}}

    write_report(make_store(plan, change), tmp_path / "report")
    rows = rows_of(tmp_path / "report" / "tables" / "label_leak.csv")
    assert [(r["arm"], r["data.labeled_rate"], r["labels_alone"], r["n"]) for r in rows] == [
        ("ssgan_redrawn", "0.05", "supervised_only", "3"),
        ("ssgan_redrawn", "0.2", "supervised_only", "2"),
    ]
    for row in rows:
        parts = [float(row[name]) for name in ("apparent", "leak", "honest")]
        assert parts == pytest.approx([0.03, 0.05, -0.02])
    text = (tmp_path / "report" / "report.md").read_text()
    assert (
        "SSGAN, redrawn against Labels only at Labeled share = 0.05 and 0.2: the apparent gain of +3.0 and +3.0 is the "
        "sum of +5.0 and +5.0 by the redrawn mask and −2.0 and −2.0 with fixed labels (means in percentage points, "
        "described, not tested)."
    ) in text


def test_nothing_is_taken_apart_without_a_twin_or_labels_alone(report):
    folder = report(("fixed", "resampled"))
    assert not (folder / "tables" / "label_leak.csv").exists()
    assert "apparent gain" not in (folder / "report.md").read_text()


def test_parts_of_a_gain_are_given_while_the_levels_of_the_family_have_no_run_yet(make_store, tmp_path, monkeypatch):
    monkeypatch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg/>", b"png"))
    rates = FactorInfo(key="data.labeled_rate", label="Labeled share", levels=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5))
    plan = with_protocols(make_plan(arms=FOUR, factors=(rates,), seeds=(0, 1), family=(0.5,)))
    write_report(
        make_store(plan, lambda cell: None if cell.levels["data.labeled_rate"] == 0.5 else {"curves": ()}),
        tmp_path / "report",
    )
    assert (
        "at Labeled share = 0.05, 0.1, 0.2, 0.3 and 0.4: the apparent gain"
        in (tmp_path / "report" / "report.md").read_text()
    )
