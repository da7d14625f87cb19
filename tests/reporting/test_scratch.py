"""What a killed process leaves beside a report is deleted by the next one, and what a living one uses is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssgan_bench.reporting import scratch
from ssgan_bench.reporting.scratch import scratch_folder

HOLD = """
import sys; from pathlib import Path
from ssgan_bench.reporting.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("a report")
    print(folder, flush=True)
    sys.stdin.readline()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_empty_at_first_and_gone_at_the_end_also_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder(tmp_path / "quick") as folder:
            assert names(folder) == []
            assert folder.parent == tmp_path  # so that moving it into place is one step
            (folder / "half").touch()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_swept_and_a_living_ones_folder_is_not(tmp_path: Path) -> None:
    target = tmp_path / "quick"
    command = [sys.executable, "-c", HOLD, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        with scratch_folder(target):
            assert (theirs / "half").read_text() == "a report"
        assert (theirs / "half").exists()
        process.kill()
    assert theirs.exists()
    with scratch_folder(tmp_path / "other"):
        assert theirs.exists()  # another report's
    with scratch_folder(target):
        assert not theirs.exists()
    assert names(tmp_path) == []


def test_folders_of_other_machines_and_of_nobody_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scratch.machine_id()
    nobodys = tmp_path / f".quick-{here}-{'0' * 32}"
    others = tmp_path / f".quick-{'f' * 12}-{'0' * 32}"
    for folder in (nobodys, others):
        folder.mkdir()
    others.with_name(f"{others.name}.lock").touch()
    with scratch_folder(tmp_path / "quick"):
        pass
    assert nobodys.exists()
    assert others.exists()
    monkeypatch.setattr(scratch, "machine_id", lambda: "f" * 12)
    with scratch_folder(tmp_path / "quick"):
        pass
    assert not others.exists()
