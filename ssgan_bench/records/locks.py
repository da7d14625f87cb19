"""One process at a time works in a study's folder: a lock that the system frees when its process dies, however it dies.

The lock and a note that says who holds it lie beside the folder, so that `--fresh` can rename the folder itself.
"""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ssgan_bench.config import Frozen
from ssgan_bench.records.store import write_atomically


class Holder(Frozen):
    """Who holds a lock, or held it last."""

    pid: int
    host: str
    since: str
    """UTC, ISO 8601."""
    request: str
    """Digest of what it was asked to do."""
    exit_code: int | None = None
    """0 when it had done it, 1 when cells or the machine had failed; None while it is at work, and if it was killed,
    interrupted or refused the request."""


class StudyLock:
    """The lock of one study's folder."""

    def __init__(self, folder: Path, request: str):
        """Name the lock of a folder.

        Args:
            folder: need not exist.
            request: digest of what this process is asked to do.
        """
        self.request = request
        self._lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        self._note = folder.with_name(f".{folder.name}.lock.json")
        self._since = ""

    def acquire(self) -> bool:
        """Take the lock; False if another process holds it.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self._try():
            return False
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(None)
        return True

    def release(self, exit_code: int | None) -> None:
        """Give the lock up.

        Args:
            exit_code: for those that wait; None: the work is not done, whoever waits may go on with it.
        """
        try:
            self._write(exit_code)
        finally:
            self._lock.release()

    def is_held(self) -> bool:
        """Whether another process holds the lock."""
        if not self._try():
            return True
        self._lock.release()
        return False

    def holder(self) -> Holder | None:
        """Who holds the lock, or held it last; None before that is known."""
        try:
            return Holder.model_validate_json(self._note.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _try(self) -> bool:
        self._note.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _write(self, exit_code: int | None) -> None:
        holder = Holder(
            pid=os.getpid(), host=socket.gethostname(), since=self._since, request=self.request, exit_code=exit_code
        )
        write_atomically(self._note, holder.model_dump_json().encode())
