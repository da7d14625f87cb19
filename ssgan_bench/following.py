"""A second copy of a command on the same folder: it shows how the first one gets on, and ends as that does."""

import time
from collections.abc import Callable
from pathlib import Path

from ssgan_bench.command_line import CommandError
from ssgan_bench.config import ConfigError
from ssgan_bench.records.locks import StudyLock
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.trials.progress import Progress, ProgressDisplay, describe_counts

POLL_SECONDS = 2.0
"""How often to look for new records, and whether the other process is still there."""


def run_alone(folder: Path, request: str, run: Callable[[], None], *, may_follow: bool = True) -> None:
    """Run while no other process works in a study's folder; follow one that does.

    Args:
        folder: of the study.
        request: digest of what is asked for; a process with the same one does this one's work too.
        run: what to do; called at most once, when the folder is free and the work not done.
        may_follow: if not, a process at work is an error.

    Raises:
        ConfigError: another process works in the folder, and following was ruled out.
        CommandError: the process that was followed failed; or what `run` raises.
    """
    lock = StudyLock(folder, request)
    while not lock.acquire():
        if not may_follow:
            raise ConfigError(f"--fresh: {folder} is in use by another process; stop it first, or use --out DIR")
        if _follow(lock, folder):
            return
    exit_code = None
    try:
        run()
        exit_code = 0
    except (CommandError, OSError):
        exit_code = 1
        raise
    finally:
        lock.release(exit_code)


def _follow(lock: StudyLock, folder: Path) -> bool:
    """Follow the process that holds the lock; returns whether it has done what is asked for here.

    Raises:
        CommandError: it has failed at it.
        KeyboardInterrupt: Ctrl-C ends the following alone.
    """
    who = lock.holder()
    name = "another process" if who is None else f"process {who.pid} on {who.host}, since {who.since},"
    try:  # from the first word on: Ctrl-C may come as soon as it can be read
        print(f"{folder}: {name} is at work here; following it (Ctrl-C ends only that)", flush=True)
        stage = _Stage.of(folder)
        with ProgressDisplay(stage.progress.total) as display:
            while lock.is_held():
                if stage.is_done:
                    stage = _Stage.of(folder)
                stage.look()
                display(stage.progress)
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f": {name} goes on") from None
    ended = lock.holder()
    if ended is None or ended.exit_code is None:
        print(f"{folder}: {name} has left work undone; going on with it", flush=True)
        return False
    if ended.request != lock.request:
        print(f"{folder}: {name} was asked for something else; going on with what is left here", flush=True)
        return False
    stage = _Stage.of(folder)
    stage.look()
    print(describe_counts(stage.progress), flush=True)
    if ended.exit_code != 0:
        raise CommandError(f"{name} ended with exit code {ended.exit_code}; the same command tries again")
    return True


class _Stage:
    """What the process at work has to do now, and how much of it is on disk."""

    def __init__(self, store: RecordStore | SearchStore, ids: list[str]):
        self._store, self._ids = store, ids
        self.progress = Progress(len(ids))

    @staticmethod
    def of(folder: Path) -> "_Stage":
        """Find the search if that is not complete, else the cells, as far as they are written down."""
        search, study = SearchStore(folder / "search"), RecordStore(folder)
        if (search_plan := search.plan()) is not None:
            stage = _Stage(search, search_plan.trial_ids)
            stage.look()
            if not stage.is_done:
                return stage
        plan = study.plan()
        return _Stage(study, [] if plan is None else [cell.cell_id for cell in plan.cells])

    @property
    def is_done(self) -> bool:
        return len(self.progress.finished) == self.progress.total

    def look(self) -> None:
        """Take over what has been written since the last look."""
        for record_id in self._ids:
            if record_id not in self.progress.finished:
                record = self._store.record(record_id)
                if record is not None and record.is_finished:
                    self.progress.finished[record_id] = self.progress.last = record
