"""Fixtures of the report tests: run folders, their analysis, a report, and figures that are not drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import BUDGETS, TWO, lost, make_plan, make_record, png

from ssgan_bench.records.schema import Cell, StudyPlan
from ssgan_bench.records.store import RecordStore
from ssgan_bench.reporting import write_report
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.evidence import read_evidence, write_evidence

Store = Callable[..., RecordStore]


@pytest.fixture
def make_store(tmp_path: Path) -> Store:
    """Build a run folder from a plan; `change(cell)` gives record fields to override, or None: no record."""

    def build(
        plan: StudyPlan,
        change: Callable[[Cell], dict[str, Any] | None] = lambda cell: {},
        *,
        folder: Path = tmp_path / "runs" / "label_budget" / "quick",
        samples: bool = False,
    ) -> RecordStore:
        store = RecordStore(folder)
        store.write_plan(plan)
        for cell in plan.cells:
            changes = change(cell)
            if changes is None:
                continue
            record = make_record(plan, cell, **changes)
            if samples and cell.model_seed == min(plan.seeds) and cell.arm != plan.baseline:
                names = [store.write_sample(cell.cell_id, f"{30 * k:06d}", png(k)) for k in range(1, 9)]
                record = record.model_copy(update={"sample_files": tuple(names)})
            store.write_record(record)
        return store

    return build


@pytest.fixture
def analyzed(make_store, tmp_path):
    """Analyze a plan whose cells have the error rates that `error(cell)` gives; None is a run that failed."""

    def run(plan, error):
        def change(cell):
            value = error(cell)
            return lost(status="failed", error="boom") if value is None else {"error_rate": value, "points": 1}

        folder = tmp_path / "evidence"
        folder.mkdir()
        write_evidence(make_store(plan, change), folder)
        return analyze(read_evidence(folder))

    return run


@pytest.fixture
def blank_figures(monkeypatch):
    """Do not render the figures, which takes most of a report's time, where a test is about other things."""
    monkeypatch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg/>", b"png"))


@pytest.fixture
def report(make_store, tmp_path):
    """Two arms, two budgets, eight seeds, one run diverged; the report of it."""
    plan = make_plan(arms=TWO, factors=(BUDGETS,))
    worst = plan.cells[-1]
    store = make_store(
        plan,
        lambda cell: lost(status="diverged", diverged_step=7) if cell is worst else {},
        samples=True,
    )
    return store, write_report(store, tmp_path / "report"), tmp_path / "report"
