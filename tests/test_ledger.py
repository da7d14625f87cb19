"""One trial per cell in an Optuna database, whoever asks and whatever happened before."""

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from fake_study import make_plan, make_record

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import RunRecord, StudyPlan
from ssgan_bench.trials.presence import Presence, folder_id
from ssgan_bench.trials.queue import Queue, StorageError, sqlite_url, study_name

PLAN = make_plan(["x", "y", "z"])
IDS = [cell.cell_id for cell in PLAN.cells]
OpenQueue = Callable[..., Queue]


@pytest.fixture
def open_queue(tmp_path: Path) -> Iterator[OpenQueue]:
    """Open the queue of a plan in tmp_path; closed at the end."""
    opened: list[Queue] = []

    def open_one(plan: StudyPlan = PLAN, url: str | None = None, *, create: bool = True) -> Queue:
        opened.append(Queue(url or sqlite_url(tmp_path / "optuna.db"), plan, tmp_path, create=create))
        return opened[-1]

    yield open_one
    for queue in opened:
        queue.close()


def update(queue: Queue, *records: RunRecord) -> tuple[int, int]:
    """(waiting, running) after the coordinator's regular look, given the records that are on disk."""
    by_id = {record.cell.cell_id: record for record in records}
    counts = queue.update(by_id.get, lambda cell_id: True)
    return counts.waiting, counts.running


def trials(folder: Path, plan: StudyPlan = PLAN) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(sqlite_url(folder / "optuna.db"))
    try:
        return storage.get_all_trials(storage.get_study_id_from_name(study_name(plan, folder_id(folder))))
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_every_cell_waits_once_however_often_one_looks(open_queue: OpenQueue, tmp_path: Path) -> None:
    assert update(open_queue()) == (3, 0)
    assert update(open_queue()) == (3, 0)
    assert [trial.user_attrs["cell"] for trial in trials(tmp_path)] == IDS


def test_a_cell_with_a_finished_record_or_given_up_is_not_added(open_queue: OpenQueue) -> None:
    done = make_record(PLAN, PLAN.cells[1], "complete")
    counts = open_queue().update({IDS[1]: done}.get, lambda cell_id: cell_id != IDS[2])
    assert counts.waiting == 1


def test_trials_carry_arm_levels_and_seeds_and_states_follow_the_records(open_queue: OpenQueue, tmp_path: Path) -> None:
    queue, worker = open_queue(), Presence(tmp_path)
    update(queue)
    for cell, status in zip(PLAN.cells, ("complete", "diverged", "failed"), strict=True):
        claim = queue.claim(worker.name)
        assert claim is not None
        assert claim.cell_id == cell.cell_id  # in the order of the plan
        queue.finish(claim, make_record(PLAN, cell, status))
    assert queue.claim(worker.name) is None  # rather than a sampled trial
    worker.close()
    found = trials(tmp_path)
    assert [trial.state.name for trial in found] == ["COMPLETE", "PRUNED", "FAIL"]
    assert [trial.value for trial in found] == [0.5, None, None]
    assert [trial.params for trial in found] == [
        {"arm": cell.arm, **cell.levels, "split_seed": cell.split_seed, "model_seed": cell.model_seed}
        for cell in PLAN.cells
    ]
    connection = sqlite3.connect(tmp_path / "optuna.db")
    assert connection.execute("select count(*) from trial_heartbeats").fetchone() == (3,)
    connection.close()


def test_two_workers_take_every_cell_once_and_find_what_is_added_after_they_looked(open_queue: OpenQueue) -> None:
    first, second = open_queue(), open_queue()
    update(first)
    claims = [queue.claim("worker") for queue in (first, second, second)]  # the second skips what the first has taken
    assert [claim and claim.cell_id for claim in claims] == IDS
    assert first.claim("worker") is None  # its own look is out of date
    assert claims[0] is not None
    first.finish(claims[0], None)
    update(second)  # what failed waits again, in a new trial
    again = first.claim("worker")
    assert again is not None
    assert (again.cell_id, again.trial_id > claims[0].trial_id) == (IDS[0], True)


def test_a_dead_workers_cell_waits_again_and_a_living_workers_does_not(open_queue: OpenQueue, tmp_path: Path) -> None:
    queue, dead, alive = open_queue(), Presence(tmp_path), Presence(tmp_path)
    update(queue)
    first, second = queue.claim(dead.name), queue.claim(alive.name)
    assert first is not None
    assert second is not None
    dead.close()
    assert update(queue) == (2, 1)
    assert not queue.still_owns(first)
    assert queue.still_owns(second)
    queue.finish(first, make_record(PLAN, PLAN.cells[0], "complete"))  # too late, and no error
    alive.close()
    assert [t.state.name for t in trials(tmp_path)] == ["FAIL", "RUNNING", "WAITING", "WAITING"]


def test_a_worker_killed_after_writing_its_record_counts_as_complete(open_queue: OpenQueue, tmp_path: Path) -> None:
    queue, worker = open_queue(), Presence(tmp_path)
    update(queue)
    queue.claim(worker.name)
    worker.close()
    assert update(queue, make_record(PLAN, PLAN.cells[0], "complete")) == (2, 0)
    assert [t.state.name for t in trials(tmp_path)] == ["COMPLETE", "WAITING", "WAITING"]


def test_a_worker_of_another_machine_keeps_its_cell_until_its_heartbeat_stops(
    open_queue: OpenQueue, tmp_path: Path
) -> None:
    queue = open_queue()
    update(queue)
    queue.claim(f"another-machine:{uuid.uuid4().hex}")
    assert update(queue) == (2, 1)
    connection = sqlite3.connect(tmp_path / "optuna.db")
    with connection:
        connection.execute("update trial_heartbeats set heartbeat = datetime('now', '-1 hour')")
    connection.close()
    update(queue)
    assert update(queue) == (3, 0)


def test_levels_in_another_order_continue_the_same_study(open_queue: OpenQueue) -> None:
    update(open_queue())
    reordered = PLAN.model_copy(
        update={"factors": (PLAN.factors[0].model_copy(update={"levels": ("z", "y", "x")}),), "seeds": (0, 1, 2)}
    )
    assert study_name(reordered, "here") == study_name(PLAN, "here")
    assert study_name(PLAN, "here") != study_name(PLAN, "elsewhere")
    queue = open_queue(reordered)
    queue.claim("another-machine:1")
    assert update(queue, make_record(PLAN, PLAN.cells[1], "complete")) == (2, 1)


def test_fewer_cells_leave_the_others_waiting_untouched(open_queue: OpenQueue) -> None:
    update(open_queue())
    fewer = PLAN.model_copy(update={"cells": PLAN.cells[:1]})
    queue = Queue.__new__(Queue)
    queue.__dict__ |= open_queue().__dict__ | {"_plan": fewer, "_cells": {IDS[0]: PLAN.cells[0]}}
    assert update(queue) == (1, 0)
    claim = queue.claim("another-machine:1")
    assert claim is not None
    assert claim.cell_id == IDS[0]
    assert queue.claim("another-machine:1") is None


def test_odd_characters_in_the_path_are_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "what? #1 {x} 100%41 ü"
    queue = Queue(sqlite_url(folder / "optuna.db"), PLAN, folder, create=True)
    assert update(queue) == (3, 0)
    queue.close()
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
def test_an_unusable_database_is_refused_in_one_line_without_its_password(
    open_queue: OpenQueue, url: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        open_queue(url=url)
    message = str(caught.value)
    assert message.startswith("--storage ")
    assert "\n" not in message
    assert url == "nonsense-secret" or "secret" not in message


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_database_is_refused_and_not_touched(open_queue: OpenQueue, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "optuna.db").write_bytes(content)
    with pytest.raises(ConfigError, match="move a damaged file away"):
        open_queue()
    assert (tmp_path / "optuna.db").read_bytes() == content


def test_an_empty_database_file_is_filled_again(open_queue: OpenQueue, tmp_path: Path) -> None:
    (tmp_path / "optuna.db").touch()
    assert update(open_queue()) == (3, 0)


def test_a_database_that_breaks_later_is_one_clear_error(open_queue: OpenQueue, tmp_path: Path) -> None:
    queue = open_queue()
    connection = sqlite3.connect(tmp_path / "optuna.db")
    connection.execute("drop table trial_heartbeats")
    connection.close()
    update(queue)
    with pytest.raises(StorageError, match="no such table"):
        queue.claim("another-machine:1")
