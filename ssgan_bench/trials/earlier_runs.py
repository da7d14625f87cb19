"""What a study does about runs that its folder already holds: continue them, refuse to mix them, or set them aside."""

from datetime import UTC, datetime
from pathlib import Path

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.search_schema import SearchPlan
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.trials.plan import changes_between
from ssgan_bench.trials.search_plan import search_changes


def refuse_changed_plan(store: RecordStore, plan: StudyPlan) -> None:
    """Refuse a plan whose folder holds runs of another one.

    Raises:
        ConfigError: with what changed, and how to go on.
    """
    stored = store.plan()
    changes = [] if stored is None else changes_between(stored, plan)
    if stored is None or not changes:
        return
    if any(store.record(cell.cell_id) for cell in stored.cells):
        whose = f"another version of this study, or another file with the name {plan.study!r}"
        if stored.question != plan.question:
            whose = f"another file with the name {plan.study!r}, or an earlier version ({stored.question[:80]!r})"
        raise changed(store.folder, changes, whose)


def refuse_changed_search(store: SearchStore, plan: SearchPlan) -> None:
    """Refuse a search whose folder holds trials of another one.

    Raises:
        ConfigError: with what changed, and how to go on.
    """
    stored = store.plan()
    changes = [] if stored is None else search_changes(stored, plan)
    if changes and store.records():
        raise changed(store.folder, changes, "another version of this study's search")


def refuse_leftover_search(folder: Path, plan: StudyPlan) -> None:
    """Refuse a search whose winners never ran: it would enter the report of a study that no longer has one.

    Raises:
        ConfigError: with how to go on.
    """
    store, stored = SearchStore(folder / "search"), RecordStore(folder).plan()
    is_winners = stored is not None and not changes_between(stored, plan)
    if not is_winners and store.records():
        raise changed(store.folder, ["[search] is gone"], "an earlier version of this study")


def changed(folder: Path, changes: list[str], whose: str) -> ConfigError:
    """Say that a folder holds the runs of something else, what differs, and how to go on."""
    return ConfigError(
        f"{folder}: its runs belong to {whose} ({'; '.join(changes[:6])}{'; ...' * (len(changes) > 6)}); "
        "use --out DIR, or another name in the study file, to keep both, or --fresh to set the old runs aside"
    )


def set_aside(folder: Path) -> None:
    """Rename the folder of earlier runs, if there is one, and say where they are."""
    if not folder.exists():
        return
    target = folder.with_name(f"{folder.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    folder.rename(target)
    print(f"  earlier runs are kept in {target}")
