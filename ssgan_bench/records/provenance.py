"""Say where and with what a result is made."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path

from ssgan_bench import __version__
from ssgan_bench.config import digest
from ssgan_bench.records.schema import Provenance

MULTIPLIERS = {
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 and bfloat16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
"""Vector and matrix instructions by their name in /proc/cpuinfo, the fastest first."""
NUMERICAL_CODE = ("config.py", "seeding.py", "data", "evaluation", "methods", "networks", "objectives", "training")
"""Files and folders of the package that decide what a run computes."""


@functools.cache
def code_digest() -> str:
    """SHA-256 (hex) of the code that decides what a run computes; knows nothing of Git, unlike `git_commit`."""
    return files_digest(Path(__file__).parents[1], NUMERICAL_CODE)


def files_digest(root: Path, names: tuple[str, ...]) -> str:
    """SHA-256 (hex) over names and contents of files below `root`; of a folder, of the Python files in it."""
    paths = [path for name in names for path in _files(root / name)]
    return digest(
        [[path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths]
    )


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, "+dirty" when tracked files differ; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name(description: Path = Path("/proc/cpuinfo")) -> str:
    """Processor model, as far as the platform tells, with the instructions that decide how fast it multiplies.

    Virtual machines of processors that differ by a factor of two may all be called "AMD EPYC".
    """
    try:
        lines = [line.partition(":") for line in description.read_text().splitlines()]
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in lines}
    if not (model := facts.get("model name")):
        return platform.processor() or platform.machine()
    flags = facts.get("flags", "").split()
    widest = next((name for flag, name in MULTIPLIERS.items() if flag in flags), None)
    return f"{model} with {widest}" if widest else model


def machine_id() -> str:
    """Name this machine since its start: 12 hex digits that all its processes share and no other machine has.

    On Linux from the kernel's boot id. The lock of a dead process can be told from that of a living one only under the
    kernel which holds the locks, and the boot id is that kernel's name: containers of one kernel have it in common,
    and a host name may change while processes run. Elsewhere from the host name.
    """
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        name = socket.gethostname()
    return digest(name)[:12]


def collect(device: str, device_name: str, num_threads: int, commit: str | None, dataset_sha256: str) -> Provenance:
    """Collect what this process can tell about itself; device facts come from the caller."""
    version = importlib.metadata.version
    return Provenance(
        device=device,
        device_name=device_name,
        num_threads=num_threads,
        python=platform.python_version(),
        torch=version("torch"),
        torchvision=version("torchvision"),
        optuna=version("optuna"),
        ssgan_bench=__version__,
        platform=f"{platform.system()} {platform.machine()}",
        commit=commit,
        dataset_sha256=dataset_sha256,
    )
