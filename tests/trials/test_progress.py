"""Plain lines where there is no terminal, one line where there is one."""

import io

import pytest
from fake_study import make_plan, make_record

from ssgan_bench.trials import progress as progress_module
from ssgan_bench.trials.progress import Progress, ProgressDisplay, describe_counts, describe_result, describe_seconds

PLAN = make_plan(["x", "y", "z"])
COMPLETE, DIVERGED, FAILED = (
    make_record(PLAN, cell, status) for cell, status in zip(PLAN.cells, ("complete", "diverged", "failed"), strict=True)
)


def test_counts_and_results_are_said_in_words() -> None:
    progress = Progress(4, {"1": COMPLETE, "2": DIVERGED}, failed={"3": "ValueError: no"}, running=2, last=COMPLETE)
    assert describe_counts(progress) == "1 of 4 done, 1 diverged, 1 failed, 2 running"
    assert describe_result(COMPLETE) == "a behavior=x seed 0: test error 50.0 %"
    assert describe_result(DIVERGED) == "b behavior=y seed 0: diverged at step 3"
    assert describe_result(FAILED) == "a behavior=z seed 1: failed: ValueError: told to fail"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_durations_are_rounded_for_reading(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_plain_lines_come_only_with_news_and_never_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    progress = Progress(3)
    with ProgressDisplay(3) as display:

        def show_at(*times: float) -> None:
            for now[0] in times:
                display(progress)

        show_at(1000.0)
        progress.finished["1"], progress.last = COMPLETE, COMPLETE
        show_at(1001.0, 1002.0, 1030.0, 1060.0)
        progress.finished["2"], progress.last = DIVERGED, DIVERGED
        show_at(1061.0, 1090.0, 1120.0)
        progress.finished["3"] = progress.last = make_record(PLAN, PLAN.cells[2], "complete")
        show_at(1150.0, 1180.0)  # the caller prints the final counts
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "1 of 3 done, 0 diverged, 0 failed, 0 running, remaining time not known yet; " + describe_result(COMPLETE),
        "1 of 3 done, 1 diverged, 0 failed, 0 running, about 30 s left; " + describe_result(DIVERGED),
    ]


def test_a_failed_cell_is_reported_at_once_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(3) as display:
        for _ in range(3):
            display(Progress(3, failed={"f00d": "ValueError: no"}))
    assert capsys.readouterr().out == "failed: cell f00d: ValueError: no\n"


def test_a_terminal_gets_one_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    progress = Progress(3)
    with ProgressDisplay(3) as display:
        for record in (COMPLETE, DIVERGED):
            progress.finished[record.cell.cell_id] = progress.last = record
            display(progress)
    assert terminal.getvalue().count("\n") == 1  # at the end
    assert "1 of 3 done, 1 diverged" in terminal.getvalue().split("\r")[-1]
