"""One page over all reports of a folder: each study's question, its answer and its main figure."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ssgan_bench.config import ConfigError
from ssgan_bench.records.store import write_atomically
from ssgan_bench.reporting.analysis import Analysis, analyze
from ssgan_bench.reporting.certainty import seeds_text
from ssgan_bench.reporting.document import Document, Figures
from ssgan_bench.reporting.evidence import read_evidence
from ssgan_bench.reporting.html import smaller_picture, to_html
from ssgan_bench.reporting.looks import suite_error
from ssgan_bench.reporting.sections import build
from ssgan_bench.reporting.wording import counted


@dataclass(frozen=True)
class Entry:
    """One report on the page. All text is plain and unescaped; `picture` is the value of `src`."""

    anchor: str
    title: str
    href: str
    question: str
    answer: str
    """The answer's first paragraph, which can stand alone."""
    facts: str
    picture: str
    """Empty for a report without a figure."""
    alt: str
    caption: str
    csv: str


@dataclass(frozen=True)
class Overview:
    """The overview of a folder of reports."""

    index: Path
    """Where it belongs."""
    page: bytes
    entries: list[Entry]
    broken: list[str]
    """Why a report is not on the page, one line each."""


def report_folders(reports: Path) -> list[Path]:
    """List the reports in `reports/STUDY/PRESET/`."""
    return sorted(path.parent.parent for path in reports.glob("*/*/evidence/study.json"))


def write_overview(reports: Path) -> Overview:
    """Write `index.html` over the reports in `reports/STUDY/PRESET/`; raises as `make_overview`."""
    overview = make_overview(reports)
    write_atomically(overview.index, overview.page)
    return overview


def make_overview(reports: Path) -> Overview:
    """Make the page over the reports in `reports/STUDY/PRESET/` from their evidence and figures.

    Raises:
        ConfigError: there is no report, or `reports` is itself one.
    """
    if (reports / "evidence").exists():
        raise ConfigError(f"{reports}: is itself a report; name the folder that holds STUDY/PRESET/")
    folders = report_folders(reports)
    if not folders:
        raise ConfigError(f"{reports}: no report there (STUDY/PRESET/index.html); run a study or name another folder")
    entries, analyses, broken = [], [], []
    for folder in folders:
        try:
            analysis = analyze(read_evidence(folder / "evidence"))
            entries.append(_entry(analysis, folder, folder.relative_to(reports)))
            analyses.append(analysis)
        except (ConfigError, OSError) as error:  # one broken report must not hide the others
            broken.append(str(error))
    studies = len({folder.parent.name for folder in folders})
    summary = f"{counted(len(folders), 'report')} of {studies} {'study' if studies == 1 else 'studies'}."
    summary = " ".join(filter(None, (summary, suite_error(analyses))))
    page = to_html("overview.html.j2", entries=entries, broken=broken, summary=summary)
    return Overview(reports / "index.html", page.encode(), entries, broken)


def _entry(analysis: Analysis, folder: Path, relative: Path) -> Entry:
    document, _ = build(analysis)
    study = analysis.evidence.study
    href = "/".join(quote(part) for part in relative.parts)
    figure = _main_figure(document)
    picture = alt = caption = csv = ""
    if figure is not None:
        panel = figure.panels[0]
        svg, png = (folder / "figures" / f"{panel.name}.{kind}" for kind in ("svg", "png"))
        picture = smaller_picture(svg.read_bytes(), png.read_bytes())
        alt, csv = panel.alt, f"{href}/{figure.csv}"
        more = len(figure.panels) - 1
        caption = f"{figure.caption} {counted(more, 'further panel')} in the report." if more else figure.caption
    return Entry(
        anchor=re.sub(r"[^A-Za-z0-9_-]", "-", "-".join(relative.parts)),
        title=f"{study.study}, {study.preset}",
        href=f"{href}/index.html",
        question=study.question,
        answer=document.answer[0],
        facts=_facts(analysis),
        picture=picture,
        alt=alt,
        caption=caption,
        csv=csv,
    )


def _main_figure(document: Document) -> Figures | None:
    """Find the first figure of a report: the one that shows its results."""
    blocks = (block for section in document.sections for block in section.blocks)
    return next((block for block in blocks if isinstance(block, Figures)), None)


def _facts(analysis: Analysis) -> str:
    """Say what the answer rests on, e.g. "digits; 128 of 128 runs complete; 8 seeds; protocol 1.0"."""
    study, statuses = analysis.evidence.study, analysis.statuses
    datasets = {str(config.get("data.dataset", "")) for config in study.arm_configs.values()} - {""}
    parts = [
        *sorted(datasets),
        f"{statuses.get('complete', 0)} of {counted(sum(statuses.values()), 'run')} complete",
        seeds_text(analysis),
        f"protocol {study.protocol_version}",
    ]
    return "; ".join(parts)
