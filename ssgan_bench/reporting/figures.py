"""The figures of a report, each one panel of a phone's width: `draw_*` take numbers and return a `Figure`."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.drawing import (
    STYLE,
    Axis,
    add_legend,
    dodge,
    legend_height,
    line_style,
    new_panel,
    padded,
    plain_numbers,
    short,
)
from ssgan_bench.reporting.findings import Spread
from ssgan_bench.reporting.frames import ALPHA, Condition, Values, conditions
from ssgan_bench.reporting.palette import Look, looks
from ssgan_bench.reporting.variance import Component
from ssgan_bench.reporting.wording import condition_text, level_text, possible

T = TypeVar("T")
WIDE = 10.0
"""Ratio of the largest to the smallest mean above which the scale is logarithmic."""


def draw_main(analysis: Analysis, found: Values, panel: Condition, limits: tuple[float, float]) -> Figure:
    """Draw the metric against the first factor: mean with t interval per arm, single runs as faint points.

    Args:
        analysis: the means.
        found: the single runs.
        panel: levels of all factors but the first.
        limits: vertical range in stored units, shared by all panels.
    """
    study, unit = analysis.evidence.study, analysis.unit
    style = looks([arm.name for arm in study.arms])
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=3.1 + legend_height([arm.label for arm in study.arms]))
        axis = Axis(study.factors[0])
        step = axis.dodge(1, len(study.arms)) - axis.dodge(0, len(study.arms)) or 0.1 * axis.gap
        for i, arm in enumerate(study.arms):
            look, shift = style[arm.name], axis.dodge(i, len(study.arms))
            own = [m for m in analysis.means if m.arm == arm.name and m.condition[1:] == panel and m.estimate.n]
            own.sort(key=lambda m: axis.at[m.condition[0]])
            x = [axis.at[m.condition[0]] + shift for m in own]
            for place, m in zip(x, own, strict=True):
                points = [unit.scale * value for value in found[arm.name, m.condition].values()]
                beside = [place + 0.4 * step] * len(points)  # under the interval they would hide it
                axes.plot(beside, points, look.marker, color=look.color, ms=2.8, alpha=0.35, mew=0)
                low, high = (unit.scale * bound for bound in possible(m.estimate, unit))
                axes.plot([place, place], [low, high], "_-", color=look.color, ms=5, lw=1.4, zorder=3)
            y = [unit.scale * m.estimate.mean for m in own]
            numeric = not isinstance(study.factors[0].levels[0], bool | str)
            axes.plot(
                x, y, **line_style(look, linestyle=line_style(look)["linestyle"] if numeric else "none", alpha=0.5)
            )
            axes.plot(x, y, look.marker, color=look.color, ms=4.8, mec="white", mew=0.5, zorder=4)
        axis.decorate(axes)
        if panel:
            axes.set_title(short(condition_text(panel, study.factors[1:]), 56), loc="left")
        low, high = (unit.scale * limit for limit in limits)
        if is_wide(analysis, limits):
            axes.set_yscale("log")
            plain_numbers(axes.yaxis)
            axes.set_ylim(low / 1.1, min(high * 1.1, unit.scale * unit.limits[1]))
            axes.set_ylabel(f"{unit.axis}, log scale")
        else:
            axes.set_ylim(*padded(low, high, *(unit.scale * limit for limit in unit.limits)))
            axes.set_ylabel(unit.axis)
        add_legend(figure, [(arm.label, style[arm.name]) for arm in study.arms], marker=True)
    return figure


def is_wide(analysis: Analysis, limits: tuple[float, float]) -> bool:
    """Whether the means span so much that a linear scale would hide the small ones, and nothing reaches zero."""
    means = [m.estimate.mean for m in analysis.means if m.estimate.n]
    return limits[0] > 0 and max(means) > WIDE * min(means)


def draw_dots(analysis: Analysis, found: Values, condition: Condition) -> Figure:
    """Draw the metric of every arm at one condition: one row per arm."""
    study, unit = analysis.evidence.study, analysis.unit
    style = looks([arm.name for arm in study.arms])
    own = {m.arm: m for m in analysis.means if m.condition == condition}
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=1.1 + 0.42 * len(study.arms))
        for row, arm in enumerate(study.arms):
            look = style[arm.name]
            points = [unit.scale * value for value in found[arm.name, condition].values()]
            below = [row + 0.24] * len(points)  # under the interval they would hide it
            axes.plot(points, below, look.marker, color=look.color, ms=3, alpha=0.4, mew=0)
            if arm.name in own and points:
                estimate = own[arm.name].estimate
                bounds = [unit.scale * bound for bound in possible(estimate, unit)]
                axes.plot(bounds, [row, row], color=look.color, linewidth=1.6, zorder=3)
                mean = [unit.scale * estimate.mean]
                axes.plot(mean, [row], look.marker, color=look.color, ms=6.5, mec="white", mew=0.6, zorder=4)
        if len(conditions(study)) > 1:
            axes.set_title(short(condition_text(condition, study.factors), 56), loc="left")
        _arm_rows(axes, [arm.label for arm in study.arms])
        low, high = axes.get_xlim()
        floor, ceiling = (unit.scale * limit for limit in unit.limits)
        if low < floor or high > ceiling:
            axes.set_xlim(*padded(low, high, floor, ceiling))
        axes.set_xlabel(unit.axis)
    return figure


def _arm_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [short(label, 24) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")


def draw_forest(analysis: Analysis) -> Figure:
    """Draw every paired difference with its interval, filled where it is shown after Holm; the margin is shaded."""
    study, unit = analysis.evidence.study, analysis.unit
    style = looks([arm.name for arm in study.arms])
    arms = list(dict.fromkeys(row.arm for row in analysis.comparisons))
    one_each = len(analysis.comparisons) == len(arms)
    with mpl.rc_context(STYLE):
        count = len(analysis.comparisons) + (0 if one_each else 0.8 * len(arms))
        figure, (axes,) = new_panel(height=1.3 + 0.24 * count)
        place, ticks, texts = 0.0, [], []
        for arm in arms:
            if not one_each:
                name = short(analysis.label(arm), 56).split("\n")[0]
                axes.text(
                    0.01,
                    place,
                    name,
                    transform=axes.get_yaxis_transform(),
                    fontsize=8,
                    weight="bold",
                    color="#222222",
                    va="center",
                    zorder=6,
                    bbox={"fc": "white", "ec": "none", "pad": 0.6},
                )
                place += 1
            for row in (r for r in analysis.comparisons if r.arm == arm):
                look, d = style[arm], row.difference
                if d.n:
                    low, high = (unit.scale * bound for bound in possible(d, unit, difference=True))
                    mean = unit.scale * d.mean
                    fill = look.color if row.decisive_p_holm <= ALPHA else "white"
                    pale = 1.0 if row.in_family else 0.45
                    axes.plot([low, high], [place, place], color=look.color, linewidth=1.6, alpha=pale)
                    axes.plot([mean], [place], look.marker, color="white", ms=5.5, mew=1.3, zorder=3)
                    points: dict[str, Any] = {"mfc": fill, "mec": look.color, "mew": 1.3, "ms": 5.5, "alpha": pale}
                    axes.plot([mean], [place], look.marker, **points, zorder=4)
                ticks.append(place)
                levels = ", ".join(level_text(level) for level in row.condition)
                texts.append(short(analysis.label(arm) if one_each else levels, 24))
                place += 1
            place += 0 if one_each else 0.6
        axes.axvline(0, color="#222222", linewidth=0.9, zorder=1)
        if study.margin is not None:
            axes.axvspan(-unit.scale * study.margin, unit.scale * study.margin, color="#eeeeee", linewidth=0, zorder=0)
        axes.set_yticks(ticks, texts)
        axes.set_ylim(place - 0.4, -0.7)
        axes.grid(False, axis="y")
        low, high = axes.get_xlim()
        most = unit.scale * (unit.limits[1] - unit.limits[0])
        axes.set_xlim(*padded(min(low, 0), max(high, 0), -most, most))
        label = f"difference in {unit.name}{f' ({unit.difference.strip()})' if unit.difference else ''}"
        axes.set_xlabel(short(label, 48))
        axes.set_title("← better than the baseline", loc="left", fontsize=8, color="#555555")
        axes.set_title("worse →", loc="right", fontsize=8, color="#555555")
        if study.factors and not one_each:
            axes.set_ylabel(short(", ".join(factor.label for factor in study.factors), 60))
    return figure


def draw_curves(
    analysis: Analysis,
    curves: pd.DataFrame,
    names: Sequence[tuple[str, str, str]],
    limits: dict[str, tuple[float, float]],
    title: str,
) -> Figure:
    """Draw curves over training steps, one axes per quantity: mean over seeds, t interval as a band.

    Args:
        analysis: the arms.
        curves: rows of `curve_means` at one condition.
        names: (kind, name, axis label) of each quantity; an error rate is drawn in percent.
        limits: vertical range of each name in stored units, shared by all panels.
        title: the condition in words; may be empty.
    """
    study = analysis.evidence.study
    style = looks([arm.name for arm in study.arms])
    present = set(curves.loc[curves["name"].isin([name for _, name, _ in names]), "arm"])
    entries = [(arm.label, style[arm.name]) for arm in study.arms if arm.name in present]
    height = 0.5 + (2.3 if len(names) == 1 else 1.45 * len(names)) + legend_height([label for label, _ in entries])
    with mpl.rc_context(STYLE):
        figure, all_axes = new_panel(len(names), height)
        for axes, (kind, name, label) in zip(all_axes, names, strict=True):
            scale = 100.0 if name == "error_rate" else 1.0
            for arm in study.arms:
                own = curves[(curves["arm"] == arm.name) & (curves["kind"] == kind) & (curves["name"] == name)]
                own = own.sort_values("step")
                look = style[arm.name]
                if list(own["step"]) == [0]:  # a method without steps is where it is from start to end
                    mean, low, high = (scale * own[end].iloc[0] for end in ("mean", "low", "high"))
                    axes.axhline(mean, **line_style(look))
                    axes.axhspan(low, high, color=look.color, alpha=0.15, linewidth=0)
                    continue
                single: Any = {"marker": look.marker, "markersize": 4} if len(own) == 1 else {}
                axes.plot(own["step"], scale * own["mean"], **line_style(look), **single)
                axes.fill_between(
                    own["step"],
                    scale * own["low"],
                    scale * own["high"],
                    color=look.color,
                    alpha=0.15,
                    linewidth=0,
                )
            low, high = limits[name]
            possible = (0.0, scale) if name == "error_rate" else ()
            axes.set_ylim(*padded(scale * low, scale * high, *possible))
            axes.set_ylabel(short(label, 16 if len(names) > 1 else 30))
            axes.locator_params(axis="x", nbins=6)
            axes.locator_params(axis="y", nbins=4 if len(names) > 1 else 6)
        if title:
            all_axes[0].set_title(short(title, 56), loc="left")
        all_axes[-1].set_xlabel("training step")
        add_legend(figure, entries, marker=False)
    return figure


def draw_label_efficiency(analysis: Analysis, panel: Condition) -> Figure:
    """Draw the labels that the baseline needs against those of the arm, both logarithmic, with the diagonal.

    Args:
        analysis: the rows of label efficiency.
        panel: levels of all factors but the first.
    """
    study = analysis.evidence.study
    style = looks([arm.name for arm in study.arms])
    rows = [row for row in analysis.efficiency if row.condition[1:] == panel]
    arms = [arm for arm in study.arms if any(row.arm == arm.name for row in rows)]
    few, many = math.log10(rows[0].fewest), math.log10(rows[0].most)
    room = 0.06 * (many - few)

    def height(labels: float) -> float:
        """Place on the axis: what is beyond the curve stands a little beyond its end."""
        return few - room if labels == -math.inf else many + room if labels == math.inf else math.log10(labels)

    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=3.3 + legend_height([arm.label for arm in arms]))
        counts = sorted(int(level) for level in study.factors[0].levels)
        ticks, texts = [math.log10(count) for count in counts], [level_text(count) for count in counts]
        axes.plot([few, many], [few, many], color="#222222", linewidth=0.9, zorder=1)
        for end in (few, many):
            axes.axhline(end, color="#999999", linewidth=0.8, linestyle=":", zorder=1)
        for i, arm in enumerate(arms):
            look = style[arm.name]
            for row in (r for r in rows if r.arm == arm.name):
                shift = dodge(i, len(arms), ticks, is_scale=True)
                place, labels = math.log10(int(row.condition[0])) + shift, row.labels
                if not math.isnan(labels.low):
                    ends = [height(labels.low), height(labels.high)]
                    axes.plot([place, place], ends, color=look.color, linewidth=1.4, zorder=3)
                beyond = {-math.inf: "v", math.inf: "^"}
                marker = beyond.get(labels.needed, look.marker)
                fill = "white" if math.isinf(labels.needed) else look.color
                edge = look.color if math.isinf(labels.needed) else "white"
                axes.plot([place], [height(labels.needed)], marker, mfc=fill, mec=edge, ms=5.5, mew=0.9, zorder=4)
        crowded: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if len(counts) > 6 else {}
        axes.set_xticks(ticks, texts, **crowded)
        axes.set_yticks(ticks, texts)
        axes.set_xlabel(f"{study.factors[0].label} of the arm (log scale)")
        axes.set_ylim(few - 2 * room, many + 2 * room)
        axes.set_ylabel(short(f"labels the baseline needs ({analysis.label(study.baseline)})", 40))
        if panel:
            axes.set_title(short(condition_text(panel, study.factors[1:]), 56), loc="left")
        add_legend(figure, [(arm.label, style[arm.name]) for arm in arms], marker=True)
    return figure


SHADES = (("#222222", "o"), ("#777777", "s"), ("#aaaaaa", "^"))
"""Grays: colors mean arms."""


def draw_components(
    analysis: Analysis, rows: Sequence[tuple[Spread, dict[str, Component]]], names: dict[str, str]
) -> Figure:
    """Draw standard deviations by origin with intervals: one group of three lines per arm and condition.

    Args:
        analysis: names and units.
        rows: the spreads with their components by name.
        names: what to call each component.
    """
    study, unit = analysis.evidence.study, analysis.unit
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=1.5 + 0.55 * len(rows))
        for place, (_, parts) in enumerate(rows):
            for i, (part, (shade, marker)) in enumerate(zip(parts.values(), SHADES, strict=True)):
                line = place + 0.22 * (i - 1)
                sd, low, high = (unit.scale * math.sqrt(x) for x in (part.variance, part.low, part.high))
                axes.plot([low, high], [line, line], color=shade, linewidth=1.6, zorder=3)
                axes.plot([sd], [line], marker, color=shade, ms=5.5, mec="white", mew=0.6, zorder=4)
        many = len(conditions(study)) > 1
        labels = [
            analysis.label(row.arm) + (f", {', '.join(level_text(x) for x in row.condition)}" if many else "")
            for row, _ in rows
        ]
        _arm_rows(axes, labels)
        axes.set_xlim(left=-0.03 * axes.get_xlim()[1])  # a marker at zero shows whole
        in_unit = f" ({unit.difference.strip()})" if unit.difference else ""
        axes.set_xlabel(short(f"standard deviation of the {unit.name}{in_unit}", 40))
        looks_of = zip(names.values(), SHADES, strict=True)
        add_legend(figure, [(name, Look(shade, marker, ())) for name, (shade, marker) in looks_of], marker=True)
    return figure


def spread(items: Sequence[T], most: int) -> list[T]:
    """Choose at most `most` items (at least 2), evenly spread and with both ends."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
