"""A folder beside its target in which something is made whole before it is moved into place."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ssgan_bench.records.provenance import machine_id


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Make an empty folder beside `target` that is deleted at the end, and those that killed processes left there.

    A lock file beside each folder is locked while its process lives, which only processes of the same machine can see:
    the machine's name is part of the folder's.
    """
    prefix = f".{target.name}-{machine_id()}-"
    _sweep(target.parent, prefix)
    folder = target.with_name(prefix + uuid.uuid4().hex)
    try:
        with FileLock(_lock_path(folder)):  # before the folder is there: a sweep never finds a living one unlocked
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        _lock_path(folder).unlink(missing_ok=True)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _sweep(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}{'[0-9a-f]' * 32}"):
        if not _lock_path(folder).exists():
            continue  # nothing says whose it is
        try:
            with FileLock(_lock_path(folder), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue  # its process lives
        _lock_path(folder).unlink(missing_ok=True)
