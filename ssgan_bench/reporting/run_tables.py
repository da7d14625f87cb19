"""The tables about the runs themselves: lost runs, times, splits, environment, configuration; see `tables`."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ssgan_bench.records.schema import ArmInfo
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Table
from ssgan_bench.reporting.evidence import csv_text, is_of_networks
from ssgan_bench.reporting.frames import condition_of, conditions, has_result
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import NONE, counted, listed, range_text


def problems(analysis: Analysis) -> tuple[Table, str]:
    """Failed, diverged, missing and unmeasured runs, one row each, and the same as CSV."""
    study = analysis.evidence.study
    runs = analysis.evidence.runs
    rows, records = [], []
    lost = ~has_result(runs, study.metric)
    columns = ("status", "diverged_step", "error", "model_seed", "split_seed", "cell_id")
    for i, cell in enumerate(study.cells):
        if not lost.iloc[i]:
            continue
        row = {column: runs[column].iloc[i] for column in columns}
        reason = str(row["error"])
        if row["status"] == "diverged":
            reason = "a loss stopped being finite"
            if not math.isnan(row["diverged_step"]):
                reason += f" at step {int(row['diverged_step'])}"
        elif row["status"] == "missing":
            damaged = f"{cell.cell_id}.json" in study.damaged
            reason = "its record file cannot be read or was changed" if damaged else "not run yet, or it did not end"
        elif row["status"] == "complete":
            reason = f"its record has no {study.metric}"
        condition = condition_of(cell.levels, study.factors)
        texts = (analysis.label(cell.arm), *texts_of(condition), str(row["status"]), reason)
        rows.append((*texts, cell.cell_id, str(cell.split_seed), str(cell.model_seed)))
        records.append(
            {"arm": cell.arm, **cell.levels, "status": row["status"], "reason": reason}
            | {"split_seed": cell.split_seed, "model_seed": cell.model_seed, "cell_id": cell.cell_id}
        )
    labels = tuple(f.label for f in study.factors)
    heads = ("arm", *labels, "status", "reason", "cell", "split seed", "model seed")
    table = Table(heads, tuple(rows), "Planned runs without a result.", "tables/problems.csv", left=3 + len(labels))
    keys = ["arm", *keys_of(analysis), "status", "reason", "split_seed", "model_seed", "cell_id"]
    return table, csv_text(keys, records)


def _quantiles(series: pd.Series, decimals: int) -> str:
    known = series.dropna()
    if not len(known):
        return NONE
    low, median, high = (f"{float(known.quantile(q)):,.{decimals}f}" for q in (0, 0.5, 1))
    return median if low == high else f"{median} [{low}–{high}]"


TIMES = ("step_time_ms", "images_per_second", "warmup_seconds", "train_seconds", "evaluation_seconds", "cpu_seconds")


def timing(analysis: Analysis) -> tuple[Table, str]:
    """Time per run by arm and device: median [smallest–largest]; the CSV also by condition."""
    study = analysis.evidence.study
    runs = analysis.evidence.runs[analysis.evidence.runs["status"] == "complete"].copy()
    runs["total_seconds"] = runs[["setup_seconds", "warmup_seconds", "train_seconds", "evaluation_seconds"]].sum(
        axis=1, skipna=False
    )
    runs["where"] = [
        f"{device} ({name}), {counted(int(threads), 'thread')}" if device else "unknown"
        for device, name, threads in zip(runs["device"], runs["device_name"], runs["num_threads"], strict=True)
    ]
    places = sorted(set(runs["where"]))
    several = len(places) > 1
    on = "" if several else f", on {listed(places)}"
    shown = (
        *(("step_time_ms", 1), ("images_per_second", 0), ("train_seconds", 1), ("total_seconds", 1)),
        *(("cpu_seconds", 1), ("peak_memory_mib", 0)),
    )
    memory = (
        "Memory on a CPU is the most that was resident during the run, with libraries and data set."
        if runs["cpu_seconds"].notna().any()
        else "Memory on a CPU is the most that the worker process had used so far, over all its runs."
    )
    rows, records = [], []
    for arm in study.arms:
        mine = runs[runs["arm"] == arm.name]
        for where in sorted(set(mine["where"])):
            there = mine[mine["where"] == where]
            figures = [_quantiles(there[name], decimals) for name, decimals in shown]
            rows.append((arm.label, *([where] if several else []), *figures, str(len(there))))
            for condition in conditions(study):
                ids = {cell.cell_id for cell in study.cells if condition_of(cell.levels, study.factors) == condition}
                group = there[there["cell_id"].isin(ids)]
                if len(group):
                    medians = {name: float(group[name].median()) for name in (*TIMES, "total_seconds")}
                    identity = {"arm": arm.name, **levels_of(condition, analysis), "device": where}
                    records.append(identity | {"runs": len(group)} | medians)
    table = Table(
        (
            "arm",
            *(["device"] if several else []),
            "ms per step",
            "images/s",
            "training, s",
            "whole run, s",
            "CPU, s",
            "peak memory, MiB",
            "runs",
        ),
        tuple(rows),
        f"Median [smallest–largest] over complete runs at all conditions{on}. Runs may have shared the machine "
        f"with others: this says what a run cost, not which method is faster. {memory}",
        "tables/timing.csv",
        left=2 if several else 1,
    )
    return table, csv_text(["arm", *keys_of(analysis), "device", "runs", *TIMES, "total_seconds"], records)


def splits(analysis: Analysis) -> tuple[Table, str]:
    """Sizes of the index sets by condition, and how many different labeled sets there were."""
    study, runs = analysis.evidence.study, analysis.evidence.runs
    sizes = ("num_labels", "labeled_rate", "num_unlabeled", "num_validation", "num_test")
    rows, records = [], []
    for condition in conditions(study):
        ids = {c.cell_id for c in study.cells if condition_of(c.levels, study.factors) == condition}
        here = runs[runs["cell_id"].isin(ids)]
        texts = [range_text([float(x) for x in here[name]], 4 if name == "labeled_rate" else 0) for name in sizes]
        distinct = {name: here.loc[here[name] != "", name].nunique() for name in ("labeled_digest", "test_digest")}
        rows.append((*texts_of(condition), *texts, *(str(n) for n in distinct.values())))
        records.append(
            levels_of(condition, analysis)
            | {f"{name}_{f}": getattr(here[name], f)() for name in sizes for f in ("min", "max")}
            | {f"distinct_{name}s": n for name, n in distinct.items()}
        )
    heads = ("labels", "labeled rate", "unlabeled", "validation", "test", "labeled sets", "test sets")
    columns = [*keys_of(analysis), *(f"{name}_{f}" for name in sizes for f in ("min", "max"))]
    columns += ["distinct_labeled_digests", "distinct_test_digests"]
    labels = tuple(f.label for f in study.factors)
    caption = "Images in each set, and the number of different sets over all seeds and arms (by SHA-256)."
    table = Table((*labels, *heads), tuple(rows), caption, "tables/splits.csv", left=len(labels))
    return table, csv_text(columns, records)


ENVIRONMENT = (
    *("ssgan_bench", "commit", "device", "device_name", "num_threads", "python", "torch", "torchvision"),
    *("optuna", "platform", "dataset_sha256"),
)


def environment(analysis: Analysis) -> tuple[Table, str]:
    """Every distinct value of the runs' provenance with the number of runs."""
    runs = analysis.evidence.runs
    rows, records = [], []
    for name in ENVIRONMENT:
        counts: dict[str, int] = {}
        for value in runs.loc[runs["device"].notna() & (runs["device"] != ""), name]:
            text = f"{value:g}" if isinstance(value, float) and not math.isnan(value) else str(value or "unknown")
            counts[text] = counts.get(text, 0) + 1
        for value, n in sorted(counts.items()):
            rows.append((name, value, str(n)))
            records.append({"what": name, "value": value, "runs": n})
    table = Table(
        ("what", "value", "runs"),
        tuple(rows),
        "With what the runs were made.",
        "tables/environment.csv",
        left=2,
    )
    return table, csv_text(["what", "value", "runs"], records)


def _config_text(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(_config_text(item) for item in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _concerns(arm: ArmInfo, key: str) -> bool:
    """Whether an arm has a say in what a key is; one without networks has none in how networks are trained."""
    return arm.kind != "classical" or not is_of_networks(key)


def configuration(analysis: Analysis) -> tuple[Table, Table, str]:
    """The configuration keys that differ between arms, those that all arms share, and both as CSV."""
    study = analysis.evidence.study
    arms = [arm.name for arm in study.arms]
    configs = study.arm_configs
    keys = sorted({key for config in configs.values() for key in config})
    absent = object()
    classical = [arm for arm in study.arms if arm.kind == "classical"]
    differing, shared = [], []
    for key in keys:
        found = [configs.get(arm, {}).get(key, absent) for arm in arms]
        texts = tuple(NONE if value is absent else _config_text(value) for value in found)
        concerned = [text for arm, text in zip(study.arms, texts, strict=True) if _concerns(arm, key)]
        if len(set(concerned)) > 1:
            differing.append((key, *texts))
        else:
            shared.append((key, concerned[0]))
    records: Iterable[Mapping[str, Any]] = [
        {"key": key, **{arm: _config_text(configs[arm][key]) for arm in arms if key in configs.get(arm, {})}}
        for key in keys
    ]
    labels = tuple(arm.label for arm in study.arms)
    note = "Seeds and factors, which vary within an arm, are not listed."
    if any(NONE in texts for texts in differing):
        note += f" {NONE}: no option of the arm's method, or a newer one at its default."
    names = listed([arm.label for arm in classical])
    without = f" Those of networks, optimizer and training steps do not concern {names}." if classical else ""
    return (
        Table(
            ("key", *labels),
            tuple(differing),
            f"Keys in which the arms differ. {note}",
            "tables/config.csv",
            left=1 + len(labels),
        ),
        Table(("key", "value"), tuple(shared), f"Keys that all arms share.{without}", "tables/config.csv", left=2),
        csv_text(["key", *arms], records),
    )
