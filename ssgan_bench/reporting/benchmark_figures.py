"""The figures of the benchmark report: `draw_*` take benchmarks and return a `Figure`."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ssgan_bench.reporting.benchmark_files import Benchmark
from ssgan_bench.reporting.drawing import (
    STYLE,
    add_legend,
    legend_height,
    line_style,
    new_panel,
    plain_numbers,
    short,
)
from ssgan_bench.reporting.palette import looks
from ssgan_bench.reporting.scaling import SIZES, Fit

MARGIN = 1.6
"""Factor by which a logarithmic axis goes beyond the numbers: at least one of 1, 2 and 5 then lies on it."""
ROW_LETTERS = 40
"""Width of a row's name, which is broken into lines, three at most: it takes its place from the axes."""


def row_label(benchmark: Benchmark) -> str:
    """Name a benchmark within the report, e.g. "quick, article, batch 64"."""
    info = benchmark.extra_info
    batch = None if info.batch_size is None else f"batch {info.batch_size}"
    place = None if info.device == "cpu" else info.device
    precision = None if info.precision == "fp32" else info.precision
    return ", ".join(text for text in (info.network, info.method, info.part, batch, precision, place) if text)


def series_label(benchmark: Benchmark) -> str:
    """Name what a line over the batch size has in common, e.g. "article, width 8, 16 pixels"."""
    info = benchmark.extra_info
    place = "" if info.device == "cpu" else f", {info.device}"
    return f"{info.method}, width {info.width}, {info.image_size} pixels, {info.precision}{place}"


def draw_step_times(steps: Sequence[Benchmark]) -> Figure:
    """Draw the time of a training step against the batch size, one line per method, networks, precision and device.

    Args:
        steps: with a batch size.
    """
    series: dict[str, dict[int, float]] = {}
    for step in steps:
        assert step.extra_info.batch_size is not None
        series.setdefault(series_label(step), {})[step.extra_info.batch_size] = step.extra_info.step_time_ms
    style = looks(list(series))
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=3.0 + legend_height(list(series)))
        for label, times in series.items():
            sizes = sorted(times)
            values = [times[size] for size in sizes]
            axes.plot(sizes, values, marker=style[label].marker, markersize=4, **line_style(style[label]))
        _log_axes(
            axes, [s for times in series.values() for s in times], [t for s in series.values() for t in s.values()]
        )
        axes.set_xlabel("batch size (unlabeled images)")
        axes.set_ylabel("time of a step (ms)")
        add_legend(figure, [(label, style[label]) for label in series], marker=True)
    return figure


def draw_shares(steps: Sequence[Benchmark]) -> Figure:
    """Draw the share of the measured matmul peak that each benchmark reaches.

    Args:
        steps: with a share.
    """
    shares = []
    for info in (step.extra_info for step in steps):
        assert info.share_of_peak is not None
        percent = 100.0 * info.share_of_peak
        shares.append((percent, percent, percent))
    return _draw_rows(steps, shares, "share of the matmul peak (%)")


def draw_speedups(steps: Sequence[Benchmark]) -> Figure:
    """Draw how many times as fast as the plain reference each benchmark is: median and range of the pairs of calls.

    Args:
        steps: with a speedup.
    """
    speedups = []
    for info in (step.extra_info for step in steps):
        assert info.speedup_over_plain is not None
        middle = info.speedup_over_plain
        speedups.append((middle, info.speedup_low or middle, info.speedup_high or middle))
    return _draw_rows(steps, speedups, "times the plain reference", reference=1.0)


def draw_scaling(fits: Sequence[Fit]) -> Figure:
    """Draw the times and the fitted power laws over one size.

    Args:
        fits: over the same size.
    """
    labels = [f"{fit.label}: exponent {fit.exponent:.2f}" for fit in fits]
    style = looks(labels)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=3.0 + legend_height(labels))
        for label, fit in zip(labels, fits, strict=True):
            axes.plot(fit.sizes, fit.times_ms, style[label].marker, color=style[label].color, markersize=4)
            axes.plot(fit.sizes, [fit.factor * size**fit.exponent for size in fit.sizes], **line_style(style[label]))
        _log_axes(axes, [size for fit in fits for size in fit.sizes], [time for fit in fits for time in fit.times_ms])
        axes.set_xlabel(SIZES[fits[0].size_name])
        axes.set_ylabel("time of a step (ms)")
        add_legend(figure, [(label, style[label]) for label in labels], marker=True)
    return figure


def _draw_rows(
    steps: Sequence[Benchmark],
    values: Sequence[tuple[float, float, float]],
    label: str,
    reference: float | None = None,
) -> Figure:
    """Draw one row per benchmark with (value, low, high), the first one on top."""
    style = looks(list(dict.fromkeys(step.extra_info.method or "" for step in steps)))
    names = [short(row_label(step), ROW_LETTERS) for step in steps]
    most_lines = 1 + max(name.count("\n") for name in names)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=0.8 + (0.22 + 0.05 * most_lines) * len(steps))
        for row, (step, (middle, low, high)) in enumerate(zip(steps, values, strict=True)):
            look = style[step.extra_info.method or ""]
            axes.plot([low, high], [row, row], color=look.color, linewidth=1.4)
            axes.plot([middle], [row], look.marker, color=look.color, markersize=5)
        if reference is not None:
            axes.axvline(reference, color="#222222", linewidth=0.9, zorder=1)
        axes.set_yticks(range(len(steps)), names)
        axes.set_ylim(len(steps) - 0.5, -0.5)
        axes.set_xlim(0.0, 1.08 * max(reference or 0.0, *(high for _, _, high in values)))
        axes.set_xlabel(label)
        axes.grid(False, axis="y")
    return figure


def _log_axes(axes: Axes, sizes: Sequence[int], times: Sequence[float]) -> None:
    """Make both axes logarithmic, with a tick at every size."""
    places = sorted(set(sizes))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(places) / MARGIN, max(places) * MARGIN)
    axes.set_ylim(min(times) / MARGIN, max(times) * MARGIN)
    axes.set_xticks(places, [str(size) for size in places])
    axes.xaxis.set_minor_locator(NullLocator())
    plain_numbers(axes.yaxis)
