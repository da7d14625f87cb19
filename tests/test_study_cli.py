"""`python -m ssgan_bench.study` by real, tiny runs: kills, changed studies, damaged files, wrong input."""

import json
import os
import pty
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import ENVIRONMENT, TIMEOUT, command, command_line, main, with_another_digit

from ssgan_bench import study
from ssgan_bench.config import digest
from ssgan_bench.records.locks import StudyLock
from ssgan_bench.records.schema import RunRecord
from ssgan_bench.records.store import RecordStore

TINY = """
name = "tiny"
question = "Does it run?"
expectation = "It does."
baseline = "supervised"
arms.supervised = { label = "Supervised", set.method.name = "supervised" }
arms.ssgan = { label = "SSGAN", set.method.preset = "article" }
base.data = { dataset = "digits", image_size = 16 }
base.network.width = 4
base.train = { epochs = 1, batch_size = 64, labeled_batch_size = 16, evaluations = 3 }
factors = [{ key = "data.num_labels", label = "Labels", levels = [20] }]
presets.quick = { description = "For tests.", seeds = 2 }
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture(scope="session")
def finished(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An output folder with an undisturbed run of the tiny study, and the lines it printed."""
    out = tmp_path_factory.mktemp("finished")
    done = command(tiny, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out, done.stdout.splitlines()


@pytest.fixture
def out(finished: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the finished output folder."""
    shutil.copytree(finished[0], tmp_path / "out")
    return tmp_path / "out"


def folder_of(out: Path) -> Path:
    return out / "runs" / "tiny" / "quick"


def results(out: Path) -> dict[str, dict[str, Any]]:
    """Everything in the records that must not depend on the machine's mood, by cell."""
    found = {}
    for record in RecordStore(folder_of(out)).records():
        found[record.cell.cell_id] = record.model_dump(
            exclude={"timing": True, "started_at": True, "provenance": {"commit"}}  # the checkout may change meanwhile
        )
    return found


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder_of(out).rglob("*"))
        if path.suffix in (".json", ".png")
    }


def trial_states(out: Path) -> list[str]:
    connection = sqlite3.connect(folder_of(out) / "optuna.db")
    try:
        return sorted(state for (state,) in connection.execute("select state from trials"))
    finally:
        connection.close()


def test_plain_lines_end_with_the_counts_and_none_stands_twice(finished: tuple[Path, list[str]]) -> None:
    out, lines = finished
    assert lines[0] == "tiny, preset quick: Does it run?"
    assert "  2 arms x 1 levels of data.num_labels [20] x 2 seeds = 4 cells" in lines
    assert lines[-1] == "4 of 4 done, 0 diverged, 0 failed, 0 running"
    assert len(set(lines)) == len(lines)
    assert trial_states(out) == ["COMPLETE"] * 4
    assert all(set(result["metrics"]) == {"error_rate", "nll", "ece"} for result in results(out).values())
    assert not list(folder_of(out).rglob("*.part"))


def test_a_kill_at_a_random_moment_changes_no_result(
    tiny: str, finished: tuple[Path, list[str]], tmp_path: Path
) -> None:
    seed = random.randrange(10**9)
    process = subprocess.Popen(
        command_line(tiny, tmp_path),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (folder_of(tmp_path) / "optuna.db").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.Random(seed).uniform(0, 10))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = command(tiny, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"
    assert results(tmp_path) == results(finished[0]), f"seed {seed}"
    assert trial_states(tmp_path).count("COMPLETE") == 4, f"seed {seed}"


def test_an_interrupt_is_one_line_that_says_how_to_go_on(tiny: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command_line(tiny, tmp_path), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # A signal during an import may be lost in one of Python's own callbacks. The first record comes long after them.
    while not list(folder_of(tmp_path).glob("records/*.json")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert "the same command continues" in output.splitlines()[-1]
    assert errors == ""


def test_an_interrupt_before_anything_runs_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "run_study", lambda options: signal.raise_signal(signal.SIGTERM))
    assert main(capsys, "labeled_rate") == (
        130,
        "\ninterrupted; finished runs are kept, the same command continues\n",
        "",
    )


@pytest.mark.parametrize("damage", [lambda content: content[:100], with_another_digit], ids=["cut off", "a digit"])
def test_a_damaged_record_and_an_emptied_database_cost_one_run_shown_as_one_bar(
    damage: Callable[[bytes], bytes], tiny: str, finished: tuple[Path, list[str]], out: Path
) -> None:
    victim = sorted((folder_of(out) / "records").iterdir())[1]
    victim.write_bytes(damage(victim.read_bytes()))
    (folder_of(out) / "optuna.db").write_bytes(b"")
    before = files(out)
    code, lines = on_a_terminal(command_line(tiny, out))
    assert code == 0, lines
    assert results(out) == results(finished[0])
    others = {name for name in before if name.startswith("runs/tiny/quick/records/") and victim.name not in name}
    assert len(others) == 3
    assert all(files(out)[name] == before[name] for name in others)
    assert len([line for line in lines if line.startswith(f"  {victim}: ")]) == 1
    bars = [line for line in lines if " % [" in line]
    assert len(bars) == 1  # written over and over, with carriage returns
    assert "4 of 4 done" in bars[0].split("\r")[-1]
    assert lines[-2:] == ["4 of 4 done, 0 diverged, 0 failed, 0 running", ""]


def on_a_terminal(arguments: list[str]) -> tuple[int, list[str]]:
    """Exit code and what a terminal of 200 columns receives, split at line feeds."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (50, 200))
    with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=follower, stderr=follower) as process:
        os.close(follower)
        text = b""
        while select.select([leader], [], [], TIMEOUT)[0]:
            try:
                text += os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
    os.close(leader)
    return process.returncode, text.decode().replace("\r\n", "\n").split("\n")


def test_a_finished_study_runs_nothing_again_and_fewer_seeds_are_fine(
    tiny: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(out)
    code, output, _ = main(capsys, tiny, "--out", out, "--no-report")
    assert (code, output.splitlines()[-1]) == (0, "4 of 4 done, 0 diverged, 0 failed, 0 running")
    assert files(out).items() - before.items() <= {
        ("runs/tiny/quick/plan.json", files(out)["runs/tiny/quick/plan.json"])
    }
    code, output, _ = main(capsys, tiny, "--out", out, "--no-report", "--seeds", "1")
    assert (code, output.splitlines()[-1]) == (0, "2 of 2 done, 0 diverged, 0 failed, 0 running")
    assert trial_states(out) == ["COMPLETE"] * 4


def test_a_changed_study_is_refused_with_what_changed(tiny: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(out)
    code, _, errors = main(capsys, tiny, "--out", out, "--set", "train.epochs=2")
    assert code == 2
    assert errors.count("\n") == 1
    assert "another version of this study, or another file with the name 'tiny' (train.epochs 1 -> 2)" in errors
    assert "--fresh" in errors
    assert files(out) == before


def test_another_file_with_the_name_of_a_study_is_refused_with_how_to_keep_both(
    tiny: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(out)
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("Does it run?", "Is it fast?").replace("epochs = 1", "epochs = 2"))
    code, _, errors = main(capsys, other, "--out", out)
    assert (code, errors.count("\n")) == (2, 1)
    assert "another file with the name 'tiny', or an earlier version ('Does it run?') (train.epochs 1 -> 2)" in errors
    assert "use --out DIR, or another name in the study file, to keep both" in errors
    assert files(out) == before
    other.write_text(other.read_text().replace('name = "tiny"', 'name = "other"'))
    database = ("--storage", "sqlite:////no/such/folder/x.db")  # what comes after the check
    assert "unable to open database file" in main(capsys, other, "--out", out, *database)[2]


def test_a_plan_without_any_run_does_not_bind(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ("--storage", "sqlite:////no/such/folder/x.db")
    assert main(capsys, tiny, "--out", tmp_path, *bad)[0] == 2
    code, _, errors = main(capsys, tiny, "--out", tmp_path, "--set", "train.epochs=2", *bad)
    assert code == 2
    assert "unable to open database file" in errors


def test_fresh_keeps_the_old_folder_and_is_refused_while_it_is_in_use(
    tiny: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(out)
    someone = StudyLock(folder_of(out), "whoever")
    assert someone.acquire()
    # A database that cannot be opened ends the run after the old folder was set aside.
    arguments = (tiny, "--out", out, "--fresh", "--set", "train.epochs=2", "--storage", "sqlite:////no/folder/x.db")
    code, _, errors = main(capsys, *arguments)
    assert code == 2
    assert "is in use by another process" in errors
    someone.release(None)
    code, output, _ = main(capsys, *arguments)
    assert "earlier runs are kept in" in output
    (kept,) = folder_of(out).parent.glob("quick.before-*")
    assert {path.name for path in kept.rglob("*.json")} == {Path(name).name for name in before if "json" in name}
    assert not (folder_of(out) / "records").exists()


@pytest.mark.parametrize("file", ["plan.json", "optuna.db"])
def test_a_damaged_plan_or_database_is_one_line_and_loses_nothing(
    tiny: str, out: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder_of(out) / file
    path.write_bytes(b"garbage" * 1000)
    before = {name: content for name, content in files(out).items() if not name.endswith("plan.json")}
    code, _, errors = main(capsys, tiny, "--out", out)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert file in errors
    assert path.read_bytes().startswith(b"garbage")
    assert before.items() <= files(out).items()


def test_plan_prints_cost_and_cells_and_writes_nothing(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssgan_bench.trials.estimate.TIMED_SECONDS", 0.05)
    code, output, errors = main(capsys, tiny, "--out", tmp_path / "out", "--plan")
    assert (code, errors) == (0, "")
    for part in ("= 4 cells", "estimated time: ", "estimated memory: ", "estimated disk: ", "ssgan, data.num_labels"):
        assert part in output
    assert list(tmp_path.iterdir()) == []


def test_another_storage_is_used_instead_of_the_folders_own(
    tiny: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder_of(out) / "optuna.db").unlink()
    code, _, _ = main(capsys, tiny, "--out", out, "--no-report", "--storage", f"sqlite:///{out}/other.db")
    assert code == 0
    assert (out / "other.db").exists()
    assert not (folder_of(out) / "optuna.db").exists()


WRONG = {
    "unknown study": (
        ["labeled_rat"],
        "labeled_rat: no such study; known: batch_norm_dropout, class_mismatch, fast_options",
    ),
    "missing file": (["no.toml"], "no.toml: cannot be read"),
    "unknown preset": (["labeled_rate", "--preset", "huge"], "no preset 'huge'; it has quick, standard, full"),
    "unknown data set": (["labeled_rate", "--dataset", "mnits"], "did you mean 'mnist'?"),
    "missing folder": (["labeled_rate", "--dataset", "folder:/no/such"], "/no/such"),
    "set without =": (["labeled_rate", "--set", "train.epochs"], "write key=value"),
    "unknown key": (["labeled_rate", "--set", "train.epoch=3"], "--set train.epoch = 3: unknown key"),
    "wrong type": (["labeled_rate", "--set", "train.epochs=two"], "--set train.epochs = 'two'"),
    "no seeds": (["labeled_rate", "--seeds", "0"], "--seeds 0: give a number from 1 to 1000"),
    "seeds not a number": (["labeled_rate", "--seeds", "x"], "argument --seeds: invalid int value: 'x'"),
    "no workers": (["labeled_rate", "--workers", "0"], "--workers 0: give a number from 1 to 256"),
    "unknown device": (["labeled_rate", "--device", "tpu"], "--device tpu: unknown; use auto, cpu, cuda or cuda:N"),
    "absent GPU": (["labeled_rate", "--device", "cuda:99"], "--device cuda:99: this machine has"),
    "unknown option": (["labeled_rate", "--sets", "x=1"], "unrecognized arguments"),
    "nonsense storage": (["labeled_rate", "--storage", "secret"], "not a database URL"),
    "storage without driver": (["labeled_rate", "--storage", "foo://me:secret@h/x"], "foo://me:***@h/x"),
    "too many labels": (["labeled_rate", "--set", "data.num_labels=[5000]"], "data.num_labels = 5000"),
    "too few labels": (["labeled_rate", "--set", "data.num_labels=[5]"], "fewer labels than the 10 classes"),
    "large batch": (["labeled_rate", "--set", "train.batch_size=5000"], "train.batch_size = 5000: larger than"),
    "too many unlabeled": (
        ["labeled_rate", "--set", "data.num_unlabeled=1100"],
        "images besides the labeled, validation and test ones",
    ),
    "other budget": (["labeled_rate", "--set", "data.labeled_rate=0.1"], "takes the place of data.num_labels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, says = WRONG[name]
    code, _, errors = main(capsys, *arguments, "--out", tmp_path)
    assert code == 2
    assert says in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "secret" not in errors.replace("--storage secret...", "")
    assert not list(tmp_path.rglob("*.db"))


def test_data_that_cannot_be_fetched_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    arguments = ("labeled_rate", "--dataset", "mnist", "--data-dir", tmp_path / "data", "--out", tmp_path / "out")
    code, _, errors = main(capsys, *arguments)
    last = errors.splitlines()[-1]
    assert code == 2
    assert last.startswith("error: data set 'mnist'")
    assert str(tmp_path / "data") in last
    assert "Traceback" not in errors


def test_an_output_folder_that_cannot_be_written_is_one_line(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    code, _, errors = main(capsys, tiny, "--out", file / "below")
    assert code == 1
    assert errors.startswith("error: [Errno ")
    assert str(file) in errors
    assert errors.count("\n") == 1


def test_a_file_as_output_folder_is_refused(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    code, _, errors = main(capsys, tiny, "--out", file)
    assert (code, errors) == (2, f"error: --out {file}: is a file; name a folder\n")


def test_listing_and_help_start_without_heavy_imports(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from ssgan_bench.study import build_parser, main\n"
        "assert main([]) == 0 and build_parser().format_help()\n"
        "heavy = {'torch', 'torchvision', 'optuna', 'pandas', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "labeled_rate" in done.stdout
    assert main(capsys, "--help")[0] == 0


def test_records_are_json_with_units_in_their_names(finished: tuple[Path, list[str]]) -> None:
    for path in (folder_of(finished[0]) / "records").iterdir():
        values = json.loads(path.read_bytes())
        assert values.pop("content_sha256") == digest(values)
        assert RunRecord.model_validate_json(json.dumps(values)).cell.cell_id == path.stem
        assert 0 <= values["metrics"]["error_rate"] <= 1
        assert {"train_seconds", "step_time_ms", "cpu_seconds", "peak_memory_mib"} <= values["timing"].keys()
