"""Say on the terminal how far a study is: one progress bar, or plain lines where the output is not a terminal."""

import sys
import time
from dataclasses import dataclass, field
from typing import Self

from tqdm import tqdm

from ssgan_bench.records.search_schema import Record, SearchRecord

LINE_SECONDS = 10.0
"""At most one plain line in this time, apart from failures."""


@dataclass
class Progress:
    """Counts of a study under way."""

    total: int
    finished: dict[str, Record] = field(default_factory=dict)
    """Records of complete and diverged cells, or of complete and pruned trials of a search, by id."""
    failed: dict[str, str] = field(default_factory=dict)
    """What the last try of each failed one said, by id."""
    running: int = 0
    last: Record | None = None

    @property
    def diverged(self) -> int:
        """Cells whose losses stopped being finite."""
        return sum(record.status == "diverged" for record in self.finished.values())

    @property
    def pruned(self) -> int:
        """Trials of a search that were stopped after some of their seeds."""
        return sum(record.status == "pruned" for record in self.finished.values())


def describe_result(record: Record) -> str:
    """One short phrase on the last result, e.g. "improved_gan num_labels=20 seed 3: error 4.0 %"."""
    if isinstance(record, SearchRecord):
        return f"search of {record.arm}, trial {record.trial}: {record.error or record.status}"
    levels = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in record.cell.levels.items())
    if record.status == "complete":
        evaluated_on = "test" if record.splits is None else record.splits.evaluated_on
        outcome = f"{evaluated_on} error {100 * record.metrics['error_rate']:.1f} %"
    elif record.status == "diverged":
        outcome = f"diverged at step {record.diverged_step}"
    else:
        outcome = f"failed: {record.error}"
    return f"{record.cell.arm} {levels} {record.cell.seed_text}: {outcome}"


def describe_counts(progress: Progress) -> str:
    """Counts by state, e.g. "37 of 128 done, 0 diverged, 0 failed, 2 running"."""
    if any(isinstance(record, SearchRecord) for record in progress.finished.values()):
        return (
            f"{len(progress.finished)} of {progress.total} search trials done, {progress.pruned} of them pruned, "
            f"{len(progress.failed)} failed, {progress.running} running"
        )
    done = len(progress.finished) - progress.diverged
    return (
        f"{done} of {progress.total} done, {progress.diverged} diverged, {len(progress.failed)} failed, "
        f"{progress.running} running"
    )


class ProgressDisplay:
    """Callable for the coordinator; use as a context manager so that the bar is closed."""

    def __init__(self, total: int):
        self._start = time.monotonic()
        self._already: int | None = None
        self._last_line = float("-inf")
        self._failed: set[str] = set()
        self._shown: Record | None = None
        self._bar = None
        if sys.stderr.isatty():
            layout = "{desc} {bar} {percentage:3.0f} % [{elapsed}, {postfix}]"
            self._bar = tqdm(total=total, bar_format=layout, dynamic_ncols=True, mininterval=0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
        """Show the counts, the remaining time and the last result."""
        finished = len(progress.finished)
        if self._already is None:
            self._already = finished
        remaining = self._remaining(finished, progress.total)
        for cell_id in progress.failed.keys() - self._failed:
            self._failed.add(cell_id)
            self._print(f"failed: cell {cell_id}: {progress.failed[cell_id]}")
        last = "" if progress.last is None else describe_result(progress.last)
        if self._bar is not None:
            self._bar.n = finished
            self._bar.set_description_str(describe_counts(progress), refresh=False)
            self._bar.set_postfix_str(f"{remaining}{', ' * bool(last)}{last}", refresh=False)
            self._bar.refresh()
        elif (
            progress.last is not self._shown
            and finished < progress.total  # the caller prints the final counts
            and time.monotonic() - self._last_line >= LINE_SECONDS
        ):
            self._shown = progress.last
            self._last_line = time.monotonic()
            self._print(f"{describe_counts(progress)}, {remaining}; {last}")

    def _remaining(self, finished: int, total: int) -> str:
        here = finished - (self._already or 0)
        if finished == total:
            return "complete"
        if here < 2:
            return "remaining time not known yet"
        seconds = (time.monotonic() - self._start) / here * (total - finished)
        return f"about {describe_seconds(seconds)} left"

    def _print(self, line: str) -> None:
        if self._bar is not None:
            tqdm.write(line, file=sys.stderr)
        else:
            print(line, flush=True)


def describe_seconds(seconds: float) -> str:
    """Round a duration for reading: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
