"""The command line `python -m ssgan_bench.evidence`."""

import argparse
import sys
import tempfile
from pathlib import Path

from ssgan_bench.command_line import Parser, exit_code
from ssgan_bench.config import ConfigError
from ssgan_bench.evidence.pieces import SMOKE_STUDIES, pieces
from ssgan_bench.evidence.site import ROOT, Site
from ssgan_bench.evidence.slices import missing_table, run_slice

SMOKE_SLICES = 3
SMOKE_MINUTES = 2.5

EPILOG = """\
Call it again until nothing is missing; every call stops by itself after --minutes and the next one continues.
Without a GPU it says what is missing and does nothing else.
exit codes: 0 the slice is over, 1 a piece failed (or, with --smoke, is missing), 2 wrong input, 130 interrupted.
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssgan_bench.evidence",
        description="Run the GPU tests, the step benchmarks and the reference studies at full size, in slices.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets (else $SSGAN_BENCH_DATA, else cache)")
    parser.add_argument("--out", type=Path, default=ROOT, metavar="DIR", help="holds runs/ and reports/ (the checkout)")
    parser.add_argument("--minutes", type=float, default=9.0, metavar="M", help="length of a slice (default: 9)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--smoke", action="store_true", help="the same path at toy size on the CPU, in a folder of its own"
    )
    what.add_argument("--headline", action="store_true", help="only write the table of docs/results.md again")
    return parser


def _pages(site: Site) -> None:
    """Write what is made of all reports: the overview, and in the checkout the table of results."""
    from ssgan_bench.reporting.overview import write_overview

    if any(site.reports.glob("*/*/evidence")):
        write_overview(site.reports)
    if site.out.resolve() == ROOT:
        write_headline()


RESULTS = ROOT / "docs" / "results.md"


def results_with_headline() -> str:
    """docs/results.md with the table of the committed reports, beside what study files give as published."""
    from ssgan_bench.reporting.headline import ROWS, headline, with_headline
    from ssgan_bench.trials.study_file import read_study

    studies = [read_study(ROOT / "studies" / f"{name}.toml") for name in sorted({row.study for row in ROWS})]
    published = {
        (study.name, str(name)): preset.published for study in studies for name, preset in study.presets.items()
    }
    table = headline(ROOT / "reports" / "reference", published)
    return with_headline(RESULTS.read_text(encoding="utf-8"), table)


def write_headline() -> None:
    """Write the table of docs/results.md again."""
    from ssgan_bench.records.store import write_atomically

    write_atomically(RESULTS, results_with_headline().encode())


def _smoke() -> int:
    from ssgan_bench.records.provenance import cpu_name

    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), Path(folder), "cpu", cpu_name(), is_toy=True)
        todo = pieces(SMOKE_STUDIES)
        for _ in range(SMOKE_SLICES):
            run_slice(todo, site, SMOKE_MINUTES * 60)
            if all(map(site.is_made, todo)):
                break
        _pages(site)
        print(missing_table(todo, site), flush=True)
        return int(not all(map(site.is_made, todo)))


def _collect(options: argparse.Namespace) -> int:
    import torch

    from ssgan_bench.data.datasets import data_root

    has_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if has_gpu else ""
    site = Site(options.out.absolute(), data_root(options.data_dir), "cuda:0" if has_gpu else None, name)
    todo = pieces()
    if not has_gpu:
        print("no CUDA GPU here; nothing is run\n")
    elif run_slice(todo, site, options.minutes * 60):
        _pages(site)
    print(missing_table(todo, site), flush=True)
    return int(bool(site.failures))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code, as told in EPILOG."""
    options = _parser().parse_args(arguments)

    def command() -> int:
        if not (ROOT / "tests" / "test_gpu.py").exists():
            raise ConfigError("evidence is made in a checkout of the repository, which has its tests")
        if not 2 <= options.minutes <= 600:
            raise ConfigError(f"--minutes {options.minutes:g}: give a number from 2 to 600")
        if options.headline:
            write_headline()
            return 0
        return _smoke() if options.smoke else _collect(options)

    return exit_code(command, when_stopped="the same command continues")


if __name__ == "__main__":
    sys.exit(main())
