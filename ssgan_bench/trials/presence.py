"""Who works in a study folder: lock files that the system frees when their process dies, however it dies."""

import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from ssgan_bench.records.provenance import machine_id
from ssgan_bench.records.store import PARTIAL_FILES, write_atomically


def folder_lock(folder: Path) -> FileLock:
    """Make the lock under which processes of this machine (or of a shared file system) change the folder's queue."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".queue.lock")


def folder_id(folder: Path) -> str:
    """Read (or, the first time, draw) the folder's own name, so that two folders never share a queue by accident.

    Call it under `folder_lock`.
    """
    path = folder / "folder-id"
    if not path.exists():
        write_atomically(path, uuid.uuid4().hex[:12].encode())
    return path.read_text()


class Presence:
    """A living process's name, `machine:uuid`, proved by a lock file in `workers/`."""

    def __init__(self, folder: Path):
        self.name = f"{machine_id()}:{uuid.uuid4().hex}"
        path = _path(folder, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path)
        with folder_lock(folder):  # `sweep` must not find the file before it is locked
            self._lock.acquire()

    def close(self) -> None:
        """Give the name up."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the named process may be alive; one of another machine always may, one without a name never.

    After a restart this machine counts as another one: its earlier processes are given up by their heartbeat.
    """
    if name.partition(":")[0] != machine_id():
        return bool(name)
    return _is_locked(_path(folder, name))


def sweep(folder: Path) -> None:
    """Delete what processes that were killed left behind: their lock files, and files that they had begun to write.

    Only this machine's lock files can be judged. Begun files have no owner's name: they are deleted when no process
    works in the folder and no other machine's lock file is there. Call it under `folder_lock`.
    """
    for path in (folder / "workers").glob(f"{machine_id()}.*.lock"):
        if not _is_locked(path):
            path.unlink(missing_ok=True)
    if not any((folder / "workers").glob("*.lock")):
        for place in ("", "records/", "samples/*/", "failures/", "reference/"):
            for path in folder.glob(place + PARTIAL_FILES):
                path.unlink(missing_ok=True)


def anyone_alive(folder: Path) -> bool:
    """Whether any process works in the folder."""
    return any(_is_locked(path) for path in (folder / "workers").glob("*.lock"))


def forget(folder: Path, name: str) -> None:
    """Delete the lock file of a process known to be dead."""
    if name:
        _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / "workers" / f"{name.replace(':', '.')}.lock"


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()  # the file stays: its process may be about to lock it
    return False
