"""Command line: `python -m ssgan_bench.report NAME` writes the report of a study from its records; see EPILOG."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ssgan_bench.command_line import Parser, exit_code
from ssgan_bench.config import ConfigError

EPILOG = """\
further commands:
  python -m ssgan_bench.report compare A B [--to DIR]   did B reproduce A? runs paired by arm, levels and seeds
  python -m ssgan_bench.report check DIR ...            is each report what this code makes of its evidence?
  python -m ssgan_bench.report benchmarks [JSON ...]    report of `pytest --benchmark-only --benchmark-json=JSON`

examples:
  python -m ssgan_bench.report labeled_rate --preset standard
  python -m ssgan_bench.report --all
  python -m ssgan_bench.report --all --reports reports/reference
  python -m ssgan_bench.report compare reports/reference/labeled_rate/quick reports/labeled_rate/quick --to mine

`compare`, `check` and `benchmarks` as first word are these commands; for a study of such a name write `-- compare`.
exit codes: 0 done, 1 a report differs or cannot be read (check, --all), 2 wrong input.
"""
COMPARE_EPILOG = """\
A and B are each a report folder, its evidence folder, or the run folder (runs/STUDY/PRESET) of the same study, preset
and protocol. A is the reference: differences are B minus A. The first line of the answer is one of
  Identical                      every paired run has the same metrics, bit for bit
  Agrees within sampling error   not identical, and no paired difference of an arm is shown after Holm
  Undecided                      not identical, and too few seeds to show any difference
  Differs                        for the arms named
exit code: 0 whatever the answer is, 2 where the two cannot be paired.
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssgan_bench.report",
        description="Write the report of a study from the records of its runs; nothing is trained.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="study, as in studies/NAME.toml")
    parser.add_argument("--preset", default="quick", help="preset that was run (default: quick)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder that holds runs/ and reports/ (default: .)")
    parser.add_argument("--all", action="store_true", help="write one page over all reports: index.html among them")
    parser.add_argument("--reports", type=Path, metavar="DIR", help="with --all: where the reports are (OUT/reports)")
    parser.add_argument(
        "--from-evidence",
        type=Path,
        metavar="DIR",
        help="render an evidence folder instead of a study's records",
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="report folder to write, with --from-evidence")
    return parser


def _compare_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssgan_bench.report compare",
        description="Pair the runs of two folders and say whether B reproduced A.",
        epilog=COMPARE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=Path, metavar="A", help="the reference: report, evidence or run folder")
    parser.add_argument("second", type=Path, metavar="B", help="what is held against it")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write the comparison as a page, Markdown and CSV")
    return parser


def _check_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssgan_bench.report check",
        description="Render the evidence of reports again and name the files that come out otherwise (exit code 1).",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="report, or folder of reports")
    parser.add_argument(
        "--figures",
        action="store_true",
        help="draw the figures too and compare their bytes, which need the same versions of Matplotlib and FreeType",
    )
    return parser


def _benchmarks_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssgan_bench.report benchmarks",
        description="Write the report of benchmarks that pytest-benchmark saved; several files must be of one device. "
        "The figures show the last one.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        default=[Path("benchmark.json")],
        metavar="JSON",
        help="result of `pytest --benchmark-only --benchmark-json=JSON` (default: benchmark.json)",
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder to write (default: reports/benchmarks/DEVICE, named after it)"
    )
    return parser


def _available(runs: Path) -> dict[str, list[str]]:
    """Presets of every study that has been run, by study name."""
    found: dict[str, list[str]] = {}
    for plan in sorted(runs.glob("*/*/plan.json")):
        found.setdefault(plan.parent.parent.name, []).append(plan.parent.name)
    return found


def _run_folder(out: Path, name: str, preset: str) -> Path:
    runs = out / "runs"
    available = _available(runs)
    if preset in available.get(name, []):
        return runs / name / preset
    listing = "; ".join(f"{study} ({', '.join(presets)})" for study, presets in available.items())
    there = f"there are: {listing}" if listing else "there are none yet; run a study first"
    raise ConfigError(f"no runs of study {name!r} with preset {preset!r} in {runs}; {there}")


# The reporting package is imported inside the commands, so that --help and a wrong name answer at once: pandas,
# Matplotlib and SciPy take a second or two.


def _report(arguments: Sequence[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.name is not None) + (options.from_evidence is not None) + options.all != 1:
        parser.error("give one of a study's NAME, --from-evidence DIR and --all")
    if (options.to is None) != (options.from_evidence is None):
        parser.error("--from-evidence DIR and --to DIR go together")
    if options.reports is not None and not options.all:
        parser.error("--reports DIR goes with --all")
    if options.all:
        return _overview(options.reports or options.out / "reports")
    folder = None if options.name is None else _run_folder(options.out, options.name, options.preset)
    from ssgan_bench.records.store import RecordStore
    from ssgan_bench.reporting import render, write_report

    if folder is None:
        result = render(options.from_evidence, options.to)
    else:
        store = RecordStore(folder)
        for line in store.damaged().values():
            print(line)
        result = write_report(store, options.out / "reports" / options.name / options.preset)
    print(*(f"{part}\n\n" for part in result.in_a_terminal), result.index, sep="")
    return 0


def _overview(reports: Path) -> int:
    from ssgan_bench.reporting.overview import write_overview

    result = write_overview(reports)
    for entry in result.entries:
        print(f"{entry.title}: {entry.answer}\n")
    print(result.index)
    for message in result.broken:
        print(f"error: {message}", file=sys.stderr)
    return 1 if result.broken else 0


def _compare(arguments: Sequence[str]) -> int:
    options = _compare_parser().parse_args(arguments)
    from ssgan_bench.reporting.compare_page import write_comparison

    answer, table, index = write_comparison(options.first, options.second, options.to)
    print(f"{answer}\n\n{table}" + (f"\n\n{index}" if index else ""))
    return 0


def _check(arguments: Sequence[str]) -> int:
    options = _check_parser().parse_args(arguments)
    from ssgan_bench.reporting.check import check

    differing = {path: found for f in options.folders for path, found in check(f, figures=options.figures).items()}
    for folder, files in differing.items():
        print(f"{folder}: {'; '.join(files) if files else 'as this code makes it'}")
    return 1 if any(differing.values()) else 0


def _benchmarks(arguments: Sequence[str]) -> int:
    options = _benchmarks_parser().parse_args(arguments)
    from ssgan_bench.reporting.benchmarks import write_benchmarks

    answer, table, index = write_benchmarks(options.files, options.to)
    print(f"{answer}\n\n{table}\n\n{index}")
    return 0


COMMANDS = {"compare": _compare, "check": _check, "benchmarks": _benchmarks}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, as told in EPILOG."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(words[0]) if words else None
    return exit_code(lambda: command(words[1:]) if command else _report(words), os_error=2)


if __name__ == "__main__":
    sys.exit(main())
