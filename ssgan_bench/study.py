"""The command line `python -m ssgan_bench.study`: list studies, plan one, run one, audit a run, count seeds."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssgan_bench.command_line import Parser, exit_code
from ssgan_bench.config import ConfigError

if TYPE_CHECKING:
    from ssgan_bench.records.schema import StudyPlan
    from ssgan_bench.records.search_schema import SearchPlan
    from ssgan_bench.trials.study_file import StudyFile

EPILOG = """\
examples:
  python -m ssgan_bench.study                                  list the studies and their questions
  python -m ssgan_bench.study labeled_rate                     quick preset: digits, no download, minutes on a CPU
  python -m ssgan_bench.study labeled_rate --plan              what it would run and cost
  python -m ssgan_bench.study labeled_rate --preset standard --data-dir ~/data
  python -m ssgan_bench.study labeled_rate --seeds 3 --set "data.num_labels=[20, 50]" --out try
  python -m ssgan_bench.study path/to/my_question.toml         a study of your own
  python -m ssgan_bench.study audit 1f2e3d4c                   prove which labels a run used
  python -m ssgan_bench.study power --difference 0.05 --sd 0.04 --family 3      how many seeds a difference takes

Interrupt with Ctrl-C at any time; the same command continues. Finished runs are never repeated.
exit codes: 0 done, 1 a cell failed or the machine did (disk, memory), 2 wrong input, 130 interrupted.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = Parser(
        prog="python -m ssgan_bench.study",
        description="Run a study: train every cell (arm x level x seed), record each run, write a report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", nargs="?", metavar="NAME", help="a study in studies/, or a path to a .toml file")
    what = parser.add_argument_group("what to run")
    what.add_argument("--preset", default="quick", metavar="P", help="quick (default), standard or full")
    what.add_argument("--dataset", metavar="D", help="digits, mnist, fashion_mnist, kmnist, svhn, cifar10, folder:PATH")
    what.add_argument(
        "--seeds", type=int, metavar="N", help="number of seeds instead of the preset's (N x N if crossed)"
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a configuration value (TOML), or the levels of a factor; repeatable",
    )
    what.add_argument(
        "--choose",
        action="store_true",
        help="for choosing settings: validation error, seeds from 10000; the test images are not read "
        "(--set data.evaluation_set=validation)",
    )
    how = parser.add_argument_group("how and where")
    how.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core, one on a GPU)")
    how.add_argument("--device", default="auto", metavar="DEV", help="auto (default), cpu, cuda or cuda:0")
    how.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets (else $SSGAN_BENCH_DATA, else user cache)")
    how.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where runs/ and reports/ go (default: here)"
    )
    how.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna database for optuna-dashboard (default: a SQLite file in runs/), e.g. postgresql+psycopg://...",
    )
    how.add_argument("--plan", action="store_true", help="print cells, estimated time, memory and disk, then stop")
    how.add_argument("--fresh", action="store_true", help="set earlier runs of this study and preset aside, start anew")
    how.add_argument("--no-report", action="store_true", help="do not write the report at the end")
    return parser


def build_audit_parser() -> argparse.ArgumentParser:
    """Build the argument parser of `audit`."""
    parser = Parser(
        prog="python -m ssgan_bench.study audit",
        description="Print which labels a run used, and check the digests in its record against those derived from "
        "its seeds and the data set. Exit codes: 0 they match, 1 they do not, 2 no such run or no data.",
    )
    parser.add_argument("run_id", metavar="RUN", help="a run's id, or its first 6 or more hex digits")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder that holds runs/ (default: .)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets (else $SSGAN_BENCH_DATA, else cache)")
    return parser


def build_power_parser() -> argparse.ArgumentParser:
    """Build the argument parser of `power`."""
    parser = Parser(
        prog="python -m ssgan_bench.study power",
        description="Print how many seeds it takes for the exact sign-flip test to show a true paired difference, at "
        "the strictest step of Holm's correction. Simulated for normal differences.",
    )
    parser.add_argument("--difference", type=float, required=True, metavar="D", help="true mean difference, e.g. 0.05")
    parser.add_argument(
        "--sd", type=float, required=True, metavar="S", help="standard deviation of the paired differences, as in D"
    )
    parser.add_argument("--family", type=int, default=1, metavar="M", help="comparisons in the family (default: 1)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # No study has one of these names (trials/study_file.py).
    commands = {"audit": (build_audit_parser, audit_run), "power": (build_power_parser, plan_seeds)}
    make_parser, run_command = commands.get(given[0] if given else "", (build_parser, run_study))
    options = make_parser().parse_args(given[1:] if run_command is not run_study else given)

    def command() -> int:
        if run_command is not run_study:
            return run_command(options)
        if options.study is not None:
            return run_study(options)
        from ssgan_bench.trials.study_paths import list_studies

        return list_studies()

    return exit_code(command, when_stopped="finished runs are kept, the same command continues")


def audit_run(options: argparse.Namespace) -> int:
    """Print what a run's record says of its labels beside what follows from its seeds; 0 if they agree, else 1."""
    from ssgan_bench.data.datasets import data_root
    from ssgan_bench.trials.audit import audit, find_records

    audits = [audit(path, data_root(options.data_dir)) for path in find_records(options.out, options.run_id)]
    print("\n".join(line for found in audits for line in found.lines()))
    return int(not all(found.matches for found in audits))


def plan_seeds(options: argparse.Namespace) -> int:
    """Print the seeds that a difference takes, and the power of the numbers that studies usually have."""
    from ssgan_bench.reporting.exact_power import exact_power, pairs_needed_exact

    if not (0 < options.sd < math.inf and math.isfinite(options.difference) and options.difference != 0):
        raise ConfigError(
            f"--difference {options.difference:g} --sd {options.sd:g}: give a difference other than 0 and a positive sd"
        )
    if not 1 <= options.family <= 1000:
        raise ConfigError(f"--family {options.family}: give a number from 1 to 1000")
    effect = options.difference / options.sd
    for power in (0.8, 0.9):
        seeds = pairs_needed_exact(effect, options.family, power)
        print(f"power {power:g}: {'too many to count' if math.isinf(seeds) else f'{seeds:.0f}'} seeds")
    print("seeds: power")
    for seeds in (8, 9, 10, 12, 16, 20):
        print(f"  {seeds:2}: {exact_power(effect, seeds, options.family):.2f}")
    return 0


def run_study(options: argparse.Namespace) -> int:
    """Plan, check, run and report one study."""
    from ssgan_bench.config import digest
    from ssgan_bench.data.datasets import data_root
    from ssgan_bench.records.provenance import num_cores
    from ssgan_bench.records.store import RecordStore, SearchStore
    from ssgan_bench.trials.announce import print_estimate, print_plan, print_search
    from ssgan_bench.trials.earlier_runs import refuse_changed_plan, refuse_changed_search, refuse_leftover_search
    from ssgan_bench.trials.search_plan import split_overrides
    from ssgan_bench.trials.study_file import read_study
    from ssgan_bench.trials.study_paths import find_study

    if options.out.exists() and not options.out.is_dir():
        raise ConfigError(f"--out {options.out}: is a file; name a folder")
    path = find_study(options.study)
    study = read_study(path)
    if options.seeds is not None and not 1 <= options.seeds <= 1000:
        raise ConfigError(f"--seeds {options.seeds}: give a number from 1 to 1000")
    if options.workers is not None and not 1 <= options.workers <= 256:
        raise ConfigError(f"--workers {options.workers}: give a number from 1 to 256")
    plan, search = _plan(options, study, path)
    device = _device(options.device)
    threads = max(cell.config["train"]["num_threads"] for cell in plan.cells)
    num_workers = options.workers or (1 if device.startswith("cuda") else max(1, num_cores() // threads))
    num_workers = min(num_workers, len(plan.cells))
    changes = [*options.set, *([f"data.dataset={options.dataset}"] if options.dataset else [])]
    print_plan(plan, study.presets[options.preset].description, changes, device, num_workers)
    folder = options.out / "runs" / plan.study / plan.preset
    if search is not None:
        print_search(search, plan)
    if options.plan:
        _check_present_data(options, plan)
        print_estimate(plan, search, device, num_workers, folder)
        return 0
    from ssgan_bench import running  # Optuna, which a plan does not need
    from ssgan_bench.following import run_alone
    from ssgan_bench.running import Request

    if not options.fresh:
        if search is None:
            refuse_changed_plan(RecordStore(folder), plan)
            refuse_leftover_search(folder, plan)
        else:
            refuse_changed_search(SearchStore(folder / "search"), search)
    asked = {
        "cells": [cell.cell_id for cell in plan.cells],
        "search": None if search is None else search.fingerprint(),
        "report": not options.no_report,
        "storage": options.storage,
    }
    request = Request(
        folder=folder,
        report=None if options.no_report else options.out / "reports" / plan.study / plan.preset,
        data_root=data_root(options.data_dir),
        device=device,
        num_workers=num_workers,
        storage=options.storage,
        fresh=options.fresh,
    )

    def run() -> None:
        if search is None:
            running.run_study(request, plan)
        else:
            running.run_tuned_study(request, study, plan, search, split_overrides(_overrides(options))[0])

    run_alone(folder, digest(asked), run, may_follow=not options.fresh)
    return 0


def _check_present_data(options: argparse.Namespace, plan: "StudyPlan") -> None:
    """Refuse an impossible plan as early as that is known: where its data need no download."""
    from ssgan_bench.data.datasets import data_root, is_present
    from ssgan_bench.trials.checks import check_cells

    root = data_root(options.data_dir)
    if all(is_present(cell.config["data"]["dataset"], root) for cell in plan.cells):
        check_cells(plan, root, None)


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    from ssgan_bench.trials.plan import parse_overrides

    overrides = parse_overrides(options.set)
    if options.dataset is not None:
        overrides["data.dataset"] = options.dataset
    if options.choose:
        overrides["data.evaluation_set"] = "validation"
    return overrides


def _plan(options: argparse.Namespace, study: "StudyFile", path: Path) -> "tuple[StudyPlan, SearchPlan | None]":
    """Plan of the study as its file has it, and of the search that precedes a tuned one."""
    from ssgan_bench.trials.plan import make_plan
    from ssgan_bench.trials.search_plan import make_search_plan, split_overrides

    overrides = _overrides(options)
    if study.search is None:
        return make_plan(study, str(path), options.preset, overrides, options.seeds), None
    overrides, sizes = split_overrides(overrides)
    plan = make_plan(study, str(path), options.preset, overrides, options.seeds)
    return plan, make_search_plan(study, str(path), plan, overrides, sizes)


def _device(name: str) -> str:
    import torch

    available = torch.cuda.device_count()
    if name == "auto":
        return "cuda:0" if available else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise ConfigError(f"--device {name}: unknown; use auto, cpu, cuda or cuda:N")
    if int(number or 0) >= available:
        raise ConfigError(f"--device {name}: this machine has {available} CUDA devices; use --device cpu or auto")
    return f"cuda:{number or 0}"


if __name__ == "__main__":
    sys.exit(main())
