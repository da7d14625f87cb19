"""`python -m ssgan_bench.evidence`: slices that stop by themselves, nothing made twice, a table of what is missing."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssgan_bench.evidence import __main__ as command_line
from ssgan_bench.evidence import pieces as how
from ssgan_bench.evidence.pieces import (
    SMOKE_OWN_SETTINGS,
    SMOKE_SETTINGS,
    SMOKE_STUDIES,
    STUDIES,
    book,
    pieces,
)
from ssgan_bench.evidence.site import Piece, Site
from ssgan_bench.evidence.slices import STOP_SECONDS, missing_table, run_slice

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, tmp_path, "cuda:0", "A Device (80 GB)")


def exits(code: int | None):
    """Stand for a process that ends with this code, or whose time is up."""

    def run(piece: Piece, site: Site, seconds: float) -> None:
        book(piece, site, code)

    return run


def piece(name: str, code: int | None = 0) -> Piece:
    return Piece(name, ("Makefile",), exits(code))


def test_a_finished_piece_is_noted_and_not_made_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_slice([piece("one"), piece("two", None)], site, 600)
    assert site.is_made(piece("one"))
    assert not site.is_made(piece("two"))
    noted = json.loads((site.reports / "evidence.json").read_bytes())
    assert noted.keys() == {"one"}
    assert noted["one"].keys() == {"code", "commit", "device", "finished_at"}
    capsys.readouterr()
    assert run_slice([piece("one"), piece("two")], site, 600)
    assert capsys.readouterr().out == "two: done\n"
    assert not run_slice([piece("one"), piece("two")], site, 600)


def test_other_code_makes_a_piece_missing_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.note(piece("one"))
    before = site.work(piece("one"))
    monkeypatch.setattr("ssgan_bench.records.provenance.code_digest", lambda: "other")
    assert not site.is_made(piece("one"))
    assert site.work(piece("one")) != before
    assert "there is one of other code" in missing_table([piece("one")], site)


def test_a_failed_piece_is_tried_once_and_does_not_stop_the_others(site: Site) -> None:
    assert run_slice([piece("bad", 1), piece("good")], site, 600)
    assert site.failures == {"bad": "failed with exit code 1"}
    assert site.is_made(piece("good"))
    assert "bad    failed with exit code 1" in missing_table([piece("bad", 1), piece("good")], site)


@pytest.mark.parametrize("content", ["{", "[1]", "null", "3", '{"benchmarks": 3}', '{"benchmarks": {"code": "x"}}'])
def test_a_damaged_list_is_one_line(content: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.reports.mkdir(parents=True)
    (site.reports / "evidence.json").write_text(content)
    assert command_line.main(["--out", str(site.out), "--data-dir", str(site.out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {site.reports / 'evidence.json'}: damaged; ")
    assert error.count("\n") == 1


def test_a_slice_without_time_begins_nothing(site: Site) -> None:
    assert not run_slice([piece("one")], site, STOP_SECONDS + 1)


def test_a_process_whose_time_is_up_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(how, "ROOT", tmp_path)
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(1000)\n")
    (tmp_path / "stubborn.py").write_text("import signal\nsignal.signal(15, signal.SIG_IGN)\nimport sleeper\n")
    (tmp_path / "quick.py").write_text("raise SystemExit(3)\n")
    assert how.run_module(["quick"], 600) == 3
    assert how.run_module(["sleeper"], 1) is None
    monkeypatch.setattr(how, "END_SECONDS", 1)
    start = time.monotonic()
    assert how.run_module(["stubborn"], 1) is None
    assert time.monotonic() - start < 600


def test_a_finished_study_is_published_in_the_place_of_the_older_report(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study,) = [found for found in pieces((("label_leak", "full"),)) if found.study == "label_leak"]
    published = site.reports / "label_leak" / "full"
    (published / "evidence").mkdir(parents=True)
    (published / "index.html").write_text("old")
    made = site.work(study) / "reports" / "label_leak" / "full"
    made.parent.mkdir(parents=True)
    shutil.copytree(ROOT / "reports" / "reference" / "labeled_rate" / "quick", made)
    monkeypatch.setattr(how, "run_module", lambda arguments, seconds: None)
    study.run(study, site, 100)
    assert (published / "index.html").read_text() == "old"
    monkeypatch.setattr(how, "run_module", lambda arguments, seconds: 0)
    study.run(study, site, 100)
    assert (published / "index.html").read_bytes() == (made / "index.html").read_bytes()
    assert site.is_made(study)


def test_a_study_takes_graphs_only_where_the_gpu_tests_passed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(how, "run_module", lambda arguments, seconds: commands.append(arguments))
    tests, _, begun, other_study = pieces((("labeled_rate", "full"), ("label_leak", "full")))
    begun.run(begun, site, 100)
    site.note(tests)
    for study in (begun, other_study):
        study.run(study, site, 100)
    before, as_begun, *after = [command[command.index("--data-dir") + 2 :] for command in commands]
    assert before == as_begun == []
    assert after == [["--set", "train.cuda_graph=true"]]
    site.work(other_study).joinpath("steps.txt").unlink()
    other = Site(site.out, site.data_root, "cuda:0", "Another Device")  # where the tests were not run
    other_study.run(other_study, other, 100)
    assert "train.cuda_graph=true" not in commands[-1]


def test_without_a_gpu_it_only_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was run"))
    assert command_line.main(["--out", str(tmp_path), "--data-dir", str(tmp_path / "data")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no CUDA GPU here; nothing is run"
    table = {line.split()[0]: line for line in lines[3:]}
    assert list(table) == ["gpu_tests", "benchmarks", *("-".join(study) for study in STUDIES)]
    assert all("a CUDA GPU" in line for line in table.values())
    assert "missing: 40 runs" in table["improved_gan_mnist100-paper"]
    assert "mnist in --data-dir" in table["improved_gan_mnist100-paper"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "error: --minutes 0: give a number from 2 to 600\n"),
        (["--minutes", "nan"], "error: --minutes nan: give a number from 2 to 600\n"),
        (["--slow"], "error: unrecognized arguments: --slow; see --help\n"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = command_line.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert (code, capsys.readouterr().err) == (2, message)


def test_the_studies_at_toy_size_are_the_real_ones() -> None:
    from ssgan_bench.trials.plan import make_plan, parse_overrides
    from ssgan_bench.trials.study_file import read_study

    for name, preset in SMOKE_STUDIES:
        path = ROOT / "studies" / f"{name}.toml"
        changes = {**SMOKE_SETTINGS, "data.dataset": "digits"}
        changes |= parse_overrides(SMOKE_OWN_SETTINGS[name])
        plan = make_plan(read_study(path), str(path), preset, changes, seeds=2)
        assert len(plan.cells) == 2 * len(plan.arms)
    assert set(SMOKE_STUDIES) <= set(STUDIES)


def test_help_starts_without_heavy_imports() -> None:
    code = (
        "import sys; from ssgan_bench.evidence.__main__ import _parser\n"
        "_parser().format_help()\n"
        "assert not {'torch', 'pandas', 'optuna'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_benchmarks_are_timed_file_by_file_and_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []
    reported: list[list[str]] = []

    def run(arguments: list[str], seconds: float) -> int | None:
        if arguments[0] == "ssgan_bench.report":
            reported.append(arguments)
            return 2 if len(reported) == 1 else 0
        timed.append(arguments[2])
        if len(timed) == 2:
            return None  # its time is up
        path = next(word.partition("=")[2] for word in arguments if word.startswith("--benchmark-json="))
        Path(path).write_text(json.dumps({"machine_info": {}, "benchmarks": [{"name": arguments[2]}]}))
        return 0

    monkeypatch.setattr(how, "run_module", run)
    monkeypatch.setattr(how, "_files_with", lambda *_: ("a.py", "b.py"))
    (benchmarks,) = [piece for piece in pieces(()) if piece.name == "benchmarks"]
    benchmarks.run(benchmarks, site, 100)
    assert not reported
    benchmarks.run(benchmarks, site, 100)
    assert timed == ["a.py", "b.py", "b.py"]
    assert site.failures == {"benchmarks": "failed with exit code 2"}  # the page; the times are kept
    assert not site.is_made(benchmarks)
    benchmarks.run(benchmarks, site, 100)
    assert timed == ["a.py", "b.py", "b.py"]
    assert site.is_made(benchmarks)
    command = reported[-1]
    assert command[command.index("--to") + 1] == str(site.reports / "benchmarks" / "a-device-80-gb")
    assert [entry["name"] for entry in json.loads(Path(command[-1]).read_bytes())["benchmarks"]] == ["a.py", "b.py"]
