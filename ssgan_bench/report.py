"""Command line: `python -m ssgan_bench.report NAME` writes the report of a study from its records."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ssgan_bench.config import ConfigError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ssgan_bench.report",
        description="Write the report of a study from the records of its runs; nothing is trained.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="study, as in studies/NAME.toml")
    parser.add_argument("--preset", default="quick", help="preset that was run (default: quick)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder that holds runs/ and reports/ (default: .)")
    parser.add_argument(
        "--from-evidence",
        type=Path,
        metavar="DIR",
        help="render an evidence folder instead of a study's records",
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="report folder to write, with --from-evidence")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 2 where the request cannot be met."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.name is None) == (options.from_evidence is None):
        parser.error("give a study's NAME or --from-evidence DIR")
    if (options.to is None) != (options.from_evidence is None):
        parser.error("--from-evidence DIR and --to DIR go together")
    try:
        folder = None if options.name is None else _run_folder(options.out, options.name, options.preset)
        # Imported here, so that --help and a wrong name answer at once: these take a second or two.
        from ssgan_bench.records.store import RecordStore
        from ssgan_bench.reporting import render, write_report

        if folder is None:
            result = render(options.from_evidence, options.to)
        else:
            report = options.out / "reports" / options.name / options.preset
            result = write_report(RecordStore(folder), report)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{result.answer}\n\n{result.main_table}\n\n{result.index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
