"""A record says where and with what it was made."""

import subprocess
from pathlib import Path

import pytest
import torch

from ssgan_bench import __version__
from ssgan_bench.records import provenance


def test_versions_are_those_in_use() -> None:
    found = provenance.collect("cpu", provenance.cpu_name(), 2, "abc", "0" * 64)
    assert torch.__version__.startswith(found.torch)
    assert found.ssgan_bench == __version__
    assert (found.device, found.num_threads, found.commit) == ("cpu", 2, "abc")
    assert found.device_name


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("model name\t: Some CPU\nflags\t\t: fma avx2 avx512f avx512_bf16\n", "Some CPU with AVX-512 and bfloat16"),
        ("model name\t: Some CPU\nflags\t\t: fma avx2\n", "Some CPU with AVX2"),
        ("model name\t: Some CPU\n", "Some CPU"),
    ],
)
def test_processors_of_one_name_are_told_apart_by_what_they_multiply_with(
    description: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(description)
    assert provenance.cpu_name(tmp_path / "cpuinfo") == name
    assert provenance.cpu_name(tmp_path / "absent")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit that the package seems to run from."""
    file = tmp_path / "ssgan_bench" / "records" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("1\n")
    monkeypatch.setattr(provenance, "__file__", str(file))
    return file


def test_the_commit_is_marked_dirty_only_when_tracked_files_differ(checkout: Path) -> None:
    root = checkout.parents[2]
    assert provenance.git_commit() is None  # not a checkout yet
    git(root, "init", "-q")
    assert provenance.git_commit() is None  # no commit yet
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    commit = git(root, "rev-parse", "HEAD")
    assert provenance.git_commit() == commit
    (root / "untracked").touch()
    assert provenance.git_commit() == commit
    checkout.write_text("2\n")
    assert provenance.git_commit() == f"{commit}+dirty"


def test_a_machine_without_git_is_no_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout.parents[2] / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() is None


def test_without_a_boot_id_the_host_name_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    names: dict[str, set[str]] = {}
    for host in ("one", "two", "one"):
        monkeypatch.setattr(provenance.socket, "gethostname", lambda host=host: host)
        names.setdefault(host, set()).add(provenance.machine_id())
    assert all(len(found) == 1 for found in names.values())
    assert names["one"] != names["two"]
