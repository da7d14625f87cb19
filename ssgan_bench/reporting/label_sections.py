"""How many labels a run has really used: shown where a study varies the label protocol, whose point that number is."""

from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure as Drawing

from ssgan_bench.reporting import figures, label_leak
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Block, Figure, Figures, Section, Table, Text
from ssgan_bench.reporting.drawing import STYLE, add_legend, legend_height, line_style, new_panel, padded, short
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.findings import PROTOCOL_KEY
from ssgan_bench.reporting.frames import Condition, condition_of, conditions, curve_means, single_seed
from ssgan_bench.reporting.palette import looks
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import condition_text, counted, number, range_text

if TYPE_CHECKING:
    from ssgan_bench.reporting.sections import Parts

MOST_PANELS = 4
CSV = "tables/labels_used.csv"


def varies_label_protocol(analysis: Analysis) -> bool:
    """Tell whether arms or levels of the study differ in which labels a run may use."""
    study = analysis.evidence.study
    protocols = {str(config.get(PROTOCOL_KEY)) for config in study.arm_configs.values()}
    return len(protocols) > 1 or PROTOCOL_KEY in keys_of(analysis)


def labels_used(analysis: Analysis, parts: "Parts") -> Section:
    """Show the distinct labels used so far against epochs, beside the nominal number."""
    study, title = analysis.evidence.study, "Labels really used"
    frame = curve_means(analysis.evidence)
    frame = frame[frame["name"] == "labels_used"]
    if frame.empty:
        return Section("labels", title, (Text("No complete run has counted its labels."),))
    nominal = _nominal(analysis)
    columns = ["arm", *keys_of(analysis), "nominal_labels", "training_images", "step", "epoch"]
    columns += ["labels_used", "low", "high", "n"]
    rows = []
    for row in frame.to_dict("records"):
        num_labels, num_train = nominal[row["arm"], row["condition"]]
        sizes = {"nominal_labels": num_labels, "training_images": num_train, "labels_used": row["mean"]}
        point = {name: row[name] for name in ("arm", "step", "epoch", "low", "high", "n")}
        rows.append(point | levels_of(row["condition"], analysis) | sizes)
    parts.csv[CSV] = csv_text(columns, rows)
    chosen = figures.spread(conditions(study), MOST_PANELS)
    panels = []
    for i, condition in enumerate(chosen):
        own = frame[[c == condition for c in frame["condition"]]]
        name = "labels" if len(chosen) == 1 else f"labels_{i + 1}"
        where = condition_text(condition, study.factors)
        budgets = sorted({nominal[arm, condition][0] for arm in own["arm"]})
        parts.drawings[name] = partial(_draw, analysis, own, budgets, where)
        panels.append(Figure(name, f"distinct labels used against epochs{f'; {where}' if where else ''}"))
    left_out = len(conditions(study)) - len(chosen)
    caption = (
        "Distinct images whose labels training has used so far; dotted: the nominal number. "
        "Arms that draw the same labels coincide."
        + (
            ""
            if single_seed(study)
            else f" Line: mean over complete runs; band: 95 % t interval, n = {range_text(frame['n'].tolist())} "
            f"{analysis.unit_noun}s."
        )
        + (f" {counted(left_out, 'further condition')} only in the CSV." if left_out else "")
    )
    blocks: list[Block] = [Figures(tuple(panels), caption, CSV), _table(analysis, frame, nominal)]
    if analysis.leaks and not single_seed(study):
        blocks.append(label_leak.table(analysis, parts.csv))
    return Section("labels", title, tuple(blocks))


def _nominal(analysis: Analysis) -> dict[tuple[str, Condition], tuple[float, float]]:
    """(label budget, size of the training set) by arm and condition, means over the runs that recorded them."""
    study, runs = analysis.evidence.study, analysis.evidence.runs
    where = {cell.cell_id: (cell.arm, condition_of(cell.levels, study.factors)) for cell in study.cells}
    found: dict[tuple[str, Condition], list[tuple[float, float]]] = {}
    known = runs[runs["num_labels"].notna()]
    for cell_id, num_labels, rate in zip(known["cell_id"], known["num_labels"], known["labeled_rate"], strict=True):
        found.setdefault(where[cell_id], []).append((float(num_labels), round(float(num_labels) / float(rate))))
    return {key: (sum(a for a, _ in v) / len(v), sum(b for _, b in v) / len(v)) for key, v in found.items()}


def _table(analysis: Analysis, frame: pd.DataFrame, nominal: dict[tuple[str, Condition], tuple[float, float]]) -> Table:
    study = analysis.evidence.study
    rows = []
    for arm in study.arms:
        for condition in conditions(study):
            here = zip(frame["arm"], frame["condition"], strict=True)
            own = frame[[pair == (arm.name, condition) for pair in here]]
            if own.empty:
                continue
            last = own.sort_values("step").to_dict("records")[-1]
            budget, num_train = nominal[arm.name, condition]
            used = float(last["mean"])
            shares = (f"{number(used / budget, 1)} ×", f"{number(100 * used / num_train, 1)} %")
            texts = (number(budget, 0), number(used, 0), *shares, number(float(last["epoch"]), 1))
            rows.append((arm.label, *texts_of(condition), *texts))
    labels = tuple(factor.label for factor in study.factors)
    heads = ("nominal labels", "labels used", "of the nominal", "of all training labels", "epochs")
    caption = "Distinct labels used by the end of training, mean over complete runs, beside the nominal number."
    return Table(("arm", *labels, *heads), tuple(rows), caption, CSV, left=1 + len(labels))


def _draw(analysis: Analysis, own: pd.DataFrame, budgets: list[float], title: str) -> Drawing:
    study = analysis.evidence.study
    style = looks([arm.name for arm in study.arms])
    present = set(own["arm"])
    entries = [(arm.label, style[arm.name]) for arm in study.arms if arm.name in present]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=2.8 + legend_height([label for label, _ in entries]))
        for arm in study.arms:
            curve, look = own[own["arm"] == arm.name].sort_values("step"), style[arm.name]
            if len(curve):
                axes.plot(curve["epoch"], curve["mean"], **line_style(look), marker=look.marker, markersize=4)
                axes.fill_between(
                    curve["epoch"], curve["low"], curve["high"], color=look.color, alpha=0.15, linewidth=0
                )
        for budget in budgets:
            axes.axhline(budget, color="#222222", linewidth=0.9, linestyle=":", zorder=1)
        highest = max(float(own[["mean", "high"]].max().max()), *budgets)
        axes.set_ylim(*padded(0.0, highest, floor=0.0))
        axes.set_ylabel("distinct labels used")
        axes.set_xlabel("epochs")
        if title:
            axes.set_title(short(title, 56), loc="left")
        add_legend(figure, entries, marker=True)
    return figure
