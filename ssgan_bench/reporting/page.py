"""Writes a report folder: index.html, report.md, tables/, figures/, evidence/.

A report is built in a sibling folder and moved into place when it is whole: a crash leaves the old one.
Equal evidence gives equal bytes.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from matplotlib.figure import Figure

from ssgan_bench.config import ConfigError, digest
from ssgan_bench.records.looks import NAME as LOOKS
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.reporting import signs
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.document import Document
from ssgan_bench.reporting.drawing import to_bytes
from ssgan_bench.reporting.evidence import Evidence, read_evidence, write_evidence
from ssgan_bench.reporting.html import data_uri, smaller_picture, to_html
from ssgan_bench.reporting.latex import label_of, latex_tables, to_latex
from ssgan_bench.reporting.markdown import to_markdown
from ssgan_bench.reporting.scratch import scratch_folder
from ssgan_bench.reporting.search_evidence import SEARCH_FILES, write_search
from ssgan_bench.reporting.sections import build
from ssgan_bench.reporting.tables import main_table, plain

T = TypeVar("T")


@dataclass(frozen=True)
class ReportResult:
    """A written report."""

    index: Path
    """The page."""
    answer: str
    """A few short paragraphs, the first of which can stand alone."""
    main_table: str
    """Plain text for a terminal."""
    signs: tuple[str, ...]
    """A line for each sign that runs are not what their arm can do."""

    @property
    def in_a_terminal(self) -> list[str]:
        """The answer, the main table and the signs, if there are any, each a paragraph."""
        return [part for part in (self.answer, self.main_table, "\n".join(self.signs)) if part]


def write_report(store: RecordStore, report_dir: Path) -> ReportResult:
    """Write the report of a run folder, replacing an older report there.

    Raises:
        ConfigError: no plan, records of another protocol, or `report_dir` holds something that is no report.
    """

    def write(folder: Path) -> None:
        write_evidence(store, folder)
        write_search(SearchStore(store.folder / "search"), folder)

    return _report(report_dir, write)


def render(evidence_dir: Path, report_dir: Path, *, figures: bool = True) -> ReportResult:
    """Write a report from an evidence folder alone; it may be the one inside `report_dir`.

    Args:
        evidence_dir: what to render.
        report_dir: where to.
        figures: whether to draw the figures, most of the time; else their files are empty.

    Raises:
        ConfigError: `evidence_dir` is no evidence folder, or `report_dir` holds something that is no report.
    """
    evidence = read_evidence(evidence_dir)

    def copy(folder: Path) -> None:
        for name in ("study.json", "runs.csv", "curves.csv"):
            shutil.copyfile(evidence_dir / name, folder / name)
        if evidence.looks:
            shutil.copyfile(evidence_dir / LOOKS, folder / LOOKS)
        if len(evidence.sample_quality):
            shutil.copyfile(evidence_dir / "sample_quality.csv", folder / "sample_quality.csv")
        for name in SEARCH_FILES:
            if (evidence_dir / name).is_file():
                shutil.copyfile(evidence_dir / name, folder / name)
        (folder / "samples").mkdir()
        for name in sorted({name for names in evidence.study.samples.values() for name in names}):
            # The bare name: a path in an edited study.json must not reach outside the folder.
            source = evidence_dir / "samples" / Path(name).name
            if source.is_file():
                shutil.copyfile(source, folder / "samples" / source.name)

    return _report(report_dir, copy, figures)


def _report(report_dir: Path, fill_evidence: Callable[[Path], None], figures: bool = True) -> ReportResult:
    def fill(new: Path) -> tuple[str, str, tuple[str, ...]]:
        (new / "evidence").mkdir()
        fill_evidence(new / "evidence")
        return _fill(new, read_evidence(new / "evidence"), figures)

    answer, table, found = replace_folder(report_dir, fill, has_evidence=True)
    return ReportResult(report_dir / "index.html", answer, table, found)


def replace_folder(report_dir: Path, fill: Callable[[Path], T], *, has_evidence: bool = False) -> T:
    """Let `fill` write an empty folder and put that in the place of `report_dir`, whole or not at all.

    Returns:
        What `fill` returned.

    Raises:
        ConfigError: `report_dir` holds something that is no report.
    """
    # Two commands that share a study's work finish at the same moment and write the same report: whoever looks at the
    # folder or moves it holds the lock, since between the two moves below there is no report.
    lock = FileLock(Path(tempfile.gettempdir()) / f"ssgan-bench-report-{digest(str(report_dir.resolve()))[:16]}.lock")
    with lock:
        _refuse_other_content(report_dir, has_evidence)
    report_dir.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(report_dir) as temporary:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        result = fill(new)
        with lock:
            _refuse_other_content(report_dir, has_evidence)
            if report_dir.exists():
                report_dir.rename(old)
            try:
                new.rename(report_dir)
            except OSError:
                if old.exists():
                    old.rename(report_dir)
                raise
    return result


def _refuse_other_content(report_dir: Path, has_evidence: bool) -> None:
    """Replace nothing but a report of the same kind: not the folder of all reports, which has a page as well."""
    parts = {"index.html", "report.md", "tables", "figures"} | ({"evidence"} if has_evidence else set())
    if not report_dir.exists():
        return
    found = {path.name for path in report_dir.iterdir() if path.is_dir() or not path.name.startswith(".")}
    if found - parts or (found and "index.html" not in found):
        raise ConfigError(f"{report_dir}: exists and is not a report of this kind; name an empty or a new folder")


def _fill(folder: Path, evidence: Evidence, figures: bool) -> tuple[str, str, tuple[str, ...]]:
    analysis = analyze(evidence)
    document, parts = build(analysis)
    write_document(folder, document, parts.csv, parts.drawings, figures=figures)
    return "\n\n".join(document.answer), plain(main_table(analysis)), tuple(signs.lines(analysis))


def write_document(
    folder: Path,
    document: Document,
    csv: Mapping[str, str],
    drawings: Mapping[str, Callable[[], Figure]],
    *,
    figures: bool = True,
) -> None:
    """Write a document as index.html, report.md, tables/ and figures/; its samples are there already.

    Args:
        folder: new; without tables/ and figures/.
        document: what to write.
        csv: text of its CSV files by path, e.g. "tables/main.csv".
        drawings: what draws its figures, by name.
        figures: whether to draw them, most of the time; else their files are empty.
    """
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    for path, text in csv.items():
        (folder / path).write_bytes(text.encode())
    for name, drawing in drawings.items():
        svg, png = to_bytes(drawing()) if figures else (b"", b"")
        (folder / "figures" / f"{name}.svg").write_bytes(svg)
        (folder / "figures" / f"{name}.png").write_bytes(png)

    def draw(name: str) -> str:
        svg, png = (folder / "figures" / f"{name}.{kind}" for kind in ("svg", "png"))
        return smaller_picture(svg.read_bytes(), png.read_bytes())

    def embed(path: str) -> str:
        return data_uri((folder / path).read_bytes(), "png")

    latex = latex_tables(document)
    source = f"{document.title}. {document.subtitle}"
    for path, table in latex.items():
        (folder / path).write_bytes(to_latex(table, label_of(path, document.title), source).encode())
    paths = {id(table): path for path, table in latex.items()}
    page = to_html(
        "page.html.j2", document=document, draw=draw, embed=embed, tex_path=lambda table: paths.get(id(table))
    )
    (folder / "index.html").write_bytes(page.encode())
    (folder / "report.md").write_bytes(to_markdown(document).encode())
