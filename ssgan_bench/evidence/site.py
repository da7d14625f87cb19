"""What is to be shown, where it is kept, and whether it is there for the code of this checkout."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ssgan_bench.config import ConfigError, digest

ROOT = Path(__file__).parents[2]
"""The checkout."""


@dataclass
class Site:
    """Where, and on what, evidence is made."""

    out: Path
    data_root: Path
    device: str | None
    """cuda:0, or cpu at toy size; None where there is no GPU."""
    device_name: str
    is_toy: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    """Why a piece failed in this call, by name."""

    @property
    def reports(self) -> Path:
        """Reports to be committed, and the list of what was made with which code."""
        return self.out / "reports" / "reference"

    def work(self, piece: "Piece") -> Path:
        """Working folder of one piece for the code of this checkout; other code begins anew elsewhere."""
        return self.out / "runs" / "evidence" / f"{piece.name}-{piece.code()[:12]}"

    def made(self) -> dict[str, dict[str, str | None]]:
        """Code, commit, device and time of every piece there is, by name.

        Raises:
            ConfigError: the list is damaged.
        """
        path = self.reports / "evidence.json"
        try:
            found: dict[str, dict[str, str | None]] = json.loads(path.read_bytes()) if path.exists() else {}
            if not all(isinstance(entry["device"], str) and entry["finished_at"] for entry in found.values()):
                raise ValueError("an entry lacks its device")
        except (ValueError, AttributeError, TypeError, LookupError):
            raise ConfigError(
                f"{path}: damaged; take it from Git again, or delete it to make everything anew"
            ) from None
        return found

    def is_made(self, piece: "Piece") -> bool:
        """Whether a piece is there for the code of this checkout."""
        return self.made().get(piece.name, {}).get("code") == piece.code()

    def note(self, piece: "Piece") -> None:
        """List a piece as made."""
        from ssgan_bench.records.provenance import git_commit
        from ssgan_bench.records.store import write_atomically

        entry = {
            "code": piece.code(),
            "commit": git_commit(),
            "device": self.device_name,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        content = json.dumps(self.made() | {piece.name: entry}, indent=1, sort_keys=True) + "\n"
        write_atomically(self.reports / "evidence.json", content.encode())


@dataclass(frozen=True)
class Piece:
    """One thing to be shown."""

    name: str
    sources: tuple[str, ...]
    """Files and folders of the checkout that belong to it, besides the code that every run computes with."""
    run: Callable[["Piece", Site, float], None]
    """Makes it, or a part of it, within some seconds."""
    study: str = ""
    """Name of a study, and of its preset; empty for what is none."""
    preset: str = ""

    def code(self) -> str:
        """Digest (hex) of all that decides its result."""
        from ssgan_bench.records.provenance import code_digest, files_digest

        return digest([code_digest(), files_digest(ROOT, self.sources)])
