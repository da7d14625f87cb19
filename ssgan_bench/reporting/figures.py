"""The figures of a report, each one panel of a phone's width: `draw_*` take numbers and return a `Figure`.

No global state: figures are made without pyplot, and their bytes depend on nothing but the numbers.
"""

import io
import itertools
import math
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.answer import Analysis
from ssgan_bench.reporting.frames import ALPHA, Condition, Values, conditions
from ssgan_bench.reporting.palette import Look, looks
from ssgan_bench.reporting.wording import condition_text, level_text

WIDTH = 4.3
"""Inches: at 340 pixels of a phone, 9-point text is still 9 pixels tall."""
LEGEND_LETTERS = 48
"""Letters per line of a legend with one column."""
STYLE: Any = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ssgan-bench",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a label such as "$5 and $6" is text
}


def to_bytes(figure: Figure) -> tuple[bytes, bytes]:
    """Render a figure as SVG and PNG bytes, equal for equal figures."""
    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; the tables still have it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def _short(label: str, width: int = 30) -> str:
    """Fit a label into a legend: one line of words per `width` characters, three lines at most."""
    return "\n".join(textwrap.wrap(label, width, max_lines=3, placeholder=" …")) or " "


def _panel(rows: int = 1, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return figure, list(axes[:, 0])


def _line(look: Look, **more: Any) -> dict[str, Any]:
    dashes: Any = (0, look.dashes) if look.dashes else "-"
    return {"color": look.color, "linestyle": dashes, "linewidth": 1.4, **more}


def _legend_columns(labels: Sequence[str]) -> int:
    return 2 if len(labels) > 1 and all(len(label) <= 24 for label in labels) else 1


def _legend_height(labels: Sequence[str]) -> float:
    """Inches that the legend takes, so that the axes below keep their size."""
    lines = sum(_short(label, LEGEND_LETTERS).count("\n") + 1 for label in labels)
    return 0.25 + 0.17 * math.ceil(lines / _legend_columns(labels))


def _legend(figure: Figure, entries: Sequence[tuple[str, Look]], *, marker: bool) -> None:
    handles = [Line2D([], [], **_line(look), marker=look.marker if marker else "", markersize=5) for _, look in entries]
    # matplotlib hides legend entries whose text starts with an underscore.
    labels = [
        f" {text}" if text.startswith("_") else text for text in (_short(label, LEGEND_LETTERS) for label, _ in entries)
    ]
    columns = _legend_columns([label for label, _ in entries])
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        handlelength=2.6,
        labelspacing=0.3,
    )


class Axis:
    """Positions of a factor's levels on a horizontal axis: logarithmic, linear, or one slot per level."""

    def __init__(self, factor: FactorInfo):
        self.levels = factor.levels
        self.label = factor.label
        numbers = [float(x) for x in factor.levels if not isinstance(x, bool | str)]
        numeric = len(numbers) == len(factor.levels) and len(set(numbers)) > 1
        wide = numeric and max(map(abs, numbers)) >= 10 * min(map(abs, numbers))
        if numeric and wide and min(numbers) > 0:
            self.at = {level: math.log10(x) for level, x in zip(factor.levels, numbers, strict=True)}
            self.label += " (log scale)"
        elif numeric and not wide:
            self.at = dict(zip(factor.levels, numbers, strict=True))
        else:
            self.at = {level: float(i) for i, level in enumerate(factor.levels)}
        places = sorted(self.at.values())
        self.gap = min((b - a for a, b in itertools.pairwise(places)), default=1.0)

    def dodge(self, i: int, n: int) -> float:
        """Shift of the i-th of n arms, so that their points do not cover each other."""
        return 0.0 if n < 2 else (i / (n - 1) - 0.5) * min(0.6, 0.15 * (n - 1)) * self.gap

    def decorate(self, axes: Axes) -> None:
        """Put the levels on the axis, tilted where they would touch."""
        places = [self.at[level] for level in self.levels]
        texts = [_short(level_text(level), 18) for level in self.levels]
        span = max(places) - min(places) + self.gap
        letters = max(len(line) for text in texts for line in text.split("\n"))
        crowded = letters * 0.075 > self.gap / span * (WIDTH - 0.9)
        alignment: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(places, texts, **alignment)
        axes.set_xlim(min(places) - 0.5 * self.gap, max(places) + 0.5 * self.gap)
        axes.set_xlabel(self.label)
        axes.grid(False, axis="x")


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
        figure, (axes,) = _panel(height=3.1 + _legend_height([arm.label for arm in study.arms]))
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
                low, high = (unit.scale * bound for bound in (m.estimate.low, m.estimate.high))
                axes.plot([place, place], [low, high], "_-", color=look.color, ms=5, lw=1.4, zorder=3)
            y = [unit.scale * m.estimate.mean for m in own]
            numeric = not isinstance(study.factors[0].levels[0], bool | str)
            axes.plot(x, y, **_line(look, linestyle=_line(look)["linestyle"] if numeric else "none", alpha=0.5))
            axes.plot(x, y, look.marker, color=look.color, ms=4.8, mec="white", mew=0.5, zorder=4)
        axis.decorate(axes)
        if panel:
            axes.set_title(_short(condition_text(panel, study.factors[1:]), 56), loc="left")
        axes.set_ylim(*_padded(limits[0] * unit.scale, limits[1] * unit.scale, floor=0.0))
        axes.set_ylabel(unit.axis)
        _legend(figure, [(arm.label, style[arm.name]) for arm in study.arms], marker=True)
    return figure


def _padded(low: float, high: float, floor: float | None = None) -> tuple[float, float]:
    """Widen a range by 6 %, without passing `floor` on a side where all values respect it."""
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    bottom = low - margin
    return (max(bottom, floor - margin / 2) if floor is not None and low >= floor else bottom, high + margin)


def draw_dots(analysis: Analysis, found: Values, condition: Condition) -> Figure:
    """Draw the metric of every arm at one condition: one row per arm."""
    study, unit = analysis.evidence.study, analysis.unit
    style = looks([arm.name for arm in study.arms])
    own = {m.arm: m for m in analysis.means if m.condition == condition}
    with mpl.rc_context(STYLE):
        figure, (axes,) = _panel(height=1.1 + 0.42 * len(study.arms))
        for row, arm in enumerate(study.arms):
            look = style[arm.name]
            points = [unit.scale * value for value in found[arm.name, condition].values()]
            below = [row + 0.24] * len(points)  # under the interval they would hide it
            axes.plot(points, below, look.marker, color=look.color, ms=3, alpha=0.4, mew=0)
            if arm.name in own and points:
                estimate = own[arm.name].estimate
                bounds = [unit.scale * estimate.low, unit.scale * estimate.high]
                axes.plot(bounds, [row, row], color=look.color, linewidth=1.6, zorder=3)
                mean = [unit.scale * estimate.mean]
                axes.plot(mean, [row], look.marker, color=look.color, ms=6.5, mec="white", mew=0.6, zorder=4)
        if len(conditions(study)) > 1:
            axes.set_title(_short(condition_text(condition, study.factors), 56), loc="left")
        _arm_rows(axes, [arm.label for arm in study.arms])
        axes.set_xlabel(unit.axis)
    return figure


def _arm_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [_short(label, 24) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")


def draw_forest(analysis: Analysis) -> Figure:
    """Draw every paired difference with its interval; filled where it is shown after Holm."""
    study, unit = analysis.evidence.study, analysis.unit
    style = looks([arm.name for arm in study.arms])
    arms = list(dict.fromkeys(row.arm for row in analysis.comparisons))
    one_each = len(analysis.comparisons) == len(arms)
    with mpl.rc_context(STYLE):
        count = len(analysis.comparisons) + (0 if one_each else 0.8 * len(arms))
        figure, (axes,) = _panel(height=1.3 + 0.24 * count)
        place, ticks, texts = 0.0, [], []
        for arm in arms:
            if not one_each:
                name = _short(analysis.label(arm), 44).split("\n")[0]
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
                    low, mean, high = (unit.scale * value for value in (d.low, d.mean, d.high))
                    fill = look.color if row.p_holm <= ALPHA else "white"
                    axes.plot([low, high], [place, place], color=look.color, linewidth=1.6)
                    axes.plot([mean], [place], look.marker, mfc=fill, mec=look.color, mew=1.3, ms=5.5, zorder=4)
                ticks.append(place)
                levels = ", ".join(level_text(level) for level in row.condition)
                texts.append(_short(analysis.label(arm) if one_each else levels, 24))
                place += 1
            place += 0 if one_each else 0.6
        axes.axvline(0, color="#222222", linewidth=0.9, zorder=1)
        axes.set_yticks(ticks, texts)
        axes.set_ylim(place - 0.4, -0.7)
        axes.grid(False, axis="y")
        low, high = axes.get_xlim()
        axes.set_xlim(*_padded(min(low, 0), max(high, 0)))
        label = f"difference in {unit.name}{f' ({unit.difference.strip()})' if unit.difference else ''}"
        axes.set_xlabel(f"{_short(label, 36)}\n← arm better      arm worse →")
        if study.factors and not one_each:
            axes.set_ylabel(_short(", ".join(factor.label for factor in study.factors), 60))
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
    present = set(curves["arm"])
    entries = [(arm.label, style[arm.name]) for arm in study.arms if arm.name in present]
    height = 0.5 + (2.3 if len(names) == 1 else 1.45 * len(names)) + _legend_height([label for label, _ in entries])
    with mpl.rc_context(STYLE):
        figure, all_axes = _panel(len(names), height)
        for axes, (kind, name, label) in zip(all_axes, names, strict=True):
            scale = 100.0 if name == "error_rate" else 1.0
            for arm in study.arms:
                own = curves[(curves["arm"] == arm.name) & (curves["kind"] == kind) & (curves["name"] == name)]
                own = own.sort_values("step")
                look = style[arm.name]
                single: Any = {"marker": look.marker, "markersize": 4} if len(own) == 1 else {}
                axes.plot(own["step"], scale * own["mean"], **_line(look), **single)
                axes.fill_between(
                    own["step"],
                    scale * own["low"],
                    scale * own["high"],
                    color=look.color,
                    alpha=0.15,
                    linewidth=0,
                )
            low, high = limits[name]
            axes.set_ylim(*_padded(scale * low, scale * high))
            axes.set_ylabel(_short(label, 16))
        if title:
            all_axes[0].set_title(_short(title, 56), loc="left")
        all_axes[-1].set_xlabel("training step")
        _legend(figure, entries, marker=False)
    return figure


def shown_conditions(levels: Sequence[Condition], most: int = 4) -> list[Condition]:
    """Choose at most `most` conditions, evenly spread and with both ends, for small multiples."""
    if len(levels) <= most:
        return list(levels)
    return [levels[round(i * (len(levels) - 1) / (most - 1))] for i in range(most)]
