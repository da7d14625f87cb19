"""The folder of one study's run: `plan.json`, `records/<cell>.json`, `samples/<cell>/`.

A record is written once, to a temporary file that is flushed to disk and renamed, so that it is either complete or
absent whatever kills the process. Its file ends with `content_sha256`, the digest of everything else in it as canonical
JSON: a record whose content was changed afterwards, be it by one digit, counts as damaged.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ssgan_bench.config import ConfigError, digest
from ssgan_bench.records.schema import RunRecord, StudyPlan
from ssgan_bench.records.search_schema import SearchPlan, SearchRecord

PlanT = TypeVar("PlanT", StudyPlan, SearchPlan)
RecordT = TypeVar("RecordT", RunRecord, SearchRecord)

DIGEST = "content_sha256"
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


def _with_digest(record: BaseModel) -> bytes:
    """Write a record as JSON of one line per field, so that thousands of misclassified images are no thousand lines."""
    content = json.loads(record.model_dump_json())
    content[DIGEST] = digest(content)
    fields = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def _checked(content: bytes) -> str:
    """The JSON of a record without its digest.

    Raises:
        ValueError: it is no JSON object, or it has another digest than it says.
    """
    fields = json.loads(content)
    if not isinstance(fields, dict) or DIGEST not in fields:
        raise ValueError(f"it has no {DIGEST}")
    if fields.pop(DIGEST) != digest(fields):
        raise ValueError(f"its content is not that of its {DIGEST}")
    return json.dumps(fields)


def sample_path(cell_id: str, name: str) -> str:
    """Path of a sample grid relative to the study's folder."""
    return f"samples/{cell_id}/{name}.png"


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
        write_atomically(self.folder / "plan.json", (plan.model_dump_json(indent=1) + "\n").encode())

    def record(self, record_id: str) -> RecordT | None:
        """Read one record; None when it is absent or damaged (what it is about then runs again)."""
        try:
            return self._read(self._record_path(record_id))
        except (FileNotFoundError, ValueError):
            return None

    def _read(self, path: Path) -> RecordT:
        """Read a record's file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged, changed or of another version.
        """
        record = self._record_type.model_validate_json(_checked(path.read_bytes()))
        if record.record_id != path.stem:
            raise ValueError(f"it is the record of {record.record_id}")
        return record

    def write_record(self, record: RecordT) -> None:
        """Store one record."""
        write_atomically(self._record_path(record.record_id), _with_digest(record))

    def write_failure(self, record_id: str, traceback: str) -> None:
        """Store the traceback of a run's exception, replacing the previous one."""
        write_atomically(self.folder / "failures" / f"{record_id}.txt", traceback.encode())

    def discard_partial_files(self) -> None:
        """Delete what killed processes had begun to write; only the one that writes in the folder may call this."""
        for place in ("", "records/", "samples/*/", "failures/", "reference/", "checkpoints/"):
            for path in self.folder.glob(place + PARTIAL_FILES):
                path.unlink(missing_ok=True)

    def records(self) -> list[RecordT]:
        """Read all readable records, ordered by id."""
        found = (self.record(path.stem) for path in self._record_files())
        return [record for record in found if record is not None]

    def damaged(self) -> dict[str, str]:
        """Name the record files that cannot be read or were changed since they were written.

        Returns:
            By file name a line for the user: which file, why, and what to do.
        """
        found = {}
        for path in self._record_files():
            try:
                self._read(path)
            except ValueError as error:
                reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
                found[path.name] = (
                    f"{path}: damaged or changed since it was written ({reason}); it is not used, and the same study "
                    "command makes the run again"
                )
        return found

    def _record_files(self) -> list[Path]:
        return sorted((self.folder / "records").glob("[!.]*.json"))


class RecordStore(_Store[StudyPlan, RunRecord]):
    """Reads and writes one study folder."""

    _plan_type, _record_type = StudyPlan, RunRecord

    def write_sample(self, cell_id: str, name: str, png: bytes) -> str:
        """Store one sample grid and return its path relative to the folder."""
        relative = sample_path(cell_id, name)
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
