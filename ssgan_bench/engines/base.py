"""What an engine is. It computes tasks somewhere and gives their outcomes back as values; nothing else.

An engine never touches the folder of records, Optuna or a report: the coordinator is the only writer. It need not
promise that a task is computed once. What comes twice is dropped by its id, what is lost is handed out again, and an
engine that dies with its coordinator costs the runs under way, never a result.

A new engine is one file with a class that has the four members below. It makes a runner in each of its workers by
calling a `MakeRunner` (once: this imports PyTorch and loads data) and calls the runner with one task after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ssgan_bench.trials.checkpoint_place import CheckpointPlace
from ssgan_bench.trials.task import Result, Runner, Task

MakeRunner: TypeAlias = Callable[[CheckpointPlace | None], Runner]
"""Makes the runner in a worker, given where long runs keep their checkpoints; picklable, e.g. a `RunnerSpec`."""


class FatalError(OSError):
    """What concerns every task, such as a full disk, or workers that cannot start; finished runs are kept."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task that was submitted."""

    task_id: str
    result: Result | None = None
    """Also of a run that raised an exception or diverged. None if the task is lost."""
    lost: str = ""
    """Why there is no result, e.g. "the worker process ended with code -9"."""


class Engine(Protocol):
    """Somewhere to compute tasks."""

    @property
    def capacity(self) -> int:
        """Most tasks that should be submitted and not answered yet; it may change while a study runs."""

    def submit(self, task: Task) -> None:
        """Take a task; returns at once."""

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Wait until at least one task has an outcome, at most `timeout` seconds, and return those that have.

        Raises:
            FatalError: no task can be computed here, e.g. because the data set is damaged.
        """

    def stop(self) -> None:
        """Give up what is under way and leave no process behind; returns when they are gone."""
