"""Which labels a run used: its record's digests beside those re-derived from its seeds and the data set."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

import ssgan_bench.methods  # noqa: F401  (makes the methods known to RunConfig)
from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.data.splits import Indices, Splits
from ssgan_bench.methods.base import Method
from ssgan_bench.records.schema import RunRecord
from ssgan_bench.records.store import RecordStore
from ssgan_bench.trials.plan import make_cell

SETS = ("labeled", "unlabeled", "validation", "test")


@dataclass(frozen=True)
class Fact:
    """Something that a record says and that follows from its seeds and the data set."""

    name: str
    recorded: str
    derived: str

    @property
    def matches(self) -> bool:
        """Whether the record is right."""
        return self.recorded == self.derived

    def text(self) -> str:
        """Say both where they differ."""
        derived = "" if self.matches else f", derived {self.derived}"
        return f"{_verdict(self.matches)}  {self.recorded}{derived}"


@dataclass(frozen=True, eq=False)
class Audit:
    """One run's labels, derived anew."""

    record: RunRecord
    path: Path
    """The record's file."""
    config: RunConfig
    facts: tuple[Fact, ...]
    splits: Splits
    used: Indices
    """Sorted ids of the images whose label was read in `steps` steps."""
    steps: int
    class_names: tuple[str, ...]
    """Of every training image."""

    @property
    def matches(self) -> bool:
        """Whether everything recorded is as derived."""
        return all(fact.matches for fact in self.facts)

    def lines(self) -> list[str]:
        """Say it to a reader."""
        cell, data, splits = self.record.cell, self.config.data, self.splits
        levels = "".join(f", {key} = {value}" for key, value in cell.levels.items())
        if data.label_protocol == "resampled":
            ids, read = self.used, f"{len(self.used)} images, {len(self.used) / splits.num_labels:.1f} times the budget"
            meaning = (
                f"resampled: every batch draws anew which of its images show their label. The budget of "
                f"{splits.num_labels} is a rate, not a subset: any of the {splits.num_train} training images may come "
                "to show its label, and the recorded digest is that of all of them."
            )
        else:
            ids, read = splits.labeled, "all of them" if len(self.used) == len(splits.labeled) else f"{len(self.used)}"
            meaning = (
                f"fixed: the same {len(splits.labeled)} of {splits.num_train} training images keep their label for the "
                "whole run, and the recorded digest is that of their ids."
            )
        counts = Counter(self.class_names[i] for i in ids)
        width = max(len(fact.name) for fact in self.facts)
        return [
            f"{cell.cell_id}: {cell.arm}{levels}, split seed {self.config.split_seed}, "
            f"model seed {self.config.model_seed}, {self.record.status}",
            f"  record: {self.path}",
            f"  label protocol {meaning}",
            f"  labels read in {self.steps} steps: {read}",
            f"  their ids (position among the training images of {data.dataset}, from 0): {' '.join(map(str, ids))}",
            f"  per class: {', '.join(f'{name}: {count}' for name, count in sorted(counts.items()))}",
            "  as recorded, and as derived from the seeds and the data set (of ids: SHA-256):",
            *(f"    {fact.name:{width}}  {fact.text()}" for fact in self.facts),
            f"  {_verdict(self.matches)}",
        ]


def _verdict(matches: bool) -> str:
    return "MATCH" if matches else "MISMATCH"


def find_records(out: Path, run_id: str) -> list[Path]:
    """Find a run's record below `out`; more than one where --fresh or another study kept a copy of the same run.

    Args:
        out: the folder that holds runs/.
        run_id: a cell id, or its first 6 or more hex digits.

    Raises:
        ConfigError: no id, none with that id, or several ids that begin with it.
    """
    prefix = run_id.lower()
    if not re.fullmatch("[0-9a-f]{6,16}", prefix):
        raise ConfigError(f"audit {run_id}: not a run id; give 6 to 16 hex digits, as --plan and the reports show them")
    runs = out / "runs"
    found = sorted(runs.glob(f"*/*/records/{prefix}*.json"))
    if not found:
        raise ConfigError(f"audit {run_id}: no such run in {runs}; --out names the folder that holds runs/")
    ids = sorted({path.stem for path in found})
    if len(ids) > 1:
        raise ConfigError(f"audit {run_id}: {len(ids)} runs begin so ({', '.join(ids[:4])}); give more digits")
    return found


def audit(path: Path, data_root: Path) -> Audit:
    """Derive a run's labels from its record's seeds and the data set, and set them beside what the record says.

    Raises:
        ConfigError: the record cannot be read, holds no digests or is of another protocol, or the data set is missing.
    """
    record = RecordStore(path.parents[1]).record(path.stem)
    if record is None:
        raise ConfigError(
            f"{path}: damaged, or written by another version; run the study again, or audit with that one"
        )
    if record.protocol_version != PROTOCOL_VERSION:
        raise ConfigError(
            f"{path}: made under protocol {record.protocol_version}, and this version derives labels as protocol "
            f"{PROTOCOL_VERSION} says; audit it with the version that made it"
        )
    if record.splits is None or record.provenance is None:
        raise ConfigError(f"{path}: the run failed before its labels were chosen ({record.error}); nothing to audit")
    try:
        config = RunConfig.model_validate(record.cell.config)
    except ValidationError as error:
        mistake = error.errors()[0]
        raise ConfigError(
            f"{path}: its configuration is none of this version ({'.'.join(map(str, mistake['loc']))}: "
            f"{mistake['msg']}); audit it with the version that made it"
        ) from None
    images = load(config.data.dataset, data_root, image_size=config.data.image_size)
    data = DeviceData.from_images(images, torch.device("cpu")).told_apart(config.data)
    splits = data.splits(config)
    digests = splits.digests()
    steps = _steps(record)
    name = make_cell(record.cell.arm, record.cell.levels, config).cell_id
    return Audit(
        record=record,
        path=path,
        config=config,
        facts=(
            *(Fact(f"{kind} images", getattr(record.splits, f"{kind}_digest"), digests[kind]) for kind in SETS),
            Fact("label budget", str(record.splits.num_labels), str(splits.num_labels)),
            Fact("data set", record.provenance.dataset_sha256, data.sha256),
            Fact("configuration", record.config_digest, config.digest()),
            Fact("run id", record.cell.cell_id, name),  # ties the seeds and options to the name of the run
        ),
        splits=splits,
        # A complete run without a step is that of a method which is fitted to all its labels at once.
        used=splits.labeled if record.status == "complete" and not steps else labels_read(data, splits, config, steps),
        steps=steps,
        class_names=tuple(images.class_names[label] for label in images.train_labels.tolist()),
    )


def labels_read(data: DeviceData, splits: Splits, config: RunConfig, steps: int) -> Indices:
    """Sorted ids of the images whose label the first `steps` steps read, by drawing their batches again.

    The batches are given every image's id in place of its label, so that they say themselves which they show.
    """
    ids = torch.arange(len(data.labels))
    uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
    batches = Batches(data.images, ids, splits, config, uses_unlabeled=uses_unlabeled)
    seen = np.zeros(len(ids), dtype=bool)
    for step in range(steps):
        batch = batches(step)
        seen[batch.labels[batch.labeled_mask == 1].numpy()] = True
    return np.flatnonzero(seen).astype(np.int64)


def _steps(record: RunRecord) -> int:
    """Steps known to have been done: all, those to the divergence, or those to the last evaluation before a failure."""
    last = record.curves[-1].step if record.curves else 0
    return last if record.diverged_step is None else max(last, record.diverged_step)
