"""Where checkpoints of long runs are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssgan_bench.records.store import write_atomically


class CheckpointPlace(Protocol):
    """Where a worker keeps checkpoints of long runs; picklable, because it is made by the coordinator."""

    def read(self, cell_id: str) -> bytes | None:
        """What was written last; None if nothing was."""

    def write(self, cell_id: str, content: bytes) -> None:
        """Keep `content`, whole or not at all, in place of what was written before."""


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder with a file `<cell>.pt` for each run under way; on this machine the only one that workers write to."""

    folder: Path

    def read(self, cell_id: str) -> bytes | None:
        try:
            return self._path(cell_id).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, cell_id: str, content: bytes) -> None:
        write_atomically(self._path(cell_id), content)

    def discard(self, cell_id: str) -> None:
        """Delete the checkpoint of a run that has its record."""
        self._path(cell_id).unlink(missing_ok=True)

    def _path(self, cell_id: str) -> Path:
        return self.folder / f"{cell_id}.pt"
