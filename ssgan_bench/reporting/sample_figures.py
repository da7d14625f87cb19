"""The figure of sample quality: does a better classifier go with a worse generator?"""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.drawing import STYLE, add_legend, legend_height, new_panel, padded, plain_numbers, short
from ssgan_bench.reporting.palette import looks

WIDE = 5.0
"""Ratio of the largest to the smallest distance from which on the axis is logarithmic."""


def draw_error_against_frechet(analysis: Analysis, here: pd.DataFrame, everywhere: pd.DataFrame, title: str) -> Figure:
    """Draw one point per run and a larger one per arm at its mean; the floor is a dashed line, or is named at the edge.

    Args:
        analysis: the arms.
        here: the measured runs of one condition, all with one reference classifier.
        everywhere: the measured runs of all panels, which share their axes.
        title: the condition in words; may be empty.
    """
    study = analysis.evidence.study
    style = looks([arm.name for arm in study.arms])
    arms = [arm for arm in study.arms if arm.name in set(here["arm"])]
    low, high = float(everywhere["frechet"].min()), float(everywhere["frechet"].max())
    logarithmic = low > 0 and high > WIDE * low
    limits = (low / 1.25, high * 1.25) if logarithmic else padded(low, high, floor=0.0)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=3.1 + legend_height([arm.label for arm in arms]))
        if logarithmic:
            axes.set_xscale("log")
            plain_numbers(axes.xaxis)
        for arm in arms:
            own, look = here[here["arm"] == arm.name], style[arm.name]
            axes.plot(own["frechet"], 100 * own["error_rate"], look.marker, color=look.color, ms=3.4, alpha=0.45, mew=0)
            mean = ([own["frechet"].mean()], [100 * own["error_rate"].mean()])
            axes.plot(*mean, look.marker, color=look.color, ms=6.5, mec="white", mew=0.6, zorder=4)
        floor = here.drop_duplicates("split_seed")["floor_frechet"].mean()
        if inside := limits[0] <= floor <= limits[1]:
            axes.axvline(floor, color="#222222", linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        # Usually far below every generator: an axis that reached it would leave the runs no room.
        axes.annotate(
            f"{'' if inside else '← '}real images: {floor:.2f}",
            (floor if inside else limits[0], 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
        axes.set_xlim(*limits)
        axes.set_ylim(*padded(100 * everywhere["error_rate"].min(), 100 * everywhere["error_rate"].max(), floor=0.0))
        scale = " (log scale)" if logarithmic else ""
        axes.set_xlabel(short(f"Frechet distance in features of {here['reference_classifier'].iloc[0]}{scale}", 60))
        axes.set_ylabel(f"{analysis.evidence.study.evaluated_on} error (%)")
        if title:
            axes.set_title(short(title, 56), loc="left")
        add_legend(figure, [(arm.label, style[arm.name]) for arm in arms], marker=True)
    return figure
