"""Run a planned study: its search if it has one, its cells, its report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssgan_bench.command_line import CommandError
from ssgan_bench.coordinator import CellWork, Work, coordinate
from ssgan_bench.data.datasets import prepare
from ssgan_bench.engines.local import LocalEngine
from ssgan_bench.ledger import CellLedger, Mirror, study_name
from ssgan_bench.records.provenance import git_commit
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.search_schema import SearchPlan
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.search import SearchWork, importances, study_names
from ssgan_bench.storage import sqlite_url
from ssgan_bench.trials.announce import print_damaged
from ssgan_bench.trials.checkpoint_place import CheckpointFolder
from ssgan_bench.trials.checks import check_cells, check_search
from ssgan_bench.trials.earlier_runs import refuse_changed_plan, refuse_changed_search, set_aside
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.progress import Progress, ProgressDisplay, describe_counts
from ssgan_bench.trials.sample_quality import prepare_references
from ssgan_bench.trials.study_file import StudyFile, read_study
from ssgan_bench.trials.task import RunnerSpec
from ssgan_bench.trials.winners import freeze, trials_of


@dataclass(frozen=True)
class Request:
    """Where and how a study is to be run."""

    folder: Path
    """Of its runs."""
    report: Path | None
    """Folder for its report; None: no report."""
    data_root: Path
    device: str
    num_workers: int
    storage: str | None
    """URL of Optuna's storage; None: a SQLite file in `folder`."""
    fresh: bool
    """Whether earlier runs are set aside."""


def run_study(request: Request, plan: StudyPlan) -> None:
    """Run the cells of a plan that have no finished record, and write the report.

    Raises:
        CommandError: cells failed.
        ConfigError: the data, the plan or the storage do not allow it.
        OSError: the machine does not; finished runs are kept.
    """
    folder, root = request.folder, request.data_root
    for dataset in dict.fromkeys(cell.config["data"]["dataset"] for cell in plan.cells):
        prepare(dataset, root)
    store = RecordStore(folder)
    check_cells(plan, root, None if request.fresh else store)
    if request.fresh:
        set_aside(folder)
    refuse_changed_plan(store, plan)
    store.discard_partial_files()
    store.write_plan(plan)
    references = prepare_references(plan, root, store, print) if plan.sample_quality else {}
    name = study_name(plan, folder)
    mirror = Mirror(request.storage or sqlite_url(folder / "optuna.db"), [name])
    ledger, checkpoints = CellLedger(mirror, name, plan), CheckpointFolder(folder / "checkpoints")
    progress = _execute(
        request, _spec(request, plan, references), mirror, store, lambda: CellWork(plan, store, ledger, checkpoints)
    )
    if request.report is not None:
        print("writing the report ...", flush=True)
        from ssgan_bench.reporting import write_report  # pandas and matplotlib, which nothing before needs

        result = write_report(store, request.report)
        print("\n", *(f"{part}\n\n" for part in result.in_a_terminal), f"report: {result.index}", sep="")
    if without_result := progress.total - len(progress.finished):
        raise CommandError(
            f"{without_result} cells failed (tracebacks in {folder / 'failures'}); the same command tries them again"
        )


def run_tuned_study(
    request: Request, study: StudyFile, plan: StudyPlan, search: SearchPlan, overrides: dict[str, Any]
) -> None:
    """Make the search, freeze its winners as a study file, and run that.

    Args:
        request: where and how.
        study: the tuned study.
        plan: its cells before tuning.
        search: what precedes them.
        overrides: dotted key -> value from the command line, without those of the search.

    Raises:
        CommandError, ConfigError, OSError: as `run_study`; also where trials of the search failed.
    """
    folder = request.folder
    for dataset in dict.fromkeys(arm.config["data"]["dataset"] for arm in search.arms):
        prepare(dataset, request.data_root)
    store = SearchStore(folder / "search")
    check_search(search, request.data_root, None if request.fresh else store)
    check_cells(plan, request.data_root, None)
    if request.fresh:
        set_aside(folder)
    refuse_changed_search(store, search)
    store.discard_partial_files()
    store.write_plan(search)
    mirror = Mirror(request.storage or sqlite_url(folder / "optuna.db"), study_names(search, store.folder))
    progress = _execute(request, _spec(request, search, {}), mirror, store, lambda: SearchWork(search, store, mirror))
    if failed := progress.total - len(progress.finished):
        raise CommandError(
            f"{failed} trials of the search failed (tracebacks in {store.folder / 'failures'}); "
            "the same command tries them again, with other values"
        )
    trials = trials_of(search, store)
    store.write_importances(importances(search, trials))
    path = folder / "winners.toml"
    freeze(study, search, trials, overrides, len(plan.seeds), path)
    winners = make_plan(read_study(path), str(path), plan.preset, {})
    print(f"winners: {path}; running {len(winners.arms)} arms x {len(plan.seeds)} fresh seeds", flush=True)
    run_study(replace(request, fresh=False), winners)  # what is there now belongs to this search


def _spec(request: Request, plan: StudyPlan | SearchPlan, references: dict[tuple[str, int], bytes]) -> RunnerSpec:
    return RunnerSpec(plan.study, plan.preset, request.data_root, request.device, git_commit(), references)


def _execute(
    request: Request,
    spec: RunnerSpec,
    mirror: Mirror,
    store: RecordStore | SearchStore,
    make_work: Callable[[], Work],
) -> Progress:
    """Run all that is left behind one progress bar, and say the counts and what Optuna's storage missed.

    Raises:
        OSError: something that concerns every run; finished runs are kept.
        KeyboardInterrupt: Ctrl-C, with how much is kept.
    """
    print_damaged(store)
    checkpoints = CheckpointFolder(store.folder / "checkpoints")
    on_gpu = request.device.startswith("cuda")
    engine = LocalEngine(spec, request.num_workers, checkpoints, fresh_after_failure=on_gpu)
    try:
        work = make_work()
        try:
            with ProgressDisplay(work.progress.total) as display:
                progress = coordinate(work, engine, display)
        except KeyboardInterrupt:
            kept = f"{len(work.progress.finished)} of {work.progress.total} runs are kept in {store.folder}"
            raise KeyboardInterrupt(f": {kept}; the same command continues") from None
    finally:
        missed = mirror.close()
        if missed:
            print(missed, flush=True)
    print(describe_counts(progress), flush=True)
    return progress
