"""The headline table says what the committed evidence says, and docs/results.md holds that table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_plan

from ssgan_bench.config import ConfigError
from ssgan_bench.evidence.__main__ import results_with_headline
from ssgan_bench.records.schema import Cell, PublishedValue
from ssgan_bench.records.store import RecordStore
from ssgan_bench.reporting import headline as module
from ssgan_bench.reporting import write_report
from ssgan_bench.reporting.headline import BEGIN, END, ROWS, headline, with_headline
from ssgan_bench.trials.plan import make_plan as make_cells
from ssgan_bench.trials.study_file import read_study

ROOT = Path(__file__).parents[2]
Store = Callable[..., RecordStore]


def test_the_results_hold_the_table_of_the_committed_reports() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert results_with_headline() == text, "run python -m ssgan_bench.evidence --headline"


def test_validation_errors_are_named_so_and_never_the_headline(make_store: Store, tmp_path: Path) -> None:
    plan = make_plan(study="labeled_rate", preset="full")
    cells = [
        cell.model_copy(
            update={"config": cell.config | {"data": cell.config["data"] | {"evaluation_set": "validation"}}}
        )
        for cell in plan.cells
    ]
    result = write_report(
        make_store(plan.model_copy(update={"cells": tuple(cells)})), tmp_path / "reports" / "labeled_rate" / "full"
    )
    page = result.index.read_text(encoding="utf-8")
    assert "validation error (%)" in page
    assert "test error" not in result.answer + result.main_table + page
    assert headline(tmp_path / "reports", {}) == headline(tmp_path / "none", {})


def test_what_was_not_measured_has_no_row(tmp_path: Path) -> None:
    assert len(headline(tmp_path, {}).splitlines()) == 2  # the head


def test_a_document_without_a_place_is_refused() -> None:
    assert with_headline(f"a {BEGIN} old {END} b", "new") == f"a {BEGIN}\n\nnew\n\n{END} b"
    for text in ("nothing", BEGIN, f"{END} {BEGIN}"):
        with pytest.raises(ConfigError, match="no place"):
            with_headline(text, "new")


def test_a_measured_row_has_its_interval_count_hardware_and_commit(
    make_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    arm = plan.arms[1].name

    def change(cell: Cell) -> dict[str, Any] | None:
        if cell.arm == arm and cell.levels["data.num_labels"] == 50 and cell.model_seed == 0:
            return None  # one run is missing
        return {"error_rate": 0.25}

    write_report(make_store(plan, change), tmp_path / plan.study / plan.preset)
    row = replace(ROWS[0], study=plan.study, preset=plan.preset, arm=arm, num_labels=20)
    rows = (row, replace(row, num_labels=50), replace(row, num_labels=1000), replace(row, arm="no such arm"))
    monkeypatch.setattr(module, "ROWS", rows)
    published = PublishedValue(arm=arm, levels={"data.num_labels": 20}, mean=0.2, sd=0.01, n=10, source="Somebody")
    lines = headline(tmp_path, {(plan.study, plan.preset): [published]}).splitlines()[2:]
    assert "| 20 | 25.0 [25.0, 25.0] | 8 | 20.00 ± 1 | Somebody |" in lines[0]
    assert lines[0].endswith("| Example Processor 9000 | 0123456 |")
    assert "| 25.0 [25.0, 25.0] | 7 of 8 |  |  |" in lines[1]
    assert len(lines) == 2


def test_hardware_says_a_precision_other_than_float32(
    make_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    cells = [cell.model_copy(update={"config": cell.config | {"train": {"precision": "bf16"}}}) for cell in plan.cells]
    write_report(make_store(plan.model_copy(update={"cells": tuple(cells)})), tmp_path / plan.study / plan.preset)
    row = replace(ROWS[0], study=plan.study, preset=plan.preset, arm=plan.arms[1].name, num_labels=20)
    monkeypatch.setattr(module, "ROWS", (row,))
    assert headline(tmp_path, {}).endswith("| Example Processor 9000, bf16 | 0123456 |")


def test_every_row_names_a_preset_an_arm_and_a_number_of_labels_that_its_study_has() -> None:
    studies = {name: read_study(ROOT / "studies" / f"{name}.toml") for name in {row.study for row in ROWS}}
    for row in ROWS:
        cells = make_cells(studies[row.study], "x", row.preset, {}).cells
        assert (row.arm, row.num_labels) in {(cell.arm, cell.levels["data.num_labels"]) for cell in cells}, row
