"""What a worker is given and what it gives back: values, so that an engine may carry them anywhere.

A task is one run: of a cell, or of a trial of a search with one tuning seed. Its result is the record of the run with
its sample grids, or the score. A run that raises an exception has a result too; only a worker that dies has none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ssgan_bench.records.schema import Cell, Provenance, RunRecord
from ssgan_bench.records.search_schema import SeedScore
from ssgan_bench.trials.checkpoint_place import CheckpointPlace


@dataclass(frozen=True)
class Task:
    """One run."""

    task_id: str
    """Of a cell its id; of a trial with a tuning seed "TRIAL/SEED"."""
    work: Cell | dict[str, Any]
    """A cell, or the configuration (JSON data of a RunConfig, seeds set) whose validation error is wanted."""


@dataclass(frozen=True)
class CellResult:
    """What the run of a cell came to."""

    record: RunRecord
    samples: Mapping[str, bytes] = field(default_factory=dict)
    """Sample grids (PNG) by name; `record.sample_files` says where they belong."""
    traceback: str = ""
    """Of the exception that the run raised, if it is a failed one."""


@dataclass(frozen=True)
class ScoreResult:
    """What a run of a search's trial came to."""

    score: SeedScore | None
    """None if the run raised an exception."""
    provenance: Provenance | None = None
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""


Result: TypeAlias = CellResult | ScoreResult
Runner: TypeAlias = Callable[[Task], Result]
"""Computes one task after the other in one process. Raises ConfigError (the data set is missing or damaged) or OSError
(the machine) for what concerns every task."""


@dataclass(frozen=True)
class RunnerSpec:
    """All that a worker must know to make its runner; picklable."""

    study: str
    preset: str
    data_root: Path
    device: str
    commit: str | None
    references: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    """Reference classifiers by data set and image size; without one generated images are not measured."""

    def __call__(self, checkpoints: CheckpointPlace | None) -> Runner:
        """Make the runner, in the worker: the heavy imports happen here.

        Args:
            checkpoints: where long runs keep theirs; None: nowhere.
        """
        from ssgan_bench.training.allocator import keep_freed_memory
        from ssgan_bench.trials.run import CellRunner

        keep_freed_memory()
        return CellRunner(self, checkpoints)
