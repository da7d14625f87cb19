"""The folder of one study's run: `plan.json`, `records/<cell>.json`, `samples/<cell>/`.

A record is written once, to a temporary file that is flushed to disk and renamed, so that it is either complete or
absent whatever kills the process.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import RunRecord, StudyPlan
from ssgan_bench.records.search_schema import SearchPlan, SearchRecord

PlanT = TypeVar("PlanT", StudyPlan, SearchPlan)
RecordT = TypeVar("RecordT", RunRecord, SearchRecord)

PARTIAL_FILES = ".*.part"
"""What files are called while they are written; one that a killed process left is never read."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that after any crash the file is the old one or the new one, whole.

    Raises:
        OSError: the disk is full or the folder is not writable; `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # writing, unlike opening, does not say where
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _to_json(model: BaseModel) -> bytes:
    return (model.model_dump_json(indent=1) + "\n").encode()


class _Store(Generic[PlanT, RecordT]):
    """Reads and writes one folder with a plan and its records."""

    _plan_type: type[PlanT]
    _record_type: type[RecordT]

    def __init__(self, folder: Path):
        self.folder = folder

    def _record_path(self, record_id: str) -> Path:
        return self.folder / "records" / f"{record_id}.json"

    def plan(self) -> PlanT | None:
        """Read the stored plan; None before the first run.

        Raises:
            ConfigError: the file exists and cannot be read as a plan of this version.
        """
        path = self.folder / "plan.json"
        if not path.exists():
            return None
        try:
            return self._plan_type.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                f"{path}: not a readable study plan of this version ({error.errors()[0]['msg']}); "
                "use --out for another folder or --fresh to set this one aside"
            ) from None

    def write_plan(self, plan: PlanT) -> None:
        """Store the plan, replacing the previous one."""
        write_atomically(self.folder / "plan.json", _to_json(plan))

    def record(self, record_id: str) -> RecordT | None:
        """Read one record; None when it is absent or damaged (what it is about then runs again)."""
        try:
            record = self._record_type.model_validate_json(self._record_path(record_id).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return record if record.record_id == record_id else None

    def write_record(self, record: RecordT) -> None:
        """Store one record."""
        write_atomically(self._record_path(record.record_id), _to_json(record))

    def records(self) -> list[RecordT]:
        """Read all readable records, ordered by id."""
        found = (self.record(path.stem) for path in self._record_files())
        return [record for record in found if record is not None]

    def damaged(self) -> list[str]:
        """Name the record files that cannot be read."""
        return [path.name for path in self._record_files() if self.record(path.stem) is None]

    def _record_files(self) -> list[Path]:
        return sorted((self.folder / "records").glob("[!.]*.json"))


class RecordStore(_Store[StudyPlan, RunRecord]):
    """Reads and writes one study folder."""

    _plan_type, _record_type = StudyPlan, RunRecord

    def write_sample(self, cell_id: str, name: str, png: bytes) -> str:
        """Store one sample grid and return its path relative to the folder."""
        relative = f"samples/{cell_id}/{name}.png"
        write_atomically(self.folder / relative, png)
        return relative


class SearchStore(_Store[SearchPlan, SearchRecord]):
    """Reads and writes the folder `search/` inside a study folder."""

    _plan_type, _record_type = SearchPlan, SearchRecord

    def write_importances(self, importances: dict[str, dict[str, float]]) -> None:
        """Store the importance of each searched key, by arm."""
        write_atomically(self.folder / "importance.json", (json.dumps(importances, indent=1) + "\n").encode())

    def importances(self) -> dict[str, dict[str, float]]:
        """Read the importances, by arm and key; empty before the search is complete."""
        path = self.folder / "importance.json"
        found: dict[str, dict[str, float]] = json.loads(path.read_bytes()) if path.exists() else {}
        return found
