"""The columns of the CSV files of the evidence, after the arm and the factors, and what kind of value each has."""

from ssgan_bench.config import Frozen
from ssgan_bench.records.schema import Provenance, SampleDistances, SampleQuality, SplitInfo, Timing, TrainingSigns


def _columns(model: type[Frozen]) -> dict[str, str]:
    """Column name -> "int", "float", "bool" or "str" of a flat record part."""
    kinds = {int: "int", float: "float", float | None: "float", bool: "bool", bool | None: "bool"}
    return {name: kinds.get(field.annotation, "str") for name, field in model.model_fields.items()}  # type: ignore[arg-type]


METRICS = ("error_rate", "nll", "ece")
RUN_COLUMNS: dict[str, str] = {
    "split_seed": "int",
    "model_seed": "int",
    "cell_id": "str",
    "config_digest": "str",
    "status": "str",
    "diverged_step": "int",
    "error": "str",
    **dict.fromkeys(METRICS, "float"),
    "unreached_share": "float",
    **_columns(TrainingSigns),
    **{name: kind for name, kind in _columns(SplitInfo).items() if name != "evaluated_on"},  # one for all runs
    **_columns(Timing),
    **_columns(Provenance),
    "protocol_version": "str",
    "schema_version": "int",
    "started_at": "str",
}
SINCE_PROTOCOL_3 = {"unreached_share", "cpu_seconds", *TrainingSigns.model_fields}
"""Columns that older evidence lacks: read as not measured."""
CURVE_COLUMNS: dict[str, str] = {
    "split_seed": "int",
    "model_seed": "int",
    "cell_id": "str",
    "status": "str",
    "step": "int",
    "epoch": "float",
    "kind": "str",
    "name": "str",
    "value": "float",
}
DISTANCES = tuple(SampleDistances.model_fields)
SAMPLE_COLUMNS: dict[str, str] = {
    "split_seed": "int",
    "model_seed": "int",
    "cell_id": "str",
    **{name: kind for name, kind in _columns(SampleQuality).items() if name not in ("generated", "floor")},
    **dict.fromkeys(DISTANCES, "float"),
    **{f"floor_{name}": "float" for name in DISTANCES},
}
