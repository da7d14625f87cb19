"""What all figures share: style, panel, legend, axis of a factor, and the bytes of a figure.

No global state: figures are made without pyplot, and their bytes depend on nothing but the numbers.
"""

import io
import itertools
import math
import re
import textwrap
import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis as AnyAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting.palette import Look
from ssgan_bench.reporting.wording import level_text

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
        # The layout is computed once: with an engine every savefig computes it again and draws twice.
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return compact_svg(svg.getvalue().decode()).encode(), png.getvalue()


def compact_svg(svg: str) -> str:
    """Take out of a figure's SVG what nobody sees, a fifth of its size: a page embeds a dozen of them.

    Comments and metadata, white space between tags, line breaks inside paths, and digits below 0.01 pt.
    """

    def shorten(attribute: re.Match[str]) -> str:
        rounded = re.sub(r"-?\d+\.\d+", lambda x: f"{float(x[0]):.2f}".rstrip("0").rstrip("."), attribute[2])
        return f'{attribute[1]}="{" ".join(rounded.split())}"'

    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<!DOCTYPE[^>]*>", "", svg, flags=re.DOTALL)
    return re.sub(r">\s+<", "><", re.sub(r'(?<=\s)(d|x|y)="([^"]*)"', shorten, svg))


def short(label: str, width: int = 30) -> str:
    """Fit a label into a legend or beside an axis: one line of words per `width` characters, three lines at most."""
    return "\n".join(textwrap.wrap(label, width, max_lines=3, placeholder=" …")) or " "


def new_panel(rows: int = 1, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Start a figure of the report's width with `rows` axes above each other; height in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return figure, list(axes[:, 0])


def line_style(look: Look, **more: Any) -> dict[str, Any]:
    """Arguments of `plot` for an arm's line."""
    dashes: Any = (0, look.dashes) if look.dashes else "-"
    return {"color": look.color, "linestyle": dashes, "linewidth": 1.4, **more}


def _legend_columns(labels: Sequence[str]) -> int:
    return 2 if len(labels) > 1 and all(len(label) <= 24 for label in labels) else 1


def legend_height(labels: Sequence[str]) -> float:
    """Inches that the legend takes, so that the axes below keep their size."""
    lines = sum(short(label, LEGEND_LETTERS).count("\n") + 1 for label in labels)
    return 0.25 + 0.17 * math.ceil(lines / _legend_columns(labels))


def add_legend(figure: Figure, entries: Sequence[tuple[str, Look]], *, marker: bool) -> None:
    """Put (label, look) entries above the axes, where they hide no data."""
    handles = [
        Line2D([], [], **line_style(look), marker=look.marker if marker else "", markersize=5) for _, look in entries
    ]
    # matplotlib hides legend entries whose text starts with an underscore.
    labels = [
        f" {text}" if text.startswith("_") else text for text in (short(label, LEGEND_LETTERS) for label, _ in entries)
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


MARK_WIDTH = 0.012
"""Of a marker, as a share of an axis."""


class Axis:
    """Positions of a factor's levels on a horizontal axis: logarithmic, linear, or one slot per level."""

    def __init__(self, factor: FactorInfo):
        self.levels = factor.levels
        self.label = factor.label
        numbers = [float(x) for x in factor.levels if not isinstance(x, bool | str)]
        numeric = len(numbers) == len(factor.levels) and len(set(numbers)) > 1
        wide = numeric and max(map(abs, numbers)) >= 10 * min(map(abs, numbers))
        self._is_scale = numeric and (not wide or min(numbers) > 0)
        if numeric and wide and min(numbers) > 0:
            self.at = {level: math.log10(x) for level, x in zip(factor.levels, numbers, strict=True)}
            self.label += " (log scale)"
        elif numeric and not wide:
            self.at = dict(zip(factor.levels, numbers, strict=True))
        else:
            self.at = {level: float(i) for i, level in enumerate(factor.levels)}
        self.gap = smallest_gap(self.at.values())

    def dodge(self, i: int, n: int) -> float:
        """Shift of the i-th of n arms, so that their points do not cover each other."""
        return dodge(i, n, self.at.values(), is_scale=self._is_scale)

    def decorate(self, axes: Axes) -> None:
        """Put the levels on the axis, tilted where they would touch."""
        places = [self.at[level] for level in self.levels]
        texts = [short(level_text(level), 18) for level in self.levels]
        span = max(places) - min(places) + self.gap
        letters = max(len(line) for text in texts for line in text.split("\n"))
        crowded = letters * 0.075 > self.gap / span * (WIDTH - 0.9)
        alignment: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(places, texts, **alignment)
        axes.set_xlim(min(places) - 0.5 * self.gap, max(places) + 0.5 * self.gap)
        axes.set_xlabel(self.label)
        axes.grid(False, axis="x")


def smallest_gap(places: Iterable[float]) -> float:
    """Distance of the closest neighbors; 1 for a single place."""
    return min((b - a for a, b in itertools.pairwise(sorted(places))), default=1.0)


def dodge(i: int, n: int, places: Collection[float], *, is_scale: bool) -> float:
    """Shift of the i-th of n marks at each of these places on an axis.

    All of them take three fifths of the smallest gap; on a scale, where a place is a number, each at most its own
    width, so that nobody reads another number.
    """
    if n < 2:
        return 0.0
    gap = smallest_gap(places)
    room = min(0.6, 0.15 * (n - 1)) * gap
    if is_scale:
        room = min(room, n * MARK_WIDTH * (max(places) - min(places) + gap))
    return (i / (n - 1) - 0.5) * room


def padded(low: float, high: float, floor: float = -math.inf, ceiling: float = math.inf) -> tuple[float, float]:
    """Cut a range to what is possible and widen it by 6 %, by half as much beyond the limits of the possible."""
    low, high = max(low, floor), min(high, ceiling)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return max(low - margin, floor - margin / 2), min(high + margin, ceiling + margin / 2)


def plain_numbers(axis: AnyAxis) -> None:
    """Write 1, 2, 5, 10, ... on a logarithmic axis and not Matplotlib's powers of ten, which need its math text."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
