"""Whether a report folder, or the overview of several, is what this code makes of the evidence.

Pictures are left out unless asked for: their bytes depend on the versions of Matplotlib and FreeType, and drawing takes
most of the time. What they show is in the CSV files, which are compared. That the page shows the pictures of its folder
is checked all the same.
"""

import math
import re
import tempfile
from pathlib import Path

from ssgan_bench.config import ConfigError
from ssgan_bench.reporting.html import smaller_picture
from ssgan_bench.reporting.overview import make_overview, report_folders
from ssgan_bench.reporting.page import render

PICTURES = re.compile(r'(?<=<img class="drawing" src=")[^"]*')
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def check(folder: Path, *, figures: bool = False) -> dict[Path, list[str]]:
    """Check a report, or the overview of a folder of reports and each of them.

    Args:
        folder: the report, or the folder that holds STUDY/PRESET/.
        figures: whether to draw the figures too and compare their bytes.

    Returns:
        By folder what `check_report` finds, and for an overview whether it differs.

    Raises:
        ConfigError: the folder is neither.
    """
    reports = report_folders(folder)
    if not reports:
        return {folder: check_report(folder, figures=figures)}
    index = folder / "index.html"
    differs = [f"{index.name} (absent)"]
    if index.is_file():
        differs = [] if make_overview(folder).page == index.read_bytes() else [f"{index.name} (other content)"]
    return {folder: differs} | {report: check_report(report, figures=figures) for report in reports}


def check_report(folder: Path, *, figures: bool = False) -> list[str]:
    """Render the evidence of a report anew and compare every file.

    Args:
        folder: the report.
        figures: whether to draw the figures too and compare their bytes.

    Returns:
        Paths that differ, relative to the folder, with the reason.

    Raises:
        ConfigError: the folder is no report.
    """
    if not (folder / "evidence" / "study.json").is_file():
        raise ConfigError(f"{folder}: no report with evidence/ in it; name a report folder")
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "report"
        render(folder / "evidence", made, figures=figures)
        here, there = _files(folder), _files(made)
        found = [f"{path} (not made by this code)" for path in sorted(here - there)]
        found += [f"{path} (absent)" for path in sorted(there - here)]
        for path in sorted(here & there):
            if not figures and path.startswith("figures/"):
                continue
            if not _equal(folder / path, made / path, figures):
                found.append(f"{path} (other content)")
    page = folder / "index.html"
    if page.is_file() and set(PICTURES.findall(page.read_text(encoding="utf-8"))) != _pictures(folder):
        found.append("index.html (its pictures are not those in figures/)")
    return found


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _pictures(folder: Path) -> set[str]:
    svgs = sorted((folder / "figures").glob("*.svg"))
    return {smaller_picture(svg.read_bytes(), svg.with_suffix(".png").read_bytes()) for svg in svgs}


def _equal(ours: Path, theirs: Path, figures: bool) -> bool:
    if ours.read_bytes() == theirs.read_bytes():
        return True
    if ours.suffix not in (".html", ".csv") or ours.parent.name == "evidence":
        return False
    a, b = (path.read_text(encoding="utf-8") for path in (ours, theirs))
    if ours.suffix == ".html":
        return not figures and PICTURES.sub("", a) == PICTURES.sub("", b)
    # The last digits of a float are those of the machine's mathematical library.
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    pairs = zip(NUMBER.findall(a), NUMBER.findall(b), strict=True)
    return all(x == y or math.isclose(float(x), float(y), rel_tol=1e-9, abs_tol=1e-12) for x, y in pairs)
