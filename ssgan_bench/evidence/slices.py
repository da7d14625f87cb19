"""One slice of the work, and the table of what is still missing after it."""

import time

from ssgan_bench.evidence.pieces import DATA
from ssgan_bench.evidence.site import ROOT, Piece, Site

STOP_SECONDS = 30.0
"""Of a slice, kept for stopping what runs and for the pages at the end."""
START_SECONDS = 20.0
"""What must be left of a slice for one more piece to begin."""


def run_slice(todo: list[Piece], site: Site, seconds: float) -> bool:
    """Make what is missing, for at most some seconds; returns whether a piece was finished."""
    deadline = time.monotonic() + seconds - STOP_SECONDS
    finished = False
    for piece in todo:
        left = deadline - time.monotonic()
        if left < START_SECONDS:
            break
        if not site.is_made(piece) and piece.name not in site.failures:
            piece.run(piece, site, left)
            finished |= site.is_made(piece)
    return finished


def missing_table(todo: list[Piece], site: Site) -> str:
    """Say for every piece whether it is there, and what it needs if not."""
    made = site.made()
    rows = [("piece", "state", "needs")]
    for piece in todo:
        entry = made.get(piece.name)
        if entry is not None and site.is_made(piece):
            rows.append((piece.name, f"done on {entry['device']}, {entry['finished_at']}", ""))
            continue
        state = site.failures.get(piece.name) or _progress(piece, site)
        rows.append((piece.name, state + ("; there is one of other code" if entry else ""), _needs(piece, site)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _progress(piece: Piece, site: Site) -> str:
    if not piece.study:
        return "missing"
    from ssgan_bench.records.store import RecordStore
    from ssgan_bench.trials.plan import make_plan
    from ssgan_bench.trials.study_file import read_study

    store = RecordStore(site.work(piece) / "runs" / piece.study / piece.preset)
    path = ROOT / "studies" / f"{piece.study}.toml"
    plan = store.plan() or make_plan(read_study(path), str(path), piece.preset, {})
    done = sum(record.is_finished for record in store.records())
    return f"{done} of {len(plan.cells)} runs" if done else f"missing: {len(plan.cells)} runs"


def _needs(piece: Piece, site: Site) -> str:
    needs = [] if site.device else ["a CUDA GPU"]
    if piece.study and not site.is_toy:
        from ssgan_bench.data.datasets import is_present

        if not is_present(DATA, site.data_root):
            needs.append(f"{DATA} in --data-dir, or a network")
    if piece.name in site.failures:
        needs.append("a look at the lines above")
    return ", ".join(needs) or "another slice"
