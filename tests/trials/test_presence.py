"""Who lives in a study folder, and what the dead leave there."""

import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ssgan_bench.records import provenance
from ssgan_bench.records.store import write_atomically
from ssgan_bench.trials import presence
from ssgan_bench.trials.presence import Presence, anyone_alive, folder_lock, forget, is_alive, sweep

WORK = """
import sys; from pathlib import Path
from ssgan_bench.trials.presence import Presence
presence = Presence(Path(sys.argv[1]))
print(presence.name, flush=True)
sys.stdin.readline()
"""


def start_worker(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that is present in the folder, and its name."""
    command = [sys.executable, "-c", WORK, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def swept(folder: Path) -> list[str]:
    """Sweep as a coordinator does; the files that are left in the folder."""
    with folder_lock(folder):
        sweep(folder)
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".queue.lock")


def half_written(folder: Path) -> list[Path]:
    """Leave, in every place where the store writes, what a kill in the middle of writing leaves."""
    places = ("plan.json", "records/0123456789abcdef.json", "samples/0123456789abcdef/0000012.png", "failures/x.txt")
    paths = [folder / place for place in places]
    partial = [path.with_name(f".{path.name}.{uuid.uuid4().hex}.part") for path in paths]
    for path in partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    return partial


def test_a_process_is_alive_until_it_gives_its_name_up(tmp_path: Path) -> None:
    assert not anyone_alive(tmp_path)
    someone = Presence(tmp_path)
    assert anyone_alive(tmp_path)
    assert is_alive(tmp_path, someone.name)
    someone.close()
    assert not anyone_alive(tmp_path)
    assert not is_alive(tmp_path, someone.name)
    assert swept(tmp_path) == []


def test_a_killed_process_is_dead_at_once_even_if_the_host_name_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, name = start_worker(tmp_path)
    if Path("/proc/sys/kernel/random/boot_id").exists():  # elsewhere nothing better than the host name is known
        monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    assert is_alive(tmp_path, name)
    kill(process)
    assert not is_alive(tmp_path, name)


def test_a_process_of_another_machine_or_of_an_earlier_start_may_be_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, name = start_worker(tmp_path)
    kill(process)
    monkeypatch.setattr(presence, "machine_id", lambda: "f" * 12)
    assert is_alive(tmp_path, name)
    assert not is_alive(tmp_path, "")


def test_without_a_boot_id_the_host_name_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    names = {}
    for host in ("one", "two", "one"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        names.setdefault(host, set()).add(provenance.machine_id())
    assert all(len(found) == 1 for found in names.values())
    assert names["one"] != names["two"]


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    process, _ = start_worker(tmp_path)
    write_atomically(tmp_path / "records" / "whole.json", b"whole")
    half_written(tmp_path)
    kill(process)
    assert swept(tmp_path) == ["whole.json"]


def test_nothing_that_is_being_written_is_swept_while_a_process_lives(tmp_path: Path) -> None:
    dead, _ = start_worker(tmp_path)
    alive, name = start_worker(tmp_path)
    partial = half_written(tmp_path)
    kill(dead)
    lock = f"{name.replace(':', '.')}.lock"
    assert swept(tmp_path) == sorted([lock, *(path.name for path in partial)])
    kill(alive)
    assert swept(tmp_path) == []


def test_nothing_is_swept_that_may_be_another_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, name = start_worker(tmp_path)
    kill(process)  # its lock is free, as a living one's looks from a machine that does not share locks
    partial = half_written(tmp_path)
    monkeypatch.setattr(presence, "machine_id", lambda: "f" * 12)
    assert set(swept(tmp_path)) >= {path.name for path in partial}
    forget(tmp_path, name)
    assert swept(tmp_path) == []


def test_a_new_process_waits_for_a_sweep_under_way(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while not (tmp_path / "workers").exists():
            assert process.poll() is None
        assert list((tmp_path / "workers").iterdir()) == []  # the lock file comes when the sweep is over
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert is_alive(tmp_path, name)
    kill(process)
