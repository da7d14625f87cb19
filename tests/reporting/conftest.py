"""The run folder fixture of the report tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_record, png

from ssgan_bench.records.schema import Cell, StudyPlan
from ssgan_bench.records.store import RecordStore

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
