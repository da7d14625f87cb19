"""The tables of a report: each one as rendered text (`Table`) and as numbers (CSV text)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ssgan_bench.reporting.answer import Analysis
from ssgan_bench.reporting.document import Table
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.frames import Comparison, Condition, condition_of, conditions, has_result
from ssgan_bench.reporting.wording import (
    NONE,
    condition_text,
    counted,
    estimate_text,
    level_text,
    number,
    p_text,
    range_text,
)


def _levels(condition: Condition, analysis: Analysis) -> dict[str, Any]:
    return dict(zip((f.key for f in analysis.evidence.study.factors), condition, strict=True))


def _keys(analysis: Analysis) -> list[str]:
    return [factor.key for factor in analysis.evidence.study.factors]


def _texts(condition: Condition) -> tuple[str, ...]:
    return tuple(level_text(level) for level in condition)


def main_table(analysis: Analysis) -> Table:
    """Mean metric with interval and n: one row per arm, one column per condition."""
    study, unit = analysis.evidence.study, analysis.unit
    found = {(m.arm, m.condition): m for m in analysis.means}
    shown = conditions(study)
    rows = []
    for arm in study.arms:
        cells = [arm.label]
        for c in shown:
            mean = found.get((arm.name, c))
            if mean is None:
                cells.append(NONE)
            else:
                missing = "" if mean.estimate.n == mean.planned else f" of {mean.planned}"
                cells.append(f"{estimate_text(mean.estimate, unit)} (n={mean.estimate.n}{missing})")
        rows.append(tuple(cells))
    heads = [condition_text(c, study.factors) if study.factors else unit.axis for c in shown]
    with_interval = any(not math.isnan(m.estimate.low) for m in analysis.means)
    what = "mean [95 % t interval] over seeds" if with_interval else "no interval"
    head = f"{unit.axis[0].upper()}{unit.axis[1:]}"
    caption = f"{head}: {what}; n is the number of complete runs. Lower is better."
    return Table(("arm", *heads), tuple(rows), caption, "tables/main.csv")


def main_csv(analysis: Analysis) -> str:
    """The main table as numbers, rates in [0, 1]."""
    columns = ["arm", *_keys(analysis), "metric", "mean", "low", "high", "sd", "n", "planned"]
    return csv_text(
        columns,
        (
            {"arm": m.arm, **_levels(m.condition, analysis), "metric": analysis.evidence.study.metric}
            | {**vars(m.estimate), "planned": m.planned}
            for m in analysis.means
        ),
    )


def differences_table(analysis: Analysis) -> Table:
    """Paired differences to the baseline with interval, p values and effect size."""
    study, unit = analysis.evidence.study, analysis.unit
    rows = [
        (
            analysis.label(row.arm),
            *_texts(row.condition),
            row.verdict,
            estimate_text(row.difference, unit, sign=True),
            p_text(row.p),
            p_text(row.p_holm),
            number(row.g_z, 2, sign=True),
            str(row.difference.n),
        )
        for row in analysis.comparisons
    ]
    in_unit = f" in{unit.difference}" if unit.difference else ""
    heads = ("difference", "p", "p (Holm)", "g_z", "pairs")
    return Table(
        ("arm", *(f.label for f in study.factors), "verdict", *heads),
        tuple(rows),
        f"Difference{in_unit}: arm minus {analysis.label(study.baseline)}, paired by seed, negative is "
        "better, with its 95 % t interval (not corrected); exact two-sided sign-flip p; "
        f"after Holm over all {len(rows)} comparisons; Hedges' g_z. Verdict: at 5 % after Holm.",
        "tables/differences.csv",
        left=2 + len(study.factors),
    )


def _difference_row(row: Comparison, analysis: Analysis, reading: str) -> dict[str, Any]:
    identity = {"reading": reading, "arm": row.arm, **_levels(row.condition, analysis)}
    tests = {"p": row.p, "p_holm": row.p_holm, "g_z": row.g_z, "verdict": row.verdict}
    return identity | vars(row.difference) | tests


def differences_csv(analysis: Analysis) -> str:
    """The paired differences as numbers, in both readings of lost runs where there are any."""
    keys = _keys(analysis)
    columns = ["reading", "arm", *keys, "mean", "low", "high", "sd", "n", "p", "p_holm", "g_z", "verdict"]
    rows = [_difference_row(row, analysis, "dropped") for row in analysis.comparisons]
    rows += [_difference_row(row, analysis, "counted_as_worst") for row in analysis.pessimistic]
    return csv_text(columns, rows)


def readings_table(analysis: Analysis) -> Table:
    """The comparisons that lost runs touch, with these runs dropped and counted as the worst case."""
    study, unit = analysis.evidence.study, analysis.unit
    rows = []
    for dropped, worst in zip(analysis.comparisons, analysis.pessimistic, strict=True):
        if dropped.difference.n != worst.difference.n or dropped.verdict != worst.verdict:
            sides = ((estimate_text(r.difference, unit, sign=True), p_text(r.p_holm)) for r in (dropped, worst))
            verdicts = dict.fromkeys((dropped.verdict, worst.verdict))
            cells = (analysis.label(dropped.arm), *_texts(dropped.condition), " → ".join(verdicts))
            rows.append((*cells, *(text for side in sides for text in side)))
    worst_text = f"{number(unit.scale * analysis.worst_case, unit.decimals)}{unit.suffix}"
    return Table(
        (
            *("arm", *(f.label for f in study.factors), "verdict"),
            *("difference, dropped", "p (Holm)", "difference, as worst", "p (Holm)"),
        ),
        tuple(rows),
        "Comparisons with lost runs, read twice: failed and diverged runs dropped, and each counted as "
        f"{worst_text} (chance level where it is known, else the worst value measured). Missing runs are "
        "left out of both. Holm is over the whole family in each reading.",
        "tables/differences.csv",
        left=2 + len(study.factors),
    )


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
            reason = "its record file cannot be read" if damaged else "not run yet, or it did not end"
        elif row["status"] == "complete":
            reason = f"its record has no {study.metric}"
        condition = condition_of(cell.levels, study.factors)
        texts = (analysis.label(cell.arm), *_texts(condition), str(row["status"]), reason)
        rows.append((*texts, cell.cell_id, str(cell.split_seed), str(cell.model_seed)))
        records.append(
            {"arm": cell.arm, **cell.levels, "status": row["status"], "reason": reason}
            | {"split_seed": cell.split_seed, "model_seed": cell.model_seed, "cell_id": cell.cell_id}
        )
    labels = tuple(f.label for f in study.factors)
    heads = ("arm", *labels, "status", "reason", "cell", "split seed", "model seed")
    table = Table(heads, tuple(rows), "Planned runs without a result.", "tables/problems.csv", left=4 + len(labels))
    keys = ["arm", *_keys(analysis), "status", "reason", "split_seed", "model_seed", "cell_id"]
    return table, csv_text(keys, records)


def _quantiles(series: pd.Series, decimals: int) -> str:
    known = series.dropna()
    if not len(known):
        return NONE
    low, median, high = (f"{float(known.quantile(q)):,.{decimals}f}" for q in (0, 0.5, 1))
    return median if low == high else f"{median} [{low}–{high}]"


TIMES = ("step_time_ms", "images_per_second", "warmup_seconds", "train_seconds", "evaluation_seconds")


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
    shown = (("step_time_ms", 1), ("images_per_second", 0), ("train_seconds", 1), ("total_seconds", 1))
    rows, records = [], []
    for arm in study.arms:
        mine = runs[runs["arm"] == arm.name]
        for where in sorted(set(mine["where"])):
            there = mine[mine["where"] == where]
            figures = [_quantiles(there[name], decimals) for name, decimals in (*shown, ("peak_memory_mib", 0))]
            rows.append((arm.label, where, *figures, str(len(there))))
            for condition in conditions(study):
                ids = {cell.cell_id for cell in study.cells if condition_of(cell.levels, study.factors) == condition}
                group = there[there["cell_id"].isin(ids)]
                if len(group):
                    medians = {name: float(group[name].median()) for name in (*TIMES, "total_seconds")}
                    identity = {"arm": arm.name, **_levels(condition, analysis), "device": where}
                    records.append(identity | {"runs": len(group)} | medians)
    table = Table(
        (
            "arm",
            "device",
            "ms per step",
            "images/s",
            "training, s",
            "whole run, s",
            "peak memory, MiB",
            "runs",
        ),
        tuple(rows),
        "Median [smallest–largest] over complete runs at all conditions. Runs may have shared the machine "
        "with others: this says what a run cost, not which method is faster.",
        "tables/timing.csv",
        left=2,
    )
    return table, csv_text(["arm", *_keys(analysis), "device", "runs", *TIMES, "total_seconds"], records)


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
        rows.append((*_texts(condition), *texts, *(str(n) for n in distinct.values())))
        records.append(
            _levels(condition, analysis)
            | {f"{name}_{f}": getattr(here[name], f)() for name in sizes for f in ("min", "max")}
            | {f"distinct_{name}s": n for name, n in distinct.items()}
        )
    heads = ("labels", "labeled rate", "unlabeled", "validation", "test", "labeled sets", "test sets")
    columns = [*_keys(analysis), *(f"{name}_{f}" for name in sizes for f in ("min", "max"))]
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


def configuration(analysis: Analysis) -> tuple[Table, Table, str]:
    """The configuration keys that differ between arms, those that all arms share, and both as CSV."""
    study = analysis.evidence.study
    arms = [arm.name for arm in study.arms]
    configs = study.arm_configs
    keys = sorted({key for config in configs.values() for key in config})
    absent = object()
    differing, shared = [], []
    for key in keys:
        found = [configs.get(arm, {}).get(key, absent) for arm in arms]
        texts = tuple(NONE if value is absent else _config_text(value) for value in found)
        if len(set(texts)) > 1:
            differing.append((key, *texts))
        else:
            shared.append((key, texts[0]))
    records: Iterable[Mapping[str, Any]] = [
        {"key": key, **{arm: _config_text(configs[arm][key]) for arm in arms if key in configs.get(arm, {})}}
        for key in keys
    ]
    labels = tuple(arm.label for arm in study.arms)
    note = "Seeds and factors, which vary within an arm, are not listed."
    return (
        Table(
            ("key", *labels),
            tuple(differing),
            f"Keys in which the arms differ. {note}",
            "tables/config.csv",
            left=1 + len(labels),
        ),
        Table(("key", "value"), tuple(shared), "Keys that all arms share.", "tables/config.csv", left=2),
        csv_text(["key", *arms], records),
    )


def plain(table: Table) -> str:
    """Write a table as aligned plain text for a terminal."""
    lines: Sequence[Sequence[str]] = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i < table.left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
