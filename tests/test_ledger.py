"""The mirror in Optuna's storage: what it shows, what it survives, what it refuses. Nothing waits for it."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from fake_study import make_plan, make_record

from ssgan_bench import ledger
from ssgan_bench.config import ConfigError
from ssgan_bench.ledger import CellLedger, Mirror, folder_id, study_name
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.storage import sqlite_url

PLAN = make_plan(["x", "y", "z"])
X, Y, Z = PLAN.cells
PATIENCE = 600
"""Seconds that nothing here takes, however busy the machine is."""
OpenLedger = Callable[..., tuple[Mirror, CellLedger]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "study"
    path.mkdir()
    return path


@pytest.fixture
def open_ledger(folder: Path) -> Iterator[OpenLedger]:
    """Open the mirror of a plan; closed at the end."""
    opened: list[Mirror] = []

    def open_one(plan: StudyPlan = PLAN, url: str | None = None) -> tuple[Mirror, CellLedger]:
        name = study_name(plan, folder)
        opened.append(Mirror(url or sqlite_url(folder / "optuna.db"), [name]))
        return opened[-1], CellLedger(opened[-1], name, plan)

    yield open_one
    for mirror in opened:
        mirror.close()


def tell_all(cells: CellLedger) -> None:
    """A study of three cells, from its first to its last."""
    for cell, status in ((X, "complete"), (Y, "diverged"), (Z, "failed")):
        cells.cell_started(cell)
        cells.cell_ended(cell, make_record(PLAN, cell, status))


def trials(folder: Path, plan: StudyPlan = PLAN) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(sqlite_url(folder / "optuna.db"))
    try:
        return storage.get_all_trials(storage.get_study_id_from_name(study_name(plan, folder)))
    finally:
        storage.remove_session()
        storage.engine.dispose()


def states(folder: Path) -> list[tuple[str, str]]:
    """(cell, state) of every trial, in their order."""
    return [(trial.user_attrs["id"], trial.state.name) for trial in trials(folder)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_cell_is_a_trial_with_its_parameters_seeds_state_and_value(open_ledger: OpenLedger, folder: Path) -> None:
    mirror, cells = open_ledger()
    tell_all(cells)
    assert mirror.close() == ""
    found = trials(folder)
    assert [trial.state.name for trial in found] == ["COMPLETE", "PRUNED", "FAIL"]
    assert [trial.value for trial in found] == [0.5, None, None]
    for trial, cell, status in zip(found, PLAN.cells, ("complete", "diverged", "failed"), strict=True):
        seeds = {"split_seed": cell.split_seed, "model_seed": cell.model_seed}
        assert trial.params == {"arm": cell.arm, **cell.levels, **seeds}
        assert trial.user_attrs == {"id": cell.cell_id, "status": status, **seeds}


def test_a_run_that_lasts_is_shown_while_it_runs(
    open_ledger: OpenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SHOW_AFTER_SECONDS", 0.0)
    mirror, cells = open_ledger()
    cells.cell_started(X)
    cells.cell_started(Y)
    running = [(X.cell_id, "RUNNING"), (Y.cell_id, "RUNNING")]
    wait_until(lambda: states(folder) == running)
    cells.cell_ended(X, make_record(PLAN, X, "complete"))
    mirror.close()  # Y is interrupted
    assert states(folder) == [(X.cell_id, "COMPLETE"), (Y.cell_id, "FAIL")]
    assert trials(folder)[0].user_attrs["status"] == "complete"


def test_what_a_killed_process_left_running_or_waiting_ends(
    open_ledger: OpenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ledger()[0].close()
    storage = sqlite_url(folder / "optuna.db")
    study = optuna.load_study(storage=optuna.storages.RDBStorage(storage), study_name=study_name(PLAN, folder))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"id": Z.cell_id}))
    study.enqueue_trial({}, user_attrs={"id": X.cell_id})
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    monkeypatch.setattr(ledger, "SHOW_AFTER_SECONDS", 0.0)
    mirror, cells = open_ledger()
    cells.cell_started(Y)
    wait_until(lambda: (Y.cell_id, "RUNNING") in states(folder))
    cells.cell_ended(Y, make_record(PLAN, Y, "complete"))
    assert mirror.close() == ""
    ended = [(Z.cell_id, "FAIL"), (X.cell_id, "FAIL"), (Y.cell_id, "COMPLETE")]
    assert states(folder) == ended


def test_what_the_storage_knows_is_not_added_again(open_ledger: OpenLedger, folder: Path) -> None:
    for _ in range(2):
        mirror, cells = open_ledger()
        cells.cell_ended(X, make_record(PLAN, X, "complete"))
        assert mirror.close() == ""
    assert states(folder) == [(X.cell_id, "COMPLETE")]


def test_a_lost_try_is_a_failed_trial_and_the_next_one_another(open_ledger: OpenLedger, folder: Path) -> None:
    mirror, cells = open_ledger()
    cells.cell_started(X)
    cells.cell_ended(X, None)
    cells.cell_started(X)
    cells.cell_ended(X, make_record(PLAN, X, "complete"))
    mirror.close()
    assert states(folder) == [(X.cell_id, "FAIL"), (X.cell_id, "COMPLETE")]


def test_a_storage_whose_file_is_deleted_is_made_anew_with_all_that_it_was_told(
    open_ledger: OpenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_SECONDS", 0.05)
    mirror, cells = open_ledger()
    cells.cell_ended(X, make_record(PLAN, X, "complete"))
    wait_until(lambda: states(folder) == [(X.cell_id, "COMPLETE")])
    for path in folder.glob("optuna.db*"):
        path.unlink()
    cells.cell_ended(Y, make_record(PLAN, Y, "diverged"))
    wait_until(lambda: not mirror._due)
    assert mirror.close() == ""
    assert sorted(states(folder)) == [(X.cell_id, "COMPLETE"), (Y.cell_id, "PRUNED")]


def test_what_a_storage_that_is_gone_has_missed_is_one_line_and_the_next_call_adds_it(
    open_ledger: OpenLedger, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    url = sqlite_url(elsewhere / "optuna.db")
    mirror, cells = open_ledger(url=url)
    wait_until(lambda: (elsewhere / "optuna.db").exists())
    shutil.rmtree(elsewhere)
    start = time.monotonic()
    tell_all(cells)
    assert time.monotonic() - start < 1  # nobody waits for it
    line = mirror.close()
    assert line.startswith("the Optuna storage missed 3 trials: sqlite:///")
    assert "\n" not in line
    elsewhere.mkdir()
    mirror, cells = open_ledger(url=url)
    tell_all(cells)
    assert mirror.close() == ""


def test_no_error_of_the_storage_reaches_the_study(open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, cells = open_ledger()
    monkeypatch.setattr(Mirror, "_write", lambda self, entry: 1 / 0)
    tell_all(cells)
    assert "(division by zero)" in mirror.close()


def test_levels_in_another_order_continue_the_same_study(open_ledger: OpenLedger, folder: Path) -> None:
    mirror, cells = open_ledger()
    cells.cell_ended(X, make_record(PLAN, X, "complete"))
    mirror.close()
    reordered = PLAN.model_copy(
        update={"factors": (PLAN.factors[0].model_copy(update={"levels": ("z", "y", "x")}),), "seeds": (0, 1, 2)}
    )
    assert study_name(reordered, folder) == study_name(PLAN, folder) != study_name(PLAN, folder.parent)
    mirror, cells = open_ledger(reordered)
    cells.cell_ended(Y, make_record(PLAN, Y, "complete"))
    assert mirror.close() == ""
    assert states(folder) == [(X.cell_id, "COMPLETE"), (Y.cell_id, "COMPLETE")]


def test_odd_characters_in_the_path_are_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "what? #1 {x} 100%41 ü"
    folder.mkdir()
    mirror = Mirror(sqlite_url(folder / "optuna.db"), ["a study"])
    assert mirror.close() == ""
    assert (folder / "optuna.db").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("sqlite://", "cannot be shared by processes"),
        ("sqlite:///:memory:", "cannot be shared by processes"),
        ("nonsense-secret", "not a database URL"),
        ("postgresql://user:secret@host:port/x", "not a database URL"),
        ("foo://user:secret@host/x", "cannot be used as Optuna storage"),
        ("mysql+pymysql://user:secret@host/x", "cannot be used as Optuna storage"),
    ],
)
def test_an_unusable_storage_is_refused_in_one_line_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Mirror(url, ["a study"])
    message = str(caught.value)
    assert message.startswith("--storage ")
    assert "\n" not in message
    assert url == "nonsense-secret" or "secret" not in message


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_storage_is_refused_and_not_touched(open_ledger: OpenLedger, folder: Path, content: bytes) -> None:
    (folder / "optuna.db").write_bytes(content)
    with pytest.raises(ConfigError, match="move a damaged file away"):
        open_ledger()
    assert (folder / "optuna.db").read_bytes() == content


def test_an_empty_storage_file_is_filled_again(open_ledger: OpenLedger, folder: Path) -> None:
    (folder / "optuna.db").touch()
    mirror, cells = open_ledger()
    tell_all(cells)
    assert mirror.close() == ""
    assert len(trials(folder)) == 3


def test_a_table_that_is_dropped_in_mid_study_is_made_anew(open_ledger: OpenLedger, folder: Path) -> None:
    mirror, cells = open_ledger()
    connection = sqlite3.connect(folder / "optuna.db")
    connection.execute("drop table trial_params")
    connection.close()
    tell_all(cells)
    assert mirror.close() == ""
    assert len(trials(folder)) == 3


def test_a_folder_keeps_its_own_name(folder: Path) -> None:
    assert folder_id(folder) == folder_id(folder) != folder_id(folder.parent)
