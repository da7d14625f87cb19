"""`report --all` over all reports, and `report check` of committed ones."""

import html
import re
import shutil
from pathlib import Path

import pytest
from synthetic import ARMS, make_plan, make_record

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.records.store import RecordStore
from ssgan_bench.report import main
from ssgan_bench.reporting import render, write_report
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.check import check_report
from ssgan_bench.reporting.document import Figures
from ssgan_bench.reporting.evidence import read_evidence
from ssgan_bench.reporting.overview import make_overview
from ssgan_bench.reporting.sections import build

TWO = ARMS[:1] + ARMS[3:]
BUDGETS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 200))
REFERENCE = Path(__file__).parents[2] / "reports" / "reference"
COMMITTED = sorted(path.parent.parent for path in REFERENCE.glob("*/*/evidence/study.json"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the reports of two studies, figures blank; written once."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg id='main'/>", bytes(100)))
        for name in ("first", "second"):
            plan = make_plan(arms=TWO, factors=(BUDGETS,), study=name, question=f"Is {name} <b>best</b>?")
            store = RecordStore(folder / "runs" / name)
            store.write_plan(plan)
            for cell in plan.cells:
                store.write_record(make_record(plan, cell, curves=()))
            write_report(store, folder / "reports" / name / "quick")
    return folder / "reports"


@pytest.fixture
def reports(written, tmp_path):
    """A copy of the reports for one test."""
    return shutil.copytree(written, tmp_path / "reports")


def test_overview_shows_question_answer_and_main_figure_of_every_report_and_links_to_it(reports, tmp_path, capsys):
    assert main(["--all", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(str(reports / "index.html"))
    page = (reports / "index.html").read_text()
    for name in ("first", "second"):
        assert f"Is {name} &lt;b&gt;best&lt;/b&gt;?" in page
        answer = (reports / name / "quick" / "index.html").read_text()
        lead = re.search(r'<p class="lead">(.*?)</p>', answer)[1]
        assert f'<p class="lead">{lead}</p>' in page
    assert page.count("32 of 32 runs complete; 8 seeds; protocol 1.0") == 2
    assert re.findall(r'<img class="drawing" src="(.{20})', page) == ["data:image/svg+xml,%"] * 2
    links = [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith("data:")]
    anchors = set(re.findall(r' id="([^"]*)"', page))
    assert any(link == "second/quick/index.html" for link in links)
    for link in links:
        assert link[1:] in anchors if link.startswith("#") else (reports / link).is_file(), link


def test_broken_report_is_named_on_the_overview_and_hides_no_other(reports, capsys):
    (reports / "first" / "quick" / "evidence" / "runs.csv").write_text("arm\n")
    assert main(["--all", "--reports", str(reports)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    page = html.unescape((reports / "index.html").read_text())
    assert "Is second <b>best</b>?" in page
    assert "runs.csv: no column 'split_seed'" in page


@pytest.mark.parametrize(("inside", "message"), [("nowhere", "no report there"), ("first/quick", "is itself a report")])
def test_folder_without_reports_is_refused_in_one_line(inside, message, reports, capsys):
    before = (reports / "first/quick/index.html").read_bytes()
    assert main(["--all", "--reports", str(reports / inside)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert (reports / "first/quick/index.html").read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["name", "--all"],
        ["--to", "x"],
        ["name", "--reports", "x"],
        ["--unknown"],
        ["compare", "one"],
        ["check"],
    ],
)
def test_wrong_arguments_are_told_in_one_line_with_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("folder", COMMITTED, ids=[f"{path.parent.name}-{path.name}" for path in COMMITTED])
def test_committed_report_is_what_this_code_makes_of_its_evidence(folder):
    assert check_report(folder) == [], f"python -m ssgan_bench.report --from-evidence {folder}/evidence --to {folder}"


def test_committed_overview_is_what_this_code_makes_of_the_reports():
    assert make_overview(REFERENCE).page == (REFERENCE / "index.html").read_bytes(), (
        f"python -m ssgan_bench.report --all --reports {REFERENCE}"
    )


@pytest.mark.parametrize("folder", COMMITTED, ids=[f"{path.parent.name}-{path.name}" for path in COMMITTED])
def test_caption_of_every_figure_says_n_and_what_its_intervals_are(folder):
    document, _ = build(analyze(read_evidence(folder / "evidence")))
    captions = [block.caption for s in document.sections for block in s.blocks if isinstance(block, Figures)]
    assert captions
    for caption in captions:
        assert re.search(r"\bn = \d", caption), caption
        assert "interval" in caption or "no result" in caption, caption


def test_there_are_committed_reports():
    assert COMMITTED


def test_check_reports_what_was_edited_added_and_removed(reports, capsys):
    folder = reports / "first" / "quick"
    assert main(["check", str(folder)]) == 0
    page = folder / "index.html"
    page.write_text(page.read_text().replace("Labels only", "Best arm", 1))
    (folder / "notes.txt").write_text("x")
    (folder / "tables" / "main.tex").unlink()
    main_csv = folder / "tables" / "main.csv"
    main_csv.write_text(re.sub(r"0\.\d+", "0.01", main_csv.read_text(), count=1))
    assert main(["check", str(folder), str(reports / "second" / "quick")]) == 1
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert second.endswith("as this code makes it")
    assert first.endswith(
        "notes.txt (not made by this code); tables/main.tex (absent); index.html (other content); "
        "tables/main.csv (other content)"
    )


def test_check_lets_pass_the_last_digits_of_a_float_and_no_more(reports):
    folder = reports / "first" / "quick"
    table = folder / "tables" / "main.csv"
    number = re.search(r"0\.\d{12,}", table.read_text())[0]
    original = table.read_text()
    table.write_text(original.replace(number, repr(float(number) * (1 + 2**-50)), 1))
    assert table.read_text() != original
    assert check_report(folder) == []
    table.write_text(original.replace(number, repr(float(number) * (1 + 1e-6)), 1))
    assert check_report(folder) == ["tables/main.csv (other content)"]


def test_check_finds_a_page_that_shows_other_pictures_than_its_folder_holds(reports):
    folder = reports / "first" / "quick"
    (folder / "figures" / "main.svg").write_text("<svg id='other'/>")
    assert check_report(folder) == ["index.html (its pictures are not those in figures/)"]


def test_check_of_a_folder_of_reports_checks_the_overview_and_every_report(reports, capsys):
    assert main(["--all", "--reports", str(reports)]) == 0
    assert main(["check", str(reports)]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines == [f"{path}: as this code makes it" for path in (reports, *sorted(reports.glob("*/quick")))]
    (reports / "index.html").write_text("old")
    (reports / "second" / "quick" / "tables" / "main.tex").unlink()
    assert main(["check", str(reports)]) == 1
    overview, first, second = capsys.readouterr().out.splitlines()
    assert overview == f"{reports}: index.html (other content)"
    assert first.endswith("as this code makes it")
    assert second.endswith("tables/main.tex (absent)")
    (reports / "index.html").unlink()
    assert main(["check", str(reports)]) == 1
    assert capsys.readouterr().out.splitlines()[0] == f"{reports}: index.html (absent)"


def test_check_without_figures_and_overview_draw_nothing(reports, monkeypatch):
    def drawn(*arguments):
        raise AssertionError("a figure was drawn")

    for name in ("draw_main", "draw_forest", "draw_dots", "draw_curves"):
        monkeypatch.setattr(f"ssgan_bench.reporting.figures.{name}", drawn)
    assert check_report(reports / "first" / "quick") == []
    assert main(["--all", "--reports", str(reports)]) == 0
    with pytest.raises(AssertionError, match="a figure was drawn"):
        check_report(reports / "first" / "quick", figures=True)


def test_overview_of_a_crossed_design_counts_splits(make_store, tmp_path, monkeypatch):
    monkeypatch.setattr("ssgan_bench.reporting.page.to_bytes", lambda figure: (b"<svg/>", bytes(100)))
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1, 2), model_seeds=(50, 51))
    write_report(make_store(plan, lambda cell: {"curves": ()}), tmp_path / "reports" / "crossed" / "quick")
    assert main(["--all", "--reports", str(tmp_path / "reports")]) == 0
    page = (tmp_path / "reports" / "index.html").read_text()
    assert "24 of 24 runs complete; 3 splits with 2 model seeds each; protocol 1.0" in page


def test_check_draws_and_compares_the_figures_where_asked(make_store, tmp_path):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))
    write_report(make_store(plan, lambda cell: {"curves": ()}), tmp_path / "report")
    assert check_report(tmp_path / "report", figures=True) == []
    png = tmp_path / "report" / "figures" / "main.png"
    png.write_bytes(png.read_bytes() + b"x")
    assert check_report(tmp_path / "report", figures=True) == ["figures/main.png (other content)"]
    assert check_report(tmp_path / "report") == []


def test_check_refuses_a_folder_without_evidence_in_one_line(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no report with evidence/ in it" in error


def test_evidence_that_lacks_a_run_is_refused_and_not_read_as_fewer_runs(reports, tmp_path, capsys):
    runs = reports / "first" / "quick" / "evidence" / "runs.csv"
    runs.write_text("\n".join(runs.read_text().splitlines()[:-1]) + "\n")
    assert main(["--from-evidence", str(runs.parent), "--to", str(tmp_path / "new")]) == 2
    assert "not one row per cell of study.json" in capsys.readouterr().err


def test_rendering_without_figures_leaves_their_files_empty_and_all_else_as_it_is(reports, tmp_path):
    folder = reports / "first" / "quick"
    shutil.copytree(folder, tmp_path / "before")
    render(folder / "evidence", folder, figures=False)
    assert (folder / "figures" / "main.svg").read_bytes() == b""
    for path in sorted((tmp_path / "before").rglob("*.csv")):
        assert (folder / path.relative_to(tmp_path / "before")).read_bytes() == path.read_bytes()
