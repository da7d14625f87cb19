"""Evidence of a report: `study.json`, `runs.csv`, `curves.csv` and `samples/`, made from the records.

`sample_quality.csv` is there only where generated images were measured, `looks.csv` where the study is in the
table of looks. Everything else in a report is computed from this folder alone, so a published report can be checked and
rendered again without the records.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from ssgan_bench.config import ConfigError, Frozen, flatten
from ssgan_bench.records.looks import NAME as LOOKS
from ssgan_bench.records.looks import Look, known_looks, read_looks
from ssgan_bench.records.schema import (
    ArmInfo,
    FactorInfo,
    PublishedValue,
    RunRecord,
    SampleQuality,
    StudyPlan,
)
from ssgan_bench.records.store import RecordStore
from ssgan_bench.reporting.evidence_columns import CURVE_COLUMNS, METRICS, RUN_COLUMNS, SAMPLE_COLUMNS, SINCE_PROTOCOL_3

MAX_PROGRESSION_BYTES = 400_000
"""Grids of one arm are shown for every evaluation only up to this size in all; else the last one alone."""


class EvidenceCell(Frozen):
    """A planned cell without its full configuration."""

    arm: str
    levels: dict[str, int | float | str | bool]
    split_seed: int
    model_seed: int
    cell_id: str


class StudyEvidence(Frozen):
    """The study as planned; see `StudyPlan` for the shared fields."""

    schema_version: Literal[1] = 1
    protocol_version: str
    study: str
    preset: str
    question: str
    expectation: str
    metric: str
    baseline: str
    arms: tuple[ArmInfo, ...]
    factors: tuple[FactorInfo, ...]
    family: tuple[int | float | str | bool, ...]
    yardsticks: tuple[str, ...] = ()
    margin: float | None = None
    seeds: tuple[int, ...]
    sample_quality: bool = False
    published: tuple[PublishedValue, ...] = ()
    cells: tuple[EvidenceCell, ...]
    arm_configs: dict[str, dict[str, Any]]
    """Configuration of each arm by dotted key, without seeds and factors; a key that varies has a list. An arm that
    trains no networks lacks the keys that do not concern it."""
    samples: dict[str, tuple[str, ...]]
    """Sample grids of each arm that has any: file names in `samples/`, oldest evaluation first."""
    damaged: tuple[str, ...]
    """Names of record files that could not be read; their cells count as missing."""

    @property
    def evaluated_on(self) -> str:
        """What the metric is of: "test" images or, where settings were being chosen, "validation" images."""
        return str(self.arm_configs.get(self.baseline, {}).get("data.evaluation_set", "test"))


@dataclass(frozen=True)
class Evidence:
    """A read evidence folder.

    `runs` has one row per planned cell in plan order; `curves` is long: one row per run, step and quantity;
    `sample_quality` has one row per run whose generated images were measured.
    """

    folder: Path
    study: StudyEvidence
    runs: pd.DataFrame
    curves: pd.DataFrame
    sample_quality: pd.DataFrame
    looks: tuple[Look, ...] = ()
    """Rows of the table of looks for this study and preset, as it was when the evidence was written."""


FLAGS = {"True": True, "False": False, "": None}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def guard(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; `unguard` undoes it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def unguard(value: Any) -> Any:
    """Remove the apostrophe that `guard` put there."""
    return value[1:] if isinstance(value, str) and value.startswith("'") else value


def _csv_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # Readers disagree about a bare carriage return and a NUL inside a field.
    return guard(value).replace("\r", " ").replace("\0", "") if isinstance(value, str) else value


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as CSV: full float precision, empty for None and NaN, no text that acts as a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([guard(column) for column in columns])
    for row in rows:
        writer.writerow([_csv_value(row.get(column)) for column in columns])
    return out.getvalue()


def run_columns(study: StudyEvidence) -> list[str]:
    """Columns of `runs.csv`: the arm, one per factor, then the fixed ones."""
    return ["arm", *(factor.key for factor in study.factors), *RUN_COLUMNS]


def curve_columns(study: StudyEvidence) -> list[str]:
    """Columns of `curves.csv`: the arm, one per factor, then the fixed ones."""
    return ["arm", *(factor.key for factor in study.factors), *CURVE_COLUMNS]


def _run_row(cell: EvidenceCell, record: RunRecord | None) -> dict[str, Any]:
    identity = {"arm": cell.arm, **cell.levels, **cell.model_dump(exclude={"arm", "levels"})}
    if record is None:
        return identity | {"status": "missing"}
    parts = (record.training, record.splits, record.timing, record.provenance)
    return (
        {key: value for part in parts if part is not None for key, value in part.model_dump().items()}
        | {name: record.metrics.get(name) for name in METRICS}
        | record.model_dump(
            include={
                "config_digest",
                "status",
                "diverged_step",
                "error",
                "unreached_share",
                "protocol_version",
                "schema_version",
                "started_at",
            }
        )
        | identity
    )


def _curve_rows(cell: EvidenceCell, record: RunRecord) -> Iterable[dict[str, Any]]:
    identity = {
        "arm": cell.arm,
        **cell.levels,
        **cell.model_dump(exclude={"arm", "levels"}),
        "status": record.status,
    }
    for point in record.curves:
        labels: dict[str, float] = {"labels_used": point.labels_used}
        for kind, values in (("loss", point.losses), ("validation", point.validation), ("labels", labels)):
            for name, value in values.items():
                yield identity | {
                    "step": point.step,
                    "epoch": point.epoch,
                    "kind": kind,
                    "name": name,
                    "value": value,
                }


def _sample_row(cell: EvidenceCell, quality: SampleQuality) -> dict[str, Any]:
    return {
        "arm": cell.arm,
        **cell.levels,
        **cell.model_dump(exclude={"arm", "levels"}),
        **quality.model_dump(exclude={"generated", "floor"}),
        **quality.generated.model_dump(),
        **{f"floor_{name}": value for name, value in quality.floor.model_dump().items()},
    }


def _arm_configs(plan: StudyPlan) -> dict[str, dict[str, Any]]:
    hidden = {"split_seed", "model_seed", *(factor.key for factor in plan.factors)}
    configs: dict[str, dict[str, Any]] = {}
    for arm in plan.arms:
        seen: dict[str, list[Any]] = {}
        for cell in plan.cells:
            if cell.arm == arm.name:
                for key, value in flatten(cell.config).items():
                    concerns = key not in hidden and (arm.kind != "classical" or not is_of_networks(key))
                    if concerns and value not in (values := seen.setdefault(key, [])):
                        values.append(value)
        configs[arm.name] = {key: values[0] if len(values) == 1 else values for key, values in seen.items()}
    return configs


def is_of_networks(key: str) -> bool:
    """Whether an option is without meaning for a method without networks and steps."""
    return key.split(".")[0] in ("network", "optimizer", "train") and key != "train.num_threads"


def _grids(folder: Path, record: RunRecord) -> list[Path]:
    """Find a record's sample grids, without paths that leave the run folder, are absent or are no PNG."""
    root = folder.resolve()
    files = [(folder / name).resolve() for name in record.sample_files]
    return [f for f in files if f.is_relative_to(root) and f.is_file() and f.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"]


def _largest(factor: FactorInfo) -> int | float | str | bool:
    numbers = [level for level in factor.levels if isinstance(level, int | float)]
    return max(numbers) if len(numbers) == len(factor.levels) else factor.levels[-1]


def _samples(plan: StudyPlan, records: Mapping[str, RunRecord], folder: Path) -> dict[str, tuple[str, list[Path]]]:
    """Choose each arm's grids by rule, not by looks: lowest model seed, largest level of every factor."""
    last = {factor.key: _largest(factor) for factor in plan.factors}
    chosen: dict[str, tuple[str, list[Path]]] = {}
    for cell in sorted(plan.cells, key=lambda cell: (cell.model_seed, cell.split_seed)):
        if cell.arm in chosen or cell.levels != last or cell.cell_id not in records:
            continue
        if grids := _grids(folder, records[cell.cell_id]):
            small = sum(grid.stat().st_size for grid in grids) <= MAX_PROGRESSION_BYTES
            chosen[cell.arm] = (cell.cell_id, grids if small else grids[-1:])
    return chosen


def write_evidence(store: RecordStore, folder: Path) -> None:
    """Write the evidence of a run folder into the existing, empty `folder`.

    Raises:
        ConfigError: there is no plan, or the records were made under another protocol version than the plan.
    """
    plan = store.plan()
    if plan is None:
        raise ConfigError(f"{store.folder}: no plan.json there; run the study first")
    found = store.records()
    for record in found:
        if record.protocol_version != plan.protocol_version:
            raise ConfigError(
                f"{store.folder}/records/{record.cell.cell_id}.json: protocol {record.protocol_version}, "
                f"but the plan has {plan.protocol_version}; results of different protocols are not mixed: "
                "run the study into another folder"
            )
    planned = {cell.cell_id for cell in plan.cells}
    records = {record.cell.cell_id: record for record in found if record.cell.cell_id in planned}

    (folder / "samples").mkdir()
    samples: dict[str, tuple[str, ...]] = {}
    for arm, (cell_id, grids) in _samples(plan, records, store.folder).items():
        # The order number keeps the names unique and sorted whatever the files are called.
        names = tuple(f"{cell_id}_{k:03d}_{grid.stem}.png" for k, grid in enumerate(grids))
        for name, grid in zip(names, grids, strict=True):
            (folder / "samples" / name).write_bytes(grid.read_bytes())
        samples[arm] = names

    shared = plan.model_dump(exclude={"cells", "schema_version"})
    study = StudyEvidence(
        **(shared | {"arms": plan.arms, "factors": plan.factors}),
        cells=tuple(EvidenceCell(**cell.model_dump(exclude={"config"})) for cell in plan.cells),
        arm_configs=_arm_configs(plan),
        samples=samples,
        damaged=tuple(store.damaged()),
    )
    runs = [_run_row(cell, records.get(cell.cell_id)) for cell in study.cells]
    curves = [
        row for cell in study.cells if cell.cell_id in records for row in _curve_rows(cell, records[cell.cell_id])
    ]
    (folder / "study.json").write_bytes((study.model_dump_json(indent=1) + "\n").encode())
    (folder / "runs.csv").write_bytes((csv_text(run_columns(study), runs)).encode())
    (folder / "curves.csv").write_bytes((csv_text(curve_columns(study), curves)).encode())
    if looks := known_looks(plan.study, plan.preset):
        rows = (look.model_dump(mode="json") for look in looks)
        (folder / LOOKS).write_bytes(csv_text(list(Look.model_fields), rows).encode())
    qualities = ((cell, records[cell.cell_id].sample_quality) for cell in study.cells if cell.cell_id in records)
    if samples_measured := [_sample_row(cell, quality) for cell, quality in qualities if quality is not None]:
        columns = ["arm", *(factor.key for factor in study.factors), *SAMPLE_COLUMNS]
        (folder / "sample_quality.csv").write_bytes(csv_text(columns, samples_measured).encode())


def _read_csv(path: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    # Everything is read as text first: a hexadecimal id such as 12e4 must not become a number.
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in kinds if column not in frame.columns]
    if unknown := [column for column in missing if column not in SINCE_PROTOCOL_3]:
        raise ConfigError(f"{path}: no column {unknown[0]!r}; write the report again from the run folder")
    frame[missing] = ""
    for column, kind in kinds.items():
        try:
            if kind == "str":
                frame[column] = frame[column].map(unguard).astype(object)
            elif kind == "bool":
                frame[column] = pd.Series([FLAGS[text] for text in frame[column]], dtype=object)
            else:
                frame[column] = pd.Series(
                    [float(text) if text else float("nan") for text in frame[column]], dtype=float
                )
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"{path}, column {column!r}: {error}; write the report again from the run folder"
            ) from None
    return frame


def read_evidence(folder: Path) -> Evidence:
    """Read an evidence folder back, factor levels in the types that the study declared.

    Raises:
        ConfigError: a file is absent or not evidence of this version.
    """
    try:
        study = StudyEvidence.model_validate_json((folder / "study.json").read_bytes())
        runs = _read_csv(folder / "runs.csv", {"arm": "str", **RUN_COLUMNS})
        curves = _read_csv(folder / "curves.csv", {"arm": "str", **CURVE_COLUMNS})
        quality = pd.DataFrame(columns=pd.Index(["arm", *SAMPLE_COLUMNS]))
        looks = read_looks(folder / LOOKS) if (folder / LOOKS).exists() else ()
        if (folder / "sample_quality.csv").exists():
            quality = _read_csv(folder / "sample_quality.csv", {"arm": "str", **SAMPLE_COLUMNS})
    except (
        OSError,
        ValidationError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"{folder}: not the evidence folder of a report ({reason})") from None
    if study.factors and not set(study.family) & set(study.factors[0].levels):
        raise ConfigError(f"{folder / 'study.json'}: family: names no level of {study.factors[0].key}; correct it")
    if unknown := set(study.yardsticks) - {arm.name for arm in study.arms}:
        raise ConfigError(f"{folder / 'study.json'}: yardsticks: {min(unknown)!r} is no arm; correct it")
    if study.yardsticks and not {arm.name for arm in study.arms} - {study.baseline, *study.yardsticks}:
        raise ConfigError(f"{folder / 'study.json'}: yardsticks: leave no arm to hold against them; correct it")
    levels = {cell.cell_id: cell.levels for cell in study.cells}
    if runs["cell_id"].tolist() != list(levels):
        raise ConfigError(f"{folder / 'runs.csv'}: not one row per cell of study.json, in its order; restore the file")
    for frame, name in ((runs, "runs.csv"), (curves, "curves.csv"), (quality, "sample_quality.csv")):
        if unknown := set(frame["cell_id"]) - set(levels):
            raise ConfigError(f"{folder / name}: cell {min(unknown)} is not planned in study.json")
        for factor in study.factors:
            frame[factor.key] = pd.Series([levels[i].get(factor.key) for i in frame["cell_id"]], dtype=object)
    return Evidence(folder, study, runs, curves, quality, looks)
