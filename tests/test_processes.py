"""Killed, paused and interrupted processes, and two copies of a command at once: nothing is lost or repeated."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_study
import pytest
from fake_program import TIMEOUT, FakeProgram, ended

from ssgan_bench.records.store import RecordStore

EIGHT = ",".join(["ok"] * 8)


class Study(FakeProgram):
    """A fake study in a folder."""

    def __init__(self, folder: Path):
        super().__init__(fake_study.__file__, folder)

    def start(self, behaviors: str = EIGHT, **environment: str) -> subprocess.Popen[str]:
        return self.start_with(behaviors, **environment)

    def run(self, behaviors: str = EIGHT, **environment: str) -> tuple[int, str]:
        return ended(self.start(behaviors, **environment))

    def executions(self) -> list[tuple[str, int]]:
        """(cell, process) of every time a cell began to run."""
        log = self.folder / "executions.log"
        rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [(cell_id, int(pid)) for cell_id, pid in rows]

    def executions_per_cell(self) -> Counter[str]:
        return Counter(cell_id for cell_id, _ in self.executions())

    def trials(self) -> Counter[tuple[str, str]]:
        """Number of trials by (cell, state) in the database."""
        query = "select json_extract(value_json, '$'), state from trials join trial_user_attributes using (trial_id)"
        connection = sqlite3.connect(self.folder / "optuna.db")
        try:
            return Counter(connection.execute(query + " where key = 'id'").fetchall())
        finally:
            connection.close()

    def record_files(self) -> dict[str, tuple[int, bytes]]:
        files = (self.folder / "records").glob("*.json")
        return {path.stem: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    def is_complete(self, behaviors: str = EIGHT) -> bool:
        """Whether every cell has the record that an undisturbed run writes, and nothing else is there."""
        plan = fake_study.make_plan(behaviors.split(","))
        expected = {cell.cell_id: fake_study.make_record(plan, cell, "complete") for cell in plan.cells}
        found = {record.cell.cell_id: record for record in RecordStore(self.folder).records()}
        return found == expected and len(self.record_files()) == len(expected)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    (tmp_path / "study").mkdir()
    study = Study(tmp_path / "study")
    yield study
    study.kill_everything()


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def members(group: int) -> list[int]:
    """Living processes of a process group (zombies are dead)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_kills_of_the_whole_group_at_random_moments_lose_and_repeat_nothing_finished(study: Study) -> None:
    seed = random.randrange(10**9)
    delays = random.Random(seed)
    for _ in range(3):
        process = study.start()
        time.sleep(delays.uniform(0.3, 2.5))
        before = study.record_files()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert wait_until(lambda group=process.pid: not members(group)), f"seed {seed}"
        after = study.record_files()
        assert before.items() <= after.items(), f"seed {seed}"
    code, output = study.run()
    assert (code, output) == (0, "8 finished;\n"), f"seed {seed}"
    assert study.is_complete(), f"seed {seed}"
    assert after.items() <= study.record_files().items(), f"seed {seed}"
    complete = {key: count for key, count in study.trials().items() if key[1] != "FAIL"}
    assert complete == {(f"{index:016x}", "COMPLETE"): 1 for index in range(8)}, f"seed {seed}"


def test_workers_die_with_a_killed_coordinator(study: Study) -> None:
    process = study.start(FAKE_SECONDS="10000")
    assert wait_until(lambda: len(study.executions()) == 2)
    process.kill()
    process.wait()
    assert wait_until(lambda: not members(process.pid)), members(process.pid)


def started_twice(study: Study, behaviors: str, again: str) -> tuple[subprocess.Popen[str], subprocess.Popen[str], str]:
    """A command that waits in a gated cell, a second one that follows it, and what the second one said."""
    first = study.start(behaviors)
    assert wait_until(lambda: len(study.executions()) >= 2)
    second = study.start(again)
    assert second.stdout is not None
    return first, second, second.stdout.readline()


def test_the_second_copy_of_a_command_follows_the_first_and_ends_with_its_exit_code(study: Study) -> None:
    first, second, line = started_twice(study, "gated,failed,ok", "gated,failed,ok")
    assert f"process {first.pid} on {socket.gethostname()}, since " in line
    (study.folder / "go").touch()
    outputs = [process.communicate(timeout=TIMEOUT)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [1, 1], outputs
    assert sorted(study.executions_per_cell().values()) == [1, 1, 2]  # the failed one twice, as in one call


def test_the_second_copy_takes_over_when_the_first_is_killed(study: Study) -> None:
    first, second, _ = started_twice(study, "gated,ok,ok", "gated,ok,ok")
    assert wait_until(lambda: len(study.record_files()) == 2)
    before = study.record_files()
    os.killpg(first.pid, signal.SIGKILL)
    (study.folder / "go").touch()
    output, _ = second.communicate(timeout=TIMEOUT)
    assert (second.returncode, output.splitlines()[-1]) == (0, "3 finished;")
    assert before.items() <= study.record_files().items()
    assert study.is_complete("gated,ok,ok")


def test_an_interrupt_of_the_second_copy_ends_only_that(study: Study) -> None:
    first, second, _ = started_twice(study, "gated,gated", "gated,gated")
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=TIMEOUT)
    assert (second.returncode, "goes on" in output) == (130, True)
    (study.folder / "go").touch()
    assert first.communicate(timeout=TIMEOUT)[0] == "2 finished;\n"


def test_a_command_that_asks_for_more_goes_on_where_the_first_ends(study: Study) -> None:
    first, more, _ = started_twice(study, "gated,ok", "gated,ok,ok")
    (study.folder / "go").touch()
    assert first.communicate(timeout=TIMEOUT)[0] == "2 finished;\n"
    assert more.communicate(timeout=TIMEOUT)[0].splitlines()[-1] == "3 finished;"
    assert set(study.executions_per_cell().values()) == {1}


def test_a_killed_coordinator_loses_and_repeats_nothing_finished(study: Study) -> None:
    process = study.start(FAKE_SECONDS="0.5")
    assert wait_until(lambda: len(study.record_files()) >= 3)
    process.kill()  # alone, its workers still live
    process.communicate(timeout=TIMEOUT)
    before = study.record_files()
    assert study.run() == (0, "8 finished;\n")
    assert before.items() <= study.record_files().items()
    assert study.is_complete()


@pytest.mark.parametrize("how", ["sigterm", "ctrl-c with a paused worker"])
def test_an_interrupted_run_ends_soon_and_continues_without_repeating(study: Study, how: str) -> None:
    # One of the two workers is busy for ever, or paused, when the interrupt comes; the other goes from cell to cell.
    first_cell = "stopped-once" if "paused" in how else "busy-once"
    behaviors = ",".join([first_cell] + ["ok"] * 7)
    process = study.start(behaviors, FAKE_SECONDS="0.3")
    assert wait_until(lambda: len(study.record_files()) >= 2)
    if how == "sigterm":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(
        timeout=TIMEOUT
    )  # it waits for no cell, which a clock cannot tell on a busy machine
    assert (process.returncode, output) == (130, "\ninterrupted\n")  # no traceback from a worker either
    assert wait_until(lambda: not members(process.pid))
    before = study.record_files()
    assert study.run(behaviors)[0] == 0
    assert before.items() <= study.record_files().items()
    assert study.is_complete(behaviors)


def test_failing_dying_and_diverging_cells_do_not_stop_the_others(study: Study) -> None:
    behaviors = "ok,failed,failed-once,killed,killed-once,diverged,ok,ok"
    code, output = study.run(behaviors)
    ids = [f"{index:016x}" for index in range(8)]
    assert code == 1
    assert output == (
        f"6 finished; {ids[1]}: ValueError: told to fail {ids[3]}: the worker process ended with code -9\n"
        "error: cells failed\n"
    )
    assert "told to fail" in (study.folder / "failures" / f"{ids[1]}.txt").read_text()
    statuses = {record.cell.cell_id: record.status for record in RecordStore(study.folder).records()}
    complete = dict.fromkeys((ids[0], ids[2], ids[4], ids[6], ids[7]), "complete")
    assert statuses == {**complete, ids[1]: "failed", ids[5]: "diverged"}  # and none for the killed one
    assert study.executions_per_cell() == dict(zip(ids, (1, 2, 2, 2, 2, 1, 1, 1), strict=True))
    assert study.trials()[ids[5], "PRUNED"] == 1
    assert study.run(behaviors)[0] == 1  # the next call tries failed cells again, and only those
    assert study.executions_per_cell() == dict(zip(ids, (1, 4, 2, 4, 2, 1, 1, 1), strict=True))


def test_a_paused_worker_costs_only_time(study: Study) -> None:
    process = study.start("stopped-once,ok,ok")
    assert wait_until(lambda: len(study.record_files()) == 2)
    time.sleep(2.5)  # longer than a look at progress takes; there is no other time-out
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=TIMEOUT) == ("3 finished;\n", None)
    assert set(study.executions_per_cell().values()) == {1}


def test_a_storage_that_is_deleted_in_mid_study_costs_no_run_and_is_filled_again(study: Study) -> None:
    process = study.start("gated,ok,ok")
    assert wait_until(lambda: len(study.record_files()) == 2)
    for path in study.folder.glob("optuna.db*"):
        path.unlink()
    (study.folder / "go").touch()
    assert process.communicate(timeout=TIMEOUT) == ("3 finished;\n", None)
    assert study.is_complete("gated,ok,ok")
    assert study.run("gated,ok,ok") == (0, "3 finished;\n")
    assert study.trials() == {(f"{index:016x}", "COMPLETE"): 1 for index in range(3)}


def test_workers_that_cannot_start_end_the_study_with_a_reason(study: Study) -> None:
    code, output = study.run(FAKE_START_FAILS="1")
    assert code == 1
    assert output.startswith("error: 3 worker processes ended before taking a cell, the last with exit code -9")
    assert study.executions() == []


def test_a_full_disk_in_a_worker_ends_the_study_and_the_same_command_continues(study: Study) -> None:
    behaviors = "ok,full-once,ok,ok"
    code, output = study.run(behaviors)
    assert code == 1
    assert output == f"error: [Errno 28] No space left on device: '{study.folder}'\n"
    before = study.record_files()
    assert study.run(behaviors)[0] == 0
    assert before.items() <= study.record_files().items()
    assert study.is_complete(behaviors)


# In this process, with an engine that does as told.
