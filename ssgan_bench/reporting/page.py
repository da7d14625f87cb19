"""Writes a report folder: index.html, report.md, tables/, figures/, evidence/.

A report is built in a sibling folder and moved into place when it is whole: a crash leaves the old one.
Equal evidence gives equal bytes.
"""

import base64
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2
from filelock import FileLock

from ssgan_bench.config import ConfigError, digest
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.drawing import to_bytes
from ssgan_bench.reporting.evidence import Evidence, read_evidence, write_evidence
from ssgan_bench.reporting.markdown import to_markdown
from ssgan_bench.reporting.scratch import scratch_folder
from ssgan_bench.reporting.search_evidence import SEARCH_FILES, write_search
from ssgan_bench.reporting.sections import build
from ssgan_bench.reporting.tables import main_table, plain


@dataclass(frozen=True)
class ReportResult:
    """A written report."""

    index: Path
    """The page."""
    answer: str
    """A few short paragraphs, the first of which can stand alone."""
    main_table: str
    """Plain text for a terminal."""


def write_report(store: RecordStore, report_dir: Path) -> ReportResult:
    """Write the report of a run folder, replacing an older report there.

    Raises:
        ConfigError: no plan, records of another protocol, or `report_dir` holds something that is no report.
    """

    def write(folder: Path) -> None:
        write_evidence(store, folder)
        write_search(SearchStore(store.folder / "search"), folder)

    return _replace(report_dir, write)


def render(evidence_dir: Path, report_dir: Path) -> ReportResult:
    """Write a report from an evidence folder alone; it may be the one inside `report_dir`.

    Raises:
        ConfigError: `evidence_dir` is no evidence folder, or `report_dir` holds something that is no report.
    """
    evidence = read_evidence(evidence_dir)

    def copy(folder: Path) -> None:
        for name in ("study.json", "runs.csv", "curves.csv"):
            shutil.copyfile(evidence_dir / name, folder / name)
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

    return _replace(report_dir, copy)


def _replace(report_dir: Path, fill_evidence: Callable[[Path], None]) -> ReportResult:
    # Two commands that share a study's work finish at the same moment and write the same report: whoever looks at the
    # folder or moves it holds the lock, since between the two moves below there is no report.
    lock = FileLock(Path(tempfile.gettempdir()) / f"ssgan-bench-report-{digest(str(report_dir.resolve()))[:16]}.lock")
    with lock:
        _refuse_other_content(report_dir)
    report_dir.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(report_dir) as temporary:
        new = temporary / "new"
        (new / "evidence").mkdir(parents=True)
        fill_evidence(new / "evidence")
        answer, table = _fill(new, read_evidence(new / "evidence"))
        old = temporary / "old"
        with lock:
            _refuse_other_content(report_dir)
            if report_dir.exists():
                report_dir.rename(old)
            try:
                new.rename(report_dir)
            except OSError:
                if old.exists():
                    old.rename(report_dir)
                raise
    return ReportResult(report_dir / "index.html", answer, table)


def _refuse_other_content(report_dir: Path) -> None:
    if report_dir.exists() and not (report_dir / "index.html").is_file() and any(report_dir.iterdir()):
        raise ConfigError(f"{report_dir}: exists and is not a report; name an empty or a new folder")


def _fill(folder: Path, evidence: Evidence) -> tuple[str, str]:
    analysis = analyze(evidence)
    document, parts = build(analysis)
    (folder / "tables").mkdir()
    (folder / "figures").mkdir()
    for path, text in parts.csv.items():
        (folder / path).write_bytes(text.encode())
    for name, drawing in parts.drawings.items():
        svg, png = to_bytes(drawing)
        (folder / "figures" / f"{name}.svg").write_bytes(svg)
        (folder / "figures" / f"{name}.png").write_bytes(png)

    def embed(path: str) -> str:
        kind = "image/svg+xml" if path.endswith(".svg") else "image/png"
        return f"data:{kind};base64,{base64.b64encode((folder / path).read_bytes()).decode()}"

    # autoescape for every template: labels, questions and error messages are anyone's text.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssgan_bench.reporting", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(document=document, embed=embed, style=style)
    (folder / "index.html").write_bytes(page.encode())
    (folder / "report.md").write_bytes(to_markdown(document).encode())
    return "\n\n".join(document.answer), plain(main_table(analysis))
