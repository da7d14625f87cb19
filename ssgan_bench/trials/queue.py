"""The queue of cells: one Optuna trial per cell, in a database that many workers share.

The only file that imports Optuna. Nothing is ever sampled: trials are added with their parameters fixed and taken one
by one. What this file adds to Optuna is what its databases do not give: on SQLite two workers can take the same trial
unless a transaction locks the database when it begins (the Optuna FAQ says so), and a trial of a killed worker stays
"running". A worker therefore holds a lock file while it lives; whoever finds the lock free knows that it died. Workers
on other machines are judged by Optuna's heartbeat instead.
"""

import socket
import threading
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import Cell, StudyPlan

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 300

STATE_OF_STATUS = {"complete": TrialState.COMPLETE, "diverged": TrialState.PRUNED, "failed": TrialState.FAIL}
"""A diverged run is finished but has no value, which is what Optuna calls pruned."""


@dataclass(frozen=True)
class Claim:
    """A trial taken by one worker."""

    trial_id: int
    cell_id: str


def study_name(plan: StudyPlan) -> str:
    """Name of the Optuna study; changed studies get another one, so their trials are never mixed."""
    return f"{plan.study}-{plan.preset}-{plan.fingerprint()[:12]}"


@contextmanager
def _experimental_features() -> Iterator[None]:
    """Use Optuna's heartbeat, which it marks as experimental, without a warning on every start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _open_storage(url: str, *, create: bool) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    # A pooled PostgreSQL connection may have died with a server restart: ask before use.
    engine_options: dict[str, Any] = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
    with _experimental_features():
        storage = RDBStorage(
            url,
            engine_kwargs=engine_options,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            skip_table_creation=not create,
            skip_compatibility_check=not create,
        )
    if sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _configure_sqlite)
        sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
        storage.engine.dispose()  # connections opened before the listeners were attached
    return storage


def _configure_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, below
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class Queue:
    """One study's trials, seen from one process."""

    def __init__(self, url: str, plan: StudyPlan, folder: Path, *, create: bool = False):
        """Open the study's trials.

        Args:
            url: SQLAlchemy URL of the database.
            plan: which cells belong to it.
            folder: the study's folder, for lock files.
            create: make the tables and the study where they are missing; only the coordinator does.

        Raises:
            ConfigError: the database cannot be opened or read.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._plan = plan
        self._cells = {cell.cell_id: cell for cell in plan.cells}
        self._lock = FileLock(folder / ".queue.lock")
        self._workers = folder / "workers"
        self._workers.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock:  # several processes creating the tables at once would fail
                self._storage = _open_storage(url, create=create)
                name = study_name(plan)
                if create:
                    self._study = optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)
                else:
                    self._study = optuna.load_study(storage=self._storage, study_name=name)
                self._study_id = self._storage.get_study_id_from_name(name)
        except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
            cause = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
            shown = sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
            raise ConfigError(
                f"--storage {shown}: cannot be used as Optuna storage ({cause}); check it, or move a damaged file "
                "away and run the same command: finished runs are kept in records/"
            ) from None

    def enqueue(self, cell_ids: Iterable[str]) -> int:
        """Add a trial for each of these cells that has none waiting or running; returns how many were added."""
        with self._lock:
            trials = self._trials(TrialState.WAITING, TrialState.RUNNING)
            missing = set(cell_ids) - {trial.user_attrs["cell"] for trial in trials}
            for cell in self._plan.cells:  # in the order of the plan
                if cell.cell_id in missing:
                    self._study.add_trial(self._waiting_trial(cell))
        return len(missing)

    def claim(self, worker: "Worker") -> Claim | None:
        """Take the next waiting cell of the plan; None when there is none. Starts its heartbeat."""
        with self._lock:
            for trial in self._trials(TrialState.WAITING):
                self._storage.set_trial_user_attr(trial._trial_id, "worker", worker.name)
                try:
                    if not self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                        continue  # another machine was faster
                except UpdateFinishedTrialError:
                    continue
                self._storage.record_heartbeat(trial._trial_id)
                return Claim(trial._trial_id, trial.user_attrs["cell"])
        return None

    def still_owns(self, claim: Claim) -> bool:
        """Whether the trial was not given up for dead while this worker was paused."""
        return bool(self._storage.get_trial(claim.trial_id).state == TrialState.RUNNING)

    def finish(self, claim: Claim, status: str, value: float | None) -> None:
        """Close a trial as complete (with its value), diverged or failed; a trial already closed stays as it is."""
        values = [value] if status == "complete" and value is not None else None
        try:
            self._storage.set_trial_user_attr(claim.trial_id, "status", status)
            self._storage.set_trial_state_values(claim.trial_id, STATE_OF_STATUS[status], values)
        except UpdateFinishedTrialError:
            pass

    def reap(self) -> int:
        """Close the running trials of dead workers as failed; returns how many."""
        closed = 0
        with self._lock:
            for trial in self._trials(TrialState.RUNNING):
                if not Worker.is_alive(self._workers, trial.user_attrs.get("worker", "")):
                    self.finish(Claim(trial._trial_id, trial.user_attrs["cell"]), "failed", None)
                    closed += 1
            with _experimental_features():
                optuna.storages.fail_stale_trials(self._study)  # workers on other machines, by heartbeat
        return closed

    def running(self) -> int:
        """Number of cells being run now, by anyone."""
        return len(self._trials(TrialState.RUNNING))

    def waiting(self) -> int:
        """Number of cells waiting."""
        return len(self._trials(TrialState.WAITING))

    def start_heartbeat(self, claim: Claim) -> threading.Event:
        """Tell the database every half minute that the trial is worked on, until the returned event is set."""
        finished = threading.Event()

        def beat() -> None:
            while not finished.wait(HEARTBEAT_SECONDS):
                try:
                    self._storage.record_heartbeat(claim.trial_id)
                except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError):
                    continue  # a database that is away for a moment must not end the heartbeat

        threading.Thread(target=beat, daemon=True).start()
        return finished

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)
        return [trial for trial in trials if trial.user_attrs.get("cell") in self._cells]

    def _waiting_trial(self, cell: Cell) -> FrozenTrial:
        params: dict[str, Any] = {"arm": cell.arm, **cell.levels}
        distributions: dict[str, BaseDistribution] = {
            "arm": CategoricalDistribution([arm.name for arm in self._plan.arms])
        }
        for factor in self._plan.factors:
            distributions[factor.key] = CategoricalDistribution(list(factor.levels))
        for name in ("split_seed", "model_seed"):
            params[name] = getattr(cell, name)
            distributions[name] = IntDistribution(0, 2**31 - 1)
        return create_trial(
            state=TrialState.WAITING,
            params=params,
            distributions=distributions,
            user_attrs={"cell": cell.cell_id},
        )


class Worker:
    """A living worker's name: `host:uuid`, proved by a lock file that the system frees when the process dies."""

    def __init__(self, folder: Path):
        self.name = f"{socket.gethostname()}:{uuid.uuid4().hex}"
        self._lock = FileLock(self._path(folder / "workers", self.name))
        self._lock.acquire()

    def close(self) -> None:
        """Give the name up."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    @staticmethod
    def _path(workers: Path, name: str) -> Path:
        return workers / f"{name.partition(':')[2]}.lock"

    @classmethod
    def any_alive(cls, folder: Path) -> bool:
        """Whether any worker of this machine works in the study folder."""
        host = socket.gethostname()
        return any(
            cls.is_alive(folder / "workers", f"{host}:{path.stem}") for path in (folder / "workers").glob("*.lock")
        )

    @classmethod
    def is_alive(cls, workers: Path, name: str) -> bool:
        """Whether the named worker may be alive; one of another machine always may."""
        if name.partition(":")[0] != socket.gethostname():
            return bool(name)
        path = cls._path(workers, name)
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False
