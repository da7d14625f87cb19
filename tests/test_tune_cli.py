"""A tuned study from its file to its report: search, winners, fresh runs, by the command line."""

import json
import shutil
from pathlib import Path

import pytest
from command_runs import command, main

from ssgan_bench.records.locks import StudyLock
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.reporting import write_report
from ssgan_bench.reporting.search_evidence import read_search
from ssgan_bench.trials.study_file import read_study

TINY = """
name = "tiny"
question = "Does it run?"
expectation = "It does."
baseline = "supervised"
arms.supervised = { label = "Supervised", set.method.name = "supervised" }
arms.ssgan = { label = "SSGAN", set.method.preset = "article" }
base.data = { dataset = "digits", image_size = 16, num_validation = 20 }
base.network.width = 4
base.optimizer.learning_rate = 1e-6
base.train = { epochs = 1, batch_size = 64, labeled_batch_size = 16, evaluations = 1 }
factors = [{ key = "data.num_labels", label = "Labels", levels = [20] }]
presets.quick = { description = "For tests.", seeds = 2 }
[search]
num_trials = 3
tuning_seeds = 2
[search.space.all]
"optimizer.learning_rate" = { low = 1e-6, high = 1e-2, log = true }
[search.space.supervised]
"optimizer.weight_decay" = { low = 0.0, high = 1.0 }
[search.space.ssgan]
"method.feature_matching" = { choices = ["l1", "l2"] }
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An output folder with a whole tuned study, and the lines it printed."""
    out = tmp_path_factory.mktemp("finished")
    done = command(tiny, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out, done.stdout.splitlines()


@pytest.fixture
def out(finished: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the finished output folder."""
    shutil.copytree(finished[0], tmp_path / "out")
    return tmp_path / "out"


def test_a_tuned_study_searches_freezes_and_runs_the_winners_on_fresh_seeds(
    finished: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, lines = finished
    folder = out / "runs" / "tiny" / "quick"
    assert "6 of 6 search trials done, 0 of them pruned, 0 failed, 0 running" in lines
    search = SearchStore(folder / "search")
    trials = {record.trial_id: record for record in search.records()}
    plan = search.plan()
    assert plan is not None
    assert sorted(trials) == sorted(plan.trial_ids)
    assert {score.seed for record in trials.values() for score in record.scores} == {10_000, 10_001}
    frozen = read_study(folder / "winners.toml")
    assert frozen.search is None
    records = RecordStore(folder).records()
    num_own = 2 - sum("(kept its own values)" in arm.label for arm in frozen.arms.values())
    assert len(records) == 2 * (2 + num_own)
    assert lines[-1] == f"{len(records)} of {len(records)} done, 0 diverged, 0 failed, 0 running"
    assert {record.cell.model_seed for record in records} == {0, 1}
    for arm in plan.arms:
        best = min((r for r in trials.values() if r.arm == arm.name), key=lambda r: (r.mean_error, r.trial))
        (rate,) = {r.cell.config["optimizer"]["learning_rate"] for r in records if r.cell.arm == f"{arm.name}_tuned"}
        assert rate == best.params["optimizer.learning_rate"]
    report = write_report(RecordStore(folder), tmp_path / "report")
    assert "How the arms were tuned" in report.index.read_text()
    assert len(read_search(tmp_path / "report" / "evidence").trials) == 6


def test_the_same_command_repeats_nothing_and_a_lost_trial_comes_back_the_same(
    capsys: pytest.CaptureFixture[str], tiny: Path, out: Path
) -> None:
    folder = out / "runs" / "tiny" / "quick"
    winners = (folder / "winners.toml").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("records/*.json")}
    lost = folder / "search" / "records" / "ssgan-0002.json"
    expected = json.loads(lost.read_text())
    lost.unlink()
    code, _, error = main(capsys, tiny, "--out", out, "--no-report", "--workers", 1)
    assert (code, error) == (0, "")
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("records/*.json")}
    assert after.keys() == before.keys()
    assert {path for path in before if after[path] != before[path]} == {lost}
    found = json.loads(lost.read_text())
    assert [found[key] for key in ("params", "scores", "status")] == [
        expected[key] for key in ("params", "scores", "status")
    ]
    assert (folder / "winners.toml").read_bytes() == winners


def test_a_changed_search_is_refused_and_the_old_one_kept(
    capsys: pytest.CaptureFixture[str], tiny: Path, out: Path
) -> None:
    code, _, error = main(capsys, tiny, "--out", out, "--no-report", "--set", "search.num_trials=4")
    assert code == 2
    assert "its runs belong to another version of this study's search (num_trials 3 -> 4); use --out DIR" in error


def test_a_plan_says_what_a_search_costs_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], tiny: Path, tmp_path: Path
) -> None:
    code, output, _ = main(capsys, tiny, "--out", tmp_path, "--plan")
    assert code == 0
    assert "first a search: 2 arms x 3 trials = 6 trials of at most 2 runs (seeds 10000 to 10001, judged on" in output
    assert "trials of ssgan: 0 to 2 over optimizer.learning_rate, method.feature_matching; trial 0 is its own" in output
    assert "for the search without pruning and all cells with" in output
    assert list(tmp_path.iterdir()) == []


def test_a_search_in_use_is_not_set_aside(capsys: pytest.CaptureFixture[str], tiny: Path, out: Path) -> None:
    lock = StudyLock(out / "runs" / "tiny" / "quick", "whoever")
    assert lock.acquire()
    code, _, error = main(capsys, tiny, "--out", out, "--fresh")
    lock.release(None)
    assert code == 2
    assert "is in use by another process" in error


def test_a_search_whose_study_no_longer_has_one_is_refused(
    capsys: pytest.CaptureFixture[str], tiny: Path, out: Path, tmp_path: Path
) -> None:
    folder = out / "runs" / "tiny" / "quick"
    shutil.rmtree(folder / "records")  # as if the search had been interrupted: no winner has run
    without = tmp_path / "without.toml"
    without.write_text(tiny.read_text().partition("[search]")[0])
    code, _, error = main(capsys, without, "--out", out, "--no-report")
    assert code == 2
    assert "its runs belong to an earlier version of this study ([search] is gone); use --out DIR" in error
    assert (folder / "search" / "records").is_dir()


def test_the_winners_are_a_study_of_their_own_and_run_where_they_were_found(
    capsys: pytest.CaptureFixture[str], out: Path
) -> None:
    winners = out / "runs" / "tiny" / "quick" / "winners.toml"
    code, output, error = main(capsys, winners, "--out", out, "--no-report")
    assert (code, error) == (0, "")
    assert " done, 0 diverged, 0 failed, 0 running" in output.splitlines()[-1]
