"""One process at a time, known by name to those that wait, and free as soon as it is dead."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ssgan_bench.records.locks import StudyLock

HOLD = """
import sys, time; from pathlib import Path
from ssgan_bench.records.locks import StudyLock
lock = StudyLock(Path(sys.argv[1]), "theirs")
assert lock.acquire()
print("held", flush=True)
time.sleep(10_000)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "quick"  # which need not exist


def test_who_holds_a_lock_and_how_it_ended_is_known_to_others(folder: Path) -> None:
    mine, other = StudyLock(folder, "mine"), StudyLock(folder, "other")
    assert other.holder() is None
    assert mine.acquire()
    assert not other.acquire()
    assert other.is_held()
    holder = other.holder()
    assert holder is not None
    assert (holder.pid, holder.host, holder.request) == (os.getpid(), socket.gethostname(), "mine")
    assert holder.exit_code is None
    mine.release(1)
    assert not other.is_held()
    ended = other.holder()
    assert ended is not None
    assert ended.exit_code == 1
    assert other.acquire()
    assert other.holder() == mine.holder() != ended
    other.release(None)


def test_a_killed_holder_has_left_no_exit_code(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    lock = StudyLock(folder, "mine")
    assert lock.is_held()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not lock.is_held()
    holder = lock.holder()
    assert holder is not None
    assert (holder.pid, holder.exit_code) == (process.pid, None)


def test_the_folder_can_be_renamed_under_its_lock(folder: Path) -> None:
    lock = StudyLock(folder, "mine")
    assert lock.acquire()
    folder.mkdir()
    folder.rename(folder.with_name("aside"))
    assert StudyLock(folder, "other").is_held()
    assert list(folder.with_name("aside").iterdir()) == []
    lock.release(0)


def test_a_damaged_note_counts_as_none(folder: Path) -> None:
    lock = StudyLock(folder, "mine")
    assert lock.acquire()
    (note,) = folder.parent.glob("*.json")
    note.write_text("{")
    assert lock.holder() is None
    lock.release(0)
