"""The report as a whole: what it says, what it refuses, and that it depends on the records alone."""

import base64
import csv
import hashlib
import html
import io
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import BUDGETS, LABELS, TWO, lost, make_plan, make_record, read_rows, with_losses

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.records.store import RecordStore
from ssgan_bench.report import main
from ssgan_bench.reporting import render, write_report
from ssgan_bench.reporting.evidence import guard, read_evidence, unguard
from ssgan_bench.reporting.page import replace_folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_equal_records_give_equal_bytes_also_from_the_evidence_alone(report, tmp_path):
    store, _, folder = report
    write_report(store, tmp_path / "again")
    shutil.copytree(folder / "evidence", tmp_path / "elsewhere")
    render(tmp_path / "elsewhere", tmp_path / "from_evidence")
    first = tree(folder)
    assert first == tree(tmp_path / "again")
    assert first == tree(tmp_path / "from_evidence")
    render(folder / "evidence", folder)
    assert first == tree(folder)


@pytest.mark.usefixtures("blank_figures")
def test_page_is_self_contained_and_every_link_leads_somewhere(report):
    _, result, folder = report
    page = result.index.read_text()
    assert not re.search(r"https?://[^\"]*\.(?:js|css|png)", page)
    assert page.count("<script") == page.count("<script>") == 1
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'" in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    links = [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith("data:")]
    anchors = set(re.findall(r' id="([^"]*)"', page))
    for link in links:
        assert link[1:] in anchors if link.startswith("#") else (folder / link).is_file(), link


@pytest.mark.usefixtures("blank_figures")
def test_every_planned_cell_is_a_row_whatever_became_of_it(make_store, tmp_path):
    plan = make_plan(seeds=(0, 1, 2, 3, 4, 5, 6, 7), factors=(LABELS,))
    make_store(plan, with_losses(plan))
    store = RecordStore(tmp_path / "runs" / "label_budget" / "quick")
    damaged = store.folder / "records" / f"{plan.cells[0].cell_id}.json"
    damaged.write_text("{")
    result = write_report(store, tmp_path / "report")
    rows = read_rows(tmp_path / "report" / "evidence" / "runs.csv")
    assert [row["cell_id"] for row in rows] == [cell.cell_id for cell in plan.cells]
    by_status = {status: sum(row["status"] == status for row in rows) for status in {row["status"] for row in rows}}
    assert by_status == {"complete": 124, "diverged": 1, "failed": 1, "missing": 2}
    assert all(row["error_rate"] == "" for row in rows if row["status"] != "complete")
    page = html.unescape(result.index.read_text())
    assert "a loss stopped being finite at step 131" in page
    assert "RuntimeError: out of memory" in page
    assert "its record file cannot be read" in page
    assert "124 of 128 planned runs complete" in page
    assert "1 diverged, 1 failed and 2 missing" in result.answer


@pytest.mark.usefixtures("blank_figures")
def test_evidence_reads_back_what_was_recorded(report):
    store, _, folder = report
    evidence = read_evidence(folder / "evidence")
    records = {record.cell.cell_id: record for record in store.records()}
    for _, row in evidence.runs.iterrows():
        record = records[row["cell_id"]]
        assert row["config_digest"] == record.config_digest
        assert type(row["data.num_labels"]) is int
        if record.status == "complete":
            assert row["error_rate"] == record.metrics["error_rate"]
            assert row["step_time_ms"] == record.timing.step_time_ms


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", "\ttab", "'quoted", "plain", ""])
def test_guarded_text_is_no_formula_and_reads_back_unchanged(text):
    assert not guard(text).startswith(("=", "+", "-", "@", "\t"))
    assert unguard(guard(text)) == text


def test_numbers_keep_their_sign_in_csv():
    assert guard(-0.5) == -0.5


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)


def test_hostile_texts_are_shown_and_never_run(make_store, tmp_path):
    evil = '<script>alert(1)</script> & a | b "q" $x^$ _y_'
    plan = make_plan(
        arms=(("supervised_only", evil), ("other", "_hidden " + evil)),
        factors=(FactorInfo(key="method.variant", label=evil, levels=("=cmd()", "<b>")),),
        seeds=(0, 1, 2),
        study=evil,
        question=evil,
        expectation=evil,
    )
    first = plan.cells[0]
    message = "=HYPERLINK(1)\n" + evil
    store = make_store(plan, lambda cell: lost(status="failed", error=message) if cell is first else {})
    result = write_report(store, tmp_path / "report")
    tags = Tags()
    tags.feed(result.index.read_text())
    assert tags.seen.count("script") == 1  # the page's own
    assert "b" not in tags.seen
    assert html.escape(evil, quote=False)[:30] in result.index.read_text()
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "<script" not in markdown
    cells = re.findall(r"(?<!\\)\|", next(line for line in markdown.splitlines() if line.startswith("| arm")))
    assert len(cells) == 4  # arm and two levels; a label's own bars are escaped
    for table in (tmp_path / "report").rglob("*.csv"):
        for row in csv.reader(io.StringIO(table.read_text(), newline="")):
            assert not any(value.startswith(("=", "@", "+")) for value in row), table
    assert read_evidence(tmp_path / "report" / "evidence").runs["error"].iloc[0] == message
    for page in (tmp_path / "report" / "tables").glob("*.tex"):
        # Nothing but the table's own commands and escapes: no bare special of LaTeX is left.
        text = re.sub(r"\\(?:[\\{}$&#%_]|[a-z]+\{?\}?)|\$[-]\$", "", page.read_text().split(r"\midrule")[1])
        assert not re.search(r"[$#%_^~<>|]", text.replace(r"\$", "")), page


def test_records_of_another_protocol_are_refused(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    store = make_store(plan)
    store.write_record(make_record(plan, plan.cells[0], protocol_version="0.9"))
    with pytest.raises(ConfigError, match=r"protocol 0\.9, but the plan has 1\.0"):
        write_report(store, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("blank_figures")
def test_crash_while_writing_leaves_the_old_report_whole(report, monkeypatch):
    store, _, folder = report
    before = tree(folder)

    def fail(document):
        raise OSError("disk full")

    monkeypatch.setattr("ssgan_bench.reporting.page.to_markdown", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(store, folder)
    assert tree(folder) == before
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.usefixtures("blank_figures")
def test_folder_that_is_no_report_is_not_replaced(report, tmp_path):
    store, _, _ = report
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="is not a report"):
        write_report(store, tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_the_folder_of_all_reports_and_another_kind_of_report_are_not_replaced(tmp_path):
    reports, study = tmp_path / "reports", tmp_path / "reports" / "study"
    for folder in (reports, study):
        (folder / "evidence").mkdir(parents=True)
        (folder / "index.html").touch()
    for folder, has_evidence in ((reports, True), (reports, False), (study, False)):
        with pytest.raises(ConfigError, match="is not a report of this kind"):
            replace_folder(folder, lambda new: None, has_evidence=has_evidence)
    replace_folder(study, lambda new: (new / "index.html").write_text("new"), has_evidence=True)
    assert (study / "index.html").read_text() == "new"


@pytest.mark.usefixtures("blank_figures")
def test_sample_paths_that_leave_the_run_folder_are_ignored(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    store = make_store(plan, lambda cell: {"sample_files": ("../../../outside.png", str(outside), "plan.json")})
    write_report(store, tmp_path / "report")
    assert list((tmp_path / "report" / "evidence" / "samples").iterdir()) == []


@pytest.mark.usefixtures("blank_figures")
def test_samples_are_those_of_the_lowest_seed_at_the_largest_level(report):
    store, _, folder = report
    chosen = {p.name.split("_")[0] for p in (folder / "evidence" / "samples").iterdir()}
    cells = {cell.cell_id: cell for cell in store.plan().cells}
    assert [(cells[i].model_seed, cells[i].levels["data.num_labels"]) for i in chosen] == [(0, 200)]


@pytest.mark.usefixtures("blank_figures")
def test_broken_evidence_is_refused_in_one_line(report, tmp_path):
    _, _, folder = report
    (folder / "evidence" / "runs.csv").write_text("arm\n")
    with pytest.raises(ConfigError, match="no column 'split_seed'"):
        render(folder / "evidence", tmp_path / "new")
    with pytest.raises(ConfigError, match="not the evidence folder"):
        render(tmp_path / "nowhere", tmp_path / "new")


@pytest.mark.usefixtures("blank_figures")
def test_command_prints_the_answer_and_writes_where_it_says(make_store, tmp_path, capsys):
    make_store(make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1)))
    assert main(["label_budget", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    index = tmp_path / "reports" / "label_budget" / "quick" / "index.html"
    assert out.rstrip().endswith(str(index))
    assert index.is_file()
    evidence = index.parent / "evidence"
    assert main(["--from-evidence", str(evidence), "--to", str(tmp_path / "copy")]) == 0
    assert tree(tmp_path / "copy") == tree(index.parent)


@pytest.mark.parametrize("arguments", [["other"], ["label_budget", "--preset", "full"], ["../label_budget"]])
def test_command_lists_what_is_there_in_one_line(arguments, make_store, tmp_path, capsys):
    make_store(make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0,)))
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "label_budget (quick)" in error


def test_reporting_imports_neither_torch_nor_optuna():
    code = "import sys, ssgan_bench.reporting; print(sorted({'torch', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_needs_none_of_the_heavy_libraries():
    code = (
        "import sys; from ssgan_bench.report import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pandas', 'matplotlib', 'seaborn', 'scipy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_reports_written_at_the_same_moment_leave_one_whole_report(make_store, tmp_path, monkeypatch):
    def fill(folder, evidence, figures):
        (folder / "index.html").write_text("whole")
        return "answer", "table", ()

    monkeypatch.setattr("ssgan_bench.reporting.page._fill", fill)
    store, target = make_store(make_plan()), tmp_path / "reports" / "quick"
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: write_report(store, target), range(40)))
    assert all(result.index.read_text() == "whole" for result in results)
    assert [path.name for path in target.parent.iterdir() if path.is_dir()] == ["quick"]
