"""The queue of cells: one Optuna trial per cell, in a database that many workers share.

With search.py, the only file that imports Optuna. In the queue nothing is ever sampled: trials are added with their
parameters fixed and taken one by one; a search samples them when they are taken. What this file adds to Optuna is what
its databases do not give: on SQLite two workers can take the same trial unless a transaction locks the database when it
begins (the Optuna FAQ says so), and a trial of a killed worker stays "running". A worker therefore holds a lock file
while it lives (presence.py). Workers on other machines are judged by Optuna's heartbeat instead.
"""

import contextlib
import functools
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import Cell, RunRecord, StudyPlan
from ssgan_bench.records.search_schema import Record
from ssgan_bench.trials import presence

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 300
RETRY_SECONDS = (1.0, 4.0, 10.0, 30.0)
"""Pauses between tries while a database server is away, say because it restarts."""

STATE_OF_STATUS = {"complete": TrialState.COMPLETE, "diverged": TrialState.PRUNED, "failed": TrialState.FAIL}
"""A diverged run is finished but has no value, which is what Optuna calls pruned."""


class StorageError(OSError):
    """The database does not work at the moment (full disk, server away); finished runs are kept."""


@dataclass(frozen=True)
class Claim:
    """A trial taken by one worker."""

    trial_id: int
    """Optuna's."""
    cell_id: str
    """Of the cell, or of the trial of a search."""


@dataclass(frozen=True)
class Counts:
    """How many cells, or trials of a search, wait or are being run now, by anyone."""

    waiting: int
    running: int


def study_name(plan: StudyPlan, folder_id: str) -> str:
    """Name of the Optuna study; changed studies and other folders get another one, so their trials are never mixed."""
    return f"{plan.study}-{plan.preset}-{plan.fingerprint()[:12]}-{folder_id}"


def sqlite_url(path: Path) -> str:
    """Write the URL of a SQLite file, whatever characters its path has."""
    return sqlalchemy.URL.create("sqlite", database=str(path.resolve())).render_as_string()


def _checked_url(url: str) -> sqlalchemy.URL:
    """Parse a URL without ever repeating its password.

    Raises:
        ConfigError: it is not the URL of a database that several processes can share.
    """
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (SQLAlchemyError, ValueError):
        kind = url.partition("://")[0][:20]
        raise ConfigError(
            f"--storage {kind}...: not a database URL; write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"--storage {url}: a database in memory cannot be shared by processes; write sqlite:///FILE")
    return parsed


def _open_storage(url: str, *, create: bool) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    # A pooled PostgreSQL connection may have died with a server restart: ask before use.
    engine_options: dict[str, Any] = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
    engine = sqlalchemy.create_engine(url, **engine_options)
    try:  # Optuna would leave the connection to a damaged file open
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    with experimental_accepted():
        storage = RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna takes the URL for a format string
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


@contextlib.contextmanager
def experimental_accepted() -> Iterator[None]:
    """Accept that Optuna calls its heartbeat, and one of its pruners, experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _sql_error(error: BaseException) -> BaseException:
    """What Optuna's errors are about: the database's own error, where there is one."""
    while isinstance(error, StorageInternalError | ImportError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    hint = "; pip install 'ssgan-bench[pg]' brings postgresql+psycopg" if isinstance(error, ImportError) else ""
    return text.splitlines()[0] + hint


P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="Trials")


def talks_to_database(
    method: Callable[Concatenate[T, P], R],
) -> Callable[Concatenate[T, P], R]:
    """Turn what goes wrong in the database into one line, after waiting for a server that may be restarting.

    Every method that is wrapped reads the state it changes anew, so that it can be repeated after a lost answer.
    """

    @functools.wraps(method)
    def call(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        for pause in (*RETRY_SECONDS, None):
            try:
                return method(self, *args, **kwargs)
            except (StorageInternalError, SQLAlchemyError) as error:
                cause = _sql_error(error)
                if not isinstance(cause, OperationalError):
                    raise self.unusable(cause) from None
                if pause is None or self._url.get_backend_name() == "sqlite":
                    raise StorageError(f"{self.shown_url()}: {_first_line(cause)}") from None
                time.sleep(pause)
        raise AssertionError("unreachable")

    return call


class Trials(ABC):
    """Trials in an Optuna database, seen from one process: what the queue of cells and a search have in common."""

    def __init__(self, url: str, folder: Path, study_names: Callable[[str], list[str]], *, create: bool):
        """Open the Optuna studies.

        Args:
            url: SQLAlchemy URL of the database.
            folder: where their records are, for lock files.
            study_names: names of the Optuna studies, given the folder's own name.
            create: make the tables and the studies where they are missing; only the coordinator does.

        Raises:
            ConfigError: the database cannot be opened or read.
            StorageError: the disk is full, or the database cannot be written.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._folder = folder
        self._url = _checked_url(url)
        self._lock = presence.folder_lock(folder)
        try:
            with self._lock:  # several processes creating the tables at once would fail
                self._storage = _open_storage(url, create=create)
                names = study_names(presence.folder_id(folder))
                self._studies = [
                    optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)
                    if create
                    else optuna.load_study(storage=self._storage, study_name=name)
                    for name in names
                ]
                self._study_ids = [self._storage.get_study_id_from_name(name) for name in names]
        except (StorageInternalError, SQLAlchemyError, RuntimeError, ImportError, KeyError, ValueError) as error:
            if hasattr(self, "_storage"):
                self.close()
            cause = _sql_error(error)
            if isinstance(cause, OperationalError) and ("disk" in str(cause.orig) or "readonly" in str(cause.orig)):
                raise StorageError(f"{self.shown_url()}: {_first_line(cause)}") from None
            raise self.unusable(cause) from None

    @abstractmethod
    def update(self, finished_record: Callable[[str], Record | None], may_try: Callable[[str], bool]) -> Counts:
        """Close the trials of dead workers and add one for each id that has neither a finished record nor a trial.

        Args:
            finished_record: reads a record if nothing need run again. It is asked after the trials are read, and a
                worker writes the record before it closes the trial: so nothing finished is added again.
            may_try: whether to add a trial; asked last, so that it knows of every worker found dead here.
        """

    @abstractmethod
    def claim(self, worker_name: str) -> Claim | None:
        """Take the next waiting trial of the plan; None when there is none. Starts its heartbeat."""

    @abstractmethod
    def finish(self, claim: Claim, record: Record | None) -> None:
        """Close a trial as its record says, or as failed without one; a trial already closed stays as it is."""

    def close(self) -> None:
        """Close the connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    @talks_to_database
    def still_owns(self, claim: Claim) -> bool:
        """Whether the trial was not given up for dead while this worker was paused."""
        return bool(self._storage.get_trial(claim.trial_id).state == TrialState.RUNNING)

    def start_heartbeat(self, claim: Claim) -> threading.Event:
        """Tell the database every half minute that the trial is worked on, until the returned event is set."""
        finished = threading.Event()

        def beat() -> None:
            while not finished.wait(HEARTBEAT_SECONDS):
                try:
                    self._storage.record_heartbeat(claim.trial_id)
                except (StorageInternalError, SQLAlchemyError):
                    continue  # a database that is away for a moment must not end the heartbeat
            self._storage.remove_session()  # this thread's own

        threading.Thread(target=beat, daemon=True).start()
        return finished

    def take(self, trial_id: int, worker_name: str) -> bool:
        """Take a waiting trial; False if another worker was faster."""
        # The first heartbeat comes first: Optuna never gives up a running trial that has none.
        self._storage.record_heartbeat(trial_id)
        try:
            if not self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return False  # another machine was faster
        except UpdateFinishedTrialError:
            return False
        self._storage.set_trial_user_attr(trial_id, "worker", worker_name)
        return True

    def set_state(self, trial_id: int, status: str, state: TrialState, values: list[float] | None) -> None:
        """Close a trial; one already closed stays as it is."""
        try:
            self._storage.set_trial_user_attr(trial_id, "status", status)
            self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            pass

    def shown_url(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    def unusable(self, cause: BaseException) -> ConfigError:
        """What to say of a database that cannot be used."""
        return ConfigError(
            f"--storage {self.shown_url()}: cannot be used as Optuna storage ({_first_line(cause)}); check it, or "
            "move a damaged file away and run the same command: finished runs are kept in records/"
        )


class Queue(Trials):
    """One study's cells, one trial each."""

    def __init__(self, url: str, plan: StudyPlan, folder: Path, *, create: bool = False):
        self._plan = plan
        self._cells = {cell.cell_id: cell for cell in plan.cells}
        self._candidates: deque[FrozenTrial] = deque()
        """Trials that waited at the last look at all of them, which takes longer than asking for one."""
        super().__init__(url, folder, lambda folder_id: [study_name(plan, folder_id)], create=create)

    @talks_to_database
    def update(self, finished_record: Callable[[str], Record | None], may_try: Callable[[str], bool]) -> Counts:
        (study,) = self._studies
        with self._lock:
            with experimental_accepted():
                optuna.storages.fail_stale_trials(study)  # workers on other machines
            active = {TrialState.WAITING: set[str](), TrialState.RUNNING: set[str]()}
            for trial in self._trials(*active):
                cell_id, name = trial.user_attrs["cell"], trial.user_attrs.get("worker", "")
                if trial.state == TrialState.WAITING or presence.is_alive(self._folder, name):
                    active[trial.state].add(cell_id)
                else:
                    self._close(trial._trial_id, finished_record(cell_id))
                    presence.forget(self._folder, name)
            waiting, running = active.values()
            for cell_id, cell in self._cells.items():  # in the order of the plan
                if cell_id in waiting or cell_id in running or finished_record(cell_id) is not None:
                    continue
                if may_try(cell_id):
                    study.add_trial(self._waiting_trial(cell))
                    waiting.add(cell_id)
            return Counts(len(waiting), len(running))

    @talks_to_database
    def claim(self, worker_name: str) -> Claim | None:
        with self._lock:
            while self._candidates or self._look_for_candidates():
                trial = self._candidates.popleft()
                waits = self._storage.get_trial(trial._trial_id).state == TrialState.WAITING
                if waits and self.take(trial._trial_id, worker_name):
                    return Claim(trial._trial_id, trial.user_attrs["cell"])
        return None

    def _look_for_candidates(self) -> bool:
        self._candidates.extend(self._trials(TrialState.WAITING))
        return bool(self._candidates)

    @talks_to_database
    def finish(self, claim: Claim, record: Record | None) -> None:
        self._close(claim.trial_id, record)

    def _close(self, trial_id: int, record: Record | None) -> None:
        status = "failed" if record is None else record.status
        values = None
        if isinstance(record, RunRecord) and status == "complete":
            values = [record.metrics[self._plan.metric]]
        self.set_state(trial_id, status, STATE_OF_STATUS[status], values)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_ids[0], deepcopy=False, states=states)
        return [trial for trial in trials if trial.user_attrs.get("cell") in self._cells]

    def _waiting_trial(self, cell: Cell) -> FrozenTrial:
        params: dict[str, Any] = {"arm": cell.arm, **cell.levels}
        distributions: dict[str, BaseDistribution] = {
            "arm": CategoricalDistribution([arm.name for arm in self._plan.arms])
        }
        for factor in self._plan.factors:
            # Optuna compares choices in their order, which a plan of the same cells may change.
            distributions[factor.key] = CategoricalDistribution(sorted(factor.levels, key=lambda v: (str(type(v)), v)))
        for name in ("split_seed", "model_seed"):
            params[name] = getattr(cell, name)
            distributions[name] = IntDistribution(0, 2**31 - 1)
        return create_trial(
            state=TrialState.WAITING,
            params=params,
            distributions=distributions,
            user_attrs={"cell": cell.cell_id},
        )
