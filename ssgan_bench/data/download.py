"""Where the files of the torchvision data sets lie under the root, and fetching them once.

Only the coordinator fetches; workers read. A fetch happens under a file lock, in a temporary folder below the
root, and each finished file is moved into place by an atomic rename: no process ever sees half a file.
"""

import contextlib
import io
import os
import shutil
import socket
import tarfile
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock, Timeout

from ssgan_bench.config import ConfigError

SOCKET_TIMEOUT_SECONDS = 30.0
LOCK_TIMEOUT_SECONDS = 3600.0


@dataclass(frozen=True)
class Layout:
    """Files of one data set in torchvision's own arrangement; folders are relative to the root."""

    torchvision_class: str
    folder: str
    files: tuple[str, ...]
    """What reading the data set needs."""
    archive_folder: str
    archives: tuple[str, ...]
    """What may lie there instead, as published; `prepare` extracts it without network."""


def _idx_layout(torchvision_class: str) -> Layout:
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = tuple(f"{part}-ubyte" for part in parts)
    folder = f"{torchvision_class}/raw"
    return Layout(torchvision_class, folder, files, folder, tuple(f"{file}.gz" for file in files))


_SVHN_FILES = ("train_32x32.mat", "test_32x32.mat")

LAYOUTS = {
    "mnist": _idx_layout("MNIST"),
    "fashion_mnist": _idx_layout("FashionMNIST"),
    "kmnist": _idx_layout("KMNIST"),
    "svhn": Layout("SVHN", ".", _SVHN_FILES, ".", _SVHN_FILES),
    "cifar10": Layout(
        "CIFAR10",
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        ".",
        ("cifar-10-python.tar.gz",),
    ),
}


def missing_files(name: str, root: Path) -> list[Path]:
    """List the files of a data set that are not under the root, or cannot be read there."""
    layout = LAYOUTS[name]
    paths = [root / layout.folder / file for file in layout.files]
    return [path for path in paths if not os.access(path, os.R_OK)]


def missing_error(name: str, root: Path, reason: str) -> ConfigError:
    """Make the one-line error that says which data set is missing and what to put where."""
    layout = LAYOUTS[name]
    absent = missing_files(name, root) or [root / layout.folder]
    return ConfigError(
        f"data set {name!r}: {absent[0]} is missing or unreadable ({reason}); put "
        f"{', '.join(layout.archives)} into {root / layout.archive_folder} and run again, "
        "or use --dataset digits, which needs no files"
    )


def fetch(name: str, root: Path, progress: bool = True) -> None:
    """Make the files of a torchvision data set lie under the root: extract archives there, else download.

    Does nothing when they are all there, so a complete read-only root is fine. Safe to call from several
    processes at once.

    Args:
        name: a key of LAYOUTS.
        root: torchvision's root folder; made if need be.
        progress: show torchvision's progress bars on stderr.

    Raises:
        ConfigError: no network, a time-out, a damaged archive, or a root that cannot be written.
    """
    if not missing_files(name, root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock", timeout=LOCK_TIMEOUT_SECONDS):
            # Another process may have fetched the files while this one waited for the lock.
            if missing_files(name, root):
                _fetch_locked(name, root, progress)
    except Timeout as error:
        raise missing_error(name, root, "another process has held the download lock for an hour") from error
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zlib.error) as error:
        cause = textwrap.shorten(str(error) or type(error).__name__, 200)
        raise missing_error(name, root, f"fetching it failed: {cause}") from error


def _fetch_locked(name: str, root: Path, progress: bool) -> None:
    layout = LAYOUTS[name]
    # Under the lock, a folder of this name can only be what a killed process left behind.
    work = root / f".{name}.partial"
    shutil.rmtree(work, ignore_errors=True)
    try:
        (work / layout.archive_folder).mkdir(parents=True)
        for archive in layout.archives:
            source = root / layout.archive_folder / archive
            if source.is_file():
                # Copied, not linked: torchvision overwrites in place an archive whose checksum is wrong.
                shutil.copyfile(source, work / layout.archive_folder / archive)
        with _socket_timeout(), contextlib.ExitStack() as stack:
            if not progress:
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            _run_torchvision(layout, work)
        for path in missing_files(name, root):
            path.parent.mkdir(parents=True, exist_ok=True)
            (work / layout.folder / path.name).replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run_torchvision(layout: Layout, work: Path) -> None:
    """Let torchvision check (MD5), download and extract into `work`."""
    import torchvision

    dataset = getattr(torchvision.datasets, layout.torchvision_class)
    if layout.torchvision_class == "SVHN":
        for split in ("train", "test"):
            dataset(str(work), split=split, download=True)
    else:
        dataset(str(work), download=True)


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """Bound every wait for the network; torchvision opens its connections without a time-out."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SOCKET_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
