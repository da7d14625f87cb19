"""The folder of one study's run: `plan.json`, `records/<cell>.json`, `samples/<cell>/`.

A record is written once, to a temporary file that is flushed to disk and renamed, so that it is either complete or
absent whatever kills the process.
"""

import os
import uuid
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import RunRecord, StudyPlan

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


class RecordStore:
    """Reads and writes one study folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _record_path(self, cell_id: str) -> Path:
        return self.folder / "records" / f"{cell_id}.json"

    def plan(self) -> StudyPlan | None:
        """Read the stored plan; None before the first run.

        Raises:
            ConfigError: the file exists and cannot be read as a plan of this version.
        """
        path = self.folder / "plan.json"
        if not path.exists():
            return None
        try:
            return StudyPlan.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                f"{path}: not a readable study plan of this version ({error.errors()[0]['msg']}); "
                "use --out for another folder or --fresh to set this one aside"
            ) from None

    def write_plan(self, plan: StudyPlan) -> None:
        """Store the plan, replacing the previous one."""
        write_atomically(self.folder / "plan.json", _to_json(plan))

    def record(self, cell_id: str) -> RunRecord | None:
        """Read one record; None when it is absent or damaged (the cell then runs again)."""
        try:
            record = RunRecord.model_validate_json(self._record_path(cell_id).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return record if record.cell.cell_id == cell_id else None

    def write_record(self, record: RunRecord) -> None:
        """Store one record."""
        write_atomically(self._record_path(record.cell.cell_id), _to_json(record))

    def records(self) -> list[RunRecord]:
        """Read all readable records, ordered by cell id."""
        found = (self.record(path.stem) for path in self._record_files())
        return [record for record in found if record is not None]

    def damaged(self) -> list[str]:
        """Name the record files that cannot be read."""
        return [path.name for path in self._record_files() if self.record(path.stem) is None]

    def _record_files(self) -> list[Path]:
        return sorted((self.folder / "records").glob("[!.]*.json"))

    def write_sample(self, cell_id: str, name: str, png: bytes) -> str:
        """Store one sample grid and return its path relative to the folder."""
        relative = f"samples/{cell_id}/{name}.png"
        write_atomically(self.folder / relative, png)
        return relative
