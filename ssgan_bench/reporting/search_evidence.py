"""Evidence of a search: `search.json` (its plan), `search.csv` (its trials), `importance.csv` and `winners.toml`."""

import contextlib
import csv
import io
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import Provenance
from ssgan_bench.records.search_schema import SearchPlan, SearchRecord
from ssgan_bench.records.store import SearchStore
from ssgan_bench.reporting.evidence import csv_text, unguard

SEARCH_FILES = {
    "search.csv": "one row per trial of the search; its scores are no results",
    "importance.csv": "share of the variance of search scores by searched key",
    "search.json": "the plan of the search",
    "winners.toml": "the winners as a study file of their own",
}
"""File names and what they hold; the last one once all trials are done."""


@dataclass(frozen=True)
class SearchTrial:
    """One planned trial."""

    arm: str
    number: int
    status: str
    """complete, pruned, failed or missing."""
    params: dict[str, str]
    """Chosen values as text, by dotted configuration key."""
    scores: dict[int, float]
    """Validation error rate by tuning seed, of the seeds that were run; chance level where a run diverged."""
    num_diverged: int
    num_failures: int
    """Tries that raised an exception."""

    @property
    def mean(self) -> float:
        """Mean validation error over the seeds that were run; NaN without any."""
        return math.fsum(self.scores.values()) / len(self.scores) if self.scores else math.nan


@dataclass(frozen=True)
class SearchEvidence:
    """A read search."""

    plan: SearchPlan
    trials: list[SearchTrial]
    importances: dict[str, dict[str, float]]
    """By arm and key; empty for an arm whose scores say nothing."""

    def of_arm(self, arm: str) -> list[SearchTrial]:
        """Trials of one arm, by number."""
        return [trial for trial in self.trials if trial.arm == arm]

    def winner(self, arm: str) -> SearchTrial | None:
        """The complete trial with the lowest mean, of equal ones the earliest; None without any."""
        complete = [trial for trial in self.of_arm(arm) if trial.status == "complete"]
        return min(complete, key=lambda trial: (trial.mean, trial.number), default=None)


def has_search(folder: Path) -> bool:
    """Whether an evidence folder holds a search."""
    return (folder / "search.csv").is_file()


def write_search(store: SearchStore, folder: Path) -> None:
    """Write the evidence of a search into an evidence folder; nothing where there was no search."""
    plan = store.plan()
    if plan is None:
        return
    keys = list(dict.fromkeys(key for arm in plan.arms for key in arm.space))
    columns = ["arm", "trial", "status", "mean_error_rate", *(f"seed {seed}" for seed in plan.tuning_seeds)]
    columns += ["diverged", "failures", "last_failure", "seconds", "started_at"]
    columns += [*(f"param {key}" for key in keys), *Provenance.model_fields]
    rows = []
    for trial_id in plan.trial_ids:
        arm, number = plan.trial(trial_id)
        record = store.record(trial_id)
        identity = {"arm": arm.name, "trial": number}
        rows.append(identity | ({"status": "missing"} if record is None else _row(record)))
    importances = [
        {"arm": arm, "key": key, "importance": value}
        for arm, shares in store.importances().items()
        for key, value in shares.items()
    ]
    (folder / "search.json").write_bytes((plan.model_dump_json(indent=1) + "\n").encode())
    (folder / "search.csv").write_bytes(csv_text(columns, rows).encode())
    (folder / "importance.csv").write_bytes(csv_text(["arm", "key", "importance"], importances).encode())
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(store.folder.parent / "winners.toml", folder / "winners.toml")


def _row(record: SearchRecord) -> dict[str, Any]:
    return {
        "status": record.status,
        "mean_error_rate": record.mean_error if record.scores else None,
        **{f"seed {score.seed}": score.error_rate for score in record.scores},
        "diverged": sum(score.diverged_step is not None for score in record.scores),
        "failures": len(record.failures),
        "last_failure": record.failures[-1].error if record.failures else None,
        "seconds": record.seconds,
        "started_at": record.started_at,
        **{f"param {key}": value for key, value in record.params.items()},
        **({} if record.provenance is None else record.provenance.model_dump()),
    }


def read_search(folder: Path) -> SearchEvidence:
    """Read the search of an evidence folder that `has_search`.

    Raises:
        ConfigError: a file is absent or not evidence of this version.
    """
    try:
        plan = SearchPlan.model_validate_json((folder / "search.json").read_bytes())
        trials = [_trial(plan, row) for row in _rows(folder / "search.csv")]
        importances: dict[str, dict[str, float]] = {arm.name: {} for arm in plan.arms}
        for row in _rows(folder / "importance.csv"):
            importances[row["arm"]][row["key"]] = float(row["importance"])
    except (OSError, ValidationError, UnicodeDecodeError, ValueError, KeyError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ConfigError(
            f"{folder}: search.json, search.csv and importance.csv are not the evidence of a search ({reason}); "
            "write the report again from the run folder"
        ) from None
    return SearchEvidence(plan, trials, importances)


def _rows(path: Path) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    return [{key: unguard(text) for key, text in row.items()} for row in rows]


def _trial(plan: SearchPlan, row: dict[str, str]) -> SearchTrial:
    (arm,) = (arm for arm in plan.arms if arm.name == row["arm"])
    return SearchTrial(
        arm=arm.name,
        number=int(row["trial"]),
        status=row["status"],
        params={key: row[f"param {key}"] for key in arm.space if row[f"param {key}"]},
        scores={seed: float(row[f"seed {seed}"]) for seed in plan.tuning_seeds if row[f"seed {seed}"]},
        num_diverged=int(row["diverged"] or 0),
        num_failures=int(row["failures"] or 0),
    )
