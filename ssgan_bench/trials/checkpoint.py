"""Checkpoints: where a run under way stands, so that a run of hours survives a kill.

A checkpoint holds the state of training and what the run has measured so far, sample grids included. Where it is kept
is the engine's business (`CheckpointPlace`); the coordinator discards it once the run has its record. It begins with
the SHA-256 of the rest, and says for which configuration, data, code, PyTorch and device it was written; a damaged or
foreign one counts as none, and the run begins anew. Random streams are functions of (seed, name, step), so on a CPU a
continued run is the uninterrupted one, bit by bit.
"""

import hashlib
import io
import pickle
import time
from collections.abc import Callable
from typing import Any

import torch

from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import RunConfig
from ssgan_bench.records.provenance import code_digest
from ssgan_bench.trials.checkpoint_place import CheckpointPlace

FORMAT = 4
"""Version of what is saved; raise it with a change in trials/run.py or training that older files do not fit."""
MIN_SECONDS = 60.0
"""Between two checkpoints, and from the start of a run to its first: a short run never writes one, a long one loses
at most this and the time between two evaluations."""


class Checkpoint:
    """The checkpoint of one run."""

    def __init__(self, place: CheckpointPlace, cell_id: str, config: RunConfig, dataset_sha256: str, device_name: str):
        self._place, self._cell_id = place, cell_id
        self._identity: dict[str, str | int] = {
            "format": FORMAT,
            "protocol": PROTOCOL_VERSION,
            "config": config.digest(),
            "dataset": dataset_sha256,
            "code": code_digest(),
            "torch": str(torch.__version__),  # a plain str, which weights_only can read again
            "device": device_name,
        }
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Read what was saved, tensors on the CPU; None if there is nothing, or something damaged or foreign."""
        content = self._place.read(self._cell_id)
        if content is None:
            return None
        expected, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != expected:
            return None
        try:
            saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError):  # whole, but of another PyTorch
            return None
        found: dict[str, Any] | None = saved["run"] if saved["identity"] == self._identity else None
        return found

    def save_if_due(self, run: Callable[[], dict[str, Any]]) -> None:
        """Write what `run` gives if the last time is `MIN_SECONDS` ago.

        Raises:
            OSError: the disk is full or the folder is not writable.
        """
        if time.monotonic() - self._last < MIN_SECONDS:
            return
        buffer = io.BytesIO()
        torch.save({"identity": self._identity, "run": run()}, buffer)
        payload = buffer.getvalue()
        self._place.write(self._cell_id, hashlib.sha256(payload).digest() + payload)
        self._last = time.monotonic()
