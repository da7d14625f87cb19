"""Mirror a study into Optuna's storage, where `optuna-dashboard` shows it: one trial per cell, or trial of a search.

The storage is told and never asked: what is finished is what has a record. A thread of its own writes, through Optuna's
public API alone; when the storage goes away, what it must be told waits, the thread tries again, and no run waits for
it. What could not be told by the end is one line, and the next call makes up for it from the records.
"""

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ssgan_bench.records.schema import Cell, RunRecord, StudyPlan
from ssgan_bench.records.store import write_atomically
from ssgan_bench.storage import UNUSABLE, checked_url, first_line, open_storage, refusal, shown

RETRY_SECONDS = 5.0
"""Pause after the storage did not take something."""
SHOW_AFTER_SECONDS = 2.0
"""A run that lasts longer is shown while it runs; a shorter one costs the storage a single transaction, at its end."""
LAST_TRY_SECONDS = 30.0
"""How long to wait at the end for a storage that hangs."""
STATE_OF_STATUS = {"complete": TrialState.COMPLETE, "diverged": TrialState.PRUNED, "failed": TrialState.FAIL}
"""A diverged run is finished but has no value, which is what Optuna calls pruned."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Entry:
    """How a trial stands. A later entry of the same trial takes the place of an earlier one."""

    study: str
    """Name of the Optuna study."""
    key: str
    """Names the trial within it: user attribute "id"."""
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    state: TrialState
    value: float | None = None
    intermediate: Sequence[float] = ()
    """Values by step."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Other user attributes."""

    def frozen(self) -> FrozenTrial:
        """It as a trial that is over."""
        return create_trial(
            state=self.state,
            value=self.value,
            params=dict(self.params),
            distributions=dict(self.distributions),
            intermediate_values=dict(enumerate(self.intermediate)),
            user_attrs={"id": self.key, **self.attributes},
        )


class Mirror:
    """The studies of one run folder in one storage, written by a thread."""

    def __init__(self, url: str, studies: Sequence[str]):
        """Open the storage, make the studies that are missing, and start the thread.

        Raises:
            ConfigError: it cannot be used; names scheme and host, never a password.
            OSError: the disk is full, or the storage cannot be written.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._url, self._parsed, self._names = url, checked_url(url), studies
        self._numbers = itertools.count()
        self._due: dict[int, tuple[Entry, float]] = {}
        """What the storage must be told still, in this order, and when at the earliest."""
        self._to_show: dict[tuple[str, str], int] = {}
        """The numbers of those entries that only say that a trial is running."""
        self._finished: dict[tuple[str, str], Entry] = {}
        """What it was told of trials that need nothing more, in case that it loses them."""
        self._change = threading.Condition()
        self._is_closing = False
        self._problem = ""
        try:
            self._open()
        except UNUSABLE as error:
            raise refusal(self._parsed, error) from None
        self._storage.remove_session()  # this thread's own
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Tell the storage how a trial stands, sooner or later; returns at once."""
        number, key = next(self._numbers), (entry.study, entry.key)
        is_running = entry.state == TrialState.RUNNING
        with self._change:
            replaced = self._due.pop(self._to_show.pop(key, -1), None)
            since = time.monotonic()
            if is_running:
                self._to_show[key] = number
                since = since + SHOW_AFTER_SECONDS if replaced is None else replaced[1]
            self._due[number] = (entry, since)
            self._change.notify()

    def close(self) -> str:
        """Tell the storage what it must be told still, unless it does not answer; ends the thread.

        Returns:
            What it missed, in one line; "" if nothing.
        """
        with self._change:
            self._is_closing = True
            for number in self._to_show.values():  # what was to be shown as running need not be any more
                del self._due[number]
            self._to_show.clear()
            self._change.notify()
        left = len(self._due)
        self._thread.join(LAST_TRY_SECONDS)
        while self._thread.is_alive() and len(self._due) < left:  # slow, but it takes them
            left = len(self._due)
            self._thread.join(LAST_TRY_SECONDS)
        with self._change:
            missed = {(entry.study, entry.key) for entry, _ in self._due.values()}
        if not missed:
            return ""
        return (
            f"the Optuna storage missed {len(missed)} trials: {shown(self._parsed)} "
            f"({self._problem or 'it does not answer'}); no run is lost, and the same command adds them"
        )

    def _write_all(self) -> None:
        """Entry point of the thread."""
        is_known = False
        """Whether we know what the storage holds."""
        while (due := self._next_due()) is not None:
            number, entry = due
            is_retry = bool(self._problem)
            try:
                if is_retry:
                    self._storage.engine.dispose()
                    self._open()
                if not is_known:
                    self._read()
                    is_known = True
                self._write(entry)
            except Exception as error:  # noqa: BLE001  (no trouble of the storage may end a study, or pass unsaid)
                is_known, self._problem = False, first_line(error)
                with self._change:
                    if is_retry and self._is_closing:
                        break
                    if is_retry:  # else at once: opened anew, it may work
                        self._change.wait_for(lambda: self._is_closing, RETRY_SECONDS)
                continue
            self._problem = ""
            with self._change:
                self._due.pop(number, None)  # unless a later entry has taken its place
        with contextlib.suppress(Exception):
            for running in self._running.values():
                self._studies[running.study].tell(running.trial, state=TrialState.FAIL)  # interrupted
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _next_due(self) -> tuple[int, Entry] | None:
        """Wait for the first entry whose time has come; None at the end."""
        with self._change:
            while True:
                now = time.monotonic()
                for number, (entry, since) in self._due.items():
                    if since <= now:
                        if entry.state == TrialState.RUNNING:
                            self._to_show.pop((entry.study, entry.key), None)
                        return number, entry
                if self._is_closing:
                    return None
                soonest = min((since for _, since in self._due.values()), default=None)
                self._change.wait(None if soonest is None else soonest - now)

    def _open(self) -> None:
        self._storage = open_storage(self._url)
        self._studies = {
            name: optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)
            for name in self._names
        }
        self._running: dict[tuple[str, str], _Running] = {}

    def _read(self) -> None:
        """Find out what the storage holds, and have it told again what it has lost."""
        known = set[tuple[str, str]]()
        for name, study in self._studies.items():
            for trial in study.get_trials(deepcopy=False):
                if trial.state in FINISHED:
                    known.add((name, trial.user_attrs.get("id", "")))
                elif trial.state == TrialState.RUNNING:  # of a process that was killed, or before the storage went away
                    study.tell(trial.number, state=TrialState.FAIL)
        lost = [entry for key, entry in self._finished.items() if key not in known]
        self._known = known
        with self._change:
            self._due |= {next(self._numbers): (entry, 0.0) for entry in lost}

    def _write(self, entry: Entry) -> None:
        key, study = (entry.study, entry.key), self._studies[entry.study]
        is_finished = entry.state in FINISHED
        if is_finished:
            self._finished[key] = entry
        if key in self._known:
            return
        running = self._running.get(key)
        if running is None and entry.state != TrialState.RUNNING:
            study.add_trial(entry.frozen())
        else:
            if running is None:
                running = self._running[key] = _Running(entry.study, _ask(study, entry))
            running.report(entry.intermediate)
            if entry.state != TrialState.RUNNING:
                for name, attribute in entry.attributes.items():
                    running.trial.set_user_attr(name, attribute)
                study.tell(running.trial, entry.value, state=entry.state)
                del self._running[key]
        if is_finished:
            self._known.add(key)


@dataclass
class _Running:
    """A trial that the storage has as running."""

    study: str
    trial: Trial
    num_reported: int = 0

    def report(self, values: Sequence[float]) -> None:
        for step in range(self.num_reported, len(values)):
            self.trial.report(values[step], step)
        self.num_reported = len(values)


def _ask(study: optuna.Study, entry: Entry) -> Trial:
    """Begin a trial with the parameters of an entry."""
    distributions = dict(entry.distributions)
    study.enqueue_trial(dict(entry.params), user_attrs={"id": entry.key, **entry.attributes})
    while (trial := study.ask(distributions)).user_attrs.get("id") != entry.key:
        study.tell(trial, state=TrialState.FAIL)  # waits there since a process was killed between these two lines
    return trial


class CellLedger:
    """Tells a mirror how the cells of a plan go."""

    def __init__(self, mirror: Mirror, study: str, plan: StudyPlan):
        self._mirror, self._study, self._plan = mirror, study, plan
        seed = IntDistribution(0, 2**31 - 1)
        self._distributions: dict[str, BaseDistribution] = {
            "arm": CategoricalDistribution([arm.name for arm in plan.arms]),
            # Optuna compares choices in their order, which a plan of the same cells may change.
            **{
                factor.key: CategoricalDistribution(sorted(factor.levels, key=lambda level: (str(type(level)), level)))
                for factor in plan.factors
            },
            "split_seed": seed,
            "model_seed": seed,
        }

    def cell_started(self, cell: Cell) -> None:
        self._put(cell, TrialState.RUNNING, "running", None)

    def cell_ended(self, cell: Cell, record: RunRecord | None) -> None:
        if record is None:
            self._put(cell, TrialState.FAIL, "lost", None)
            return
        value = record.metrics[self._plan.metric] if record.status == "complete" else None
        self._put(cell, STATE_OF_STATUS[record.status], record.status, value)

    def _put(self, cell: Cell, state: TrialState, status: str, value: float | None) -> None:
        seeds = {"split_seed": cell.split_seed, "model_seed": cell.model_seed}
        params = {"arm": cell.arm, **cell.levels, **seeds}
        attributes = {"status": status, **seeds}
        self._mirror.put(
            Entry(self._study, cell.cell_id, params, self._distributions, state, value, attributes=attributes)
        )


def study_name(plan: StudyPlan, folder: Path) -> str:
    """Name of the Optuna study; changed studies and other folders get another one, so their trials are never mixed."""
    return f"{plan.study}-{plan.preset}-{plan.fingerprint()[:12]}-{folder_id(folder)}"


def folder_id(folder: Path) -> str:
    """Read (or, the first time, draw) the folder's own name, so that two folders never share a study by accident."""
    path = folder / "folder-id"
    if not path.exists():
        write_atomically(path, uuid.uuid4().hex[:12].encode())
    return path.read_text()
