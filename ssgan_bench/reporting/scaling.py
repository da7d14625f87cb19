"""How the time of a training step grows with one size: t = c * size^exponent, fitted by least squares of logarithms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssgan_bench.reporting.benchmark_files import Benchmark, Measured

SIZES = {
    "width": "width (channels)",
    "image_size": "image size (pixels)",
    "batch_size": "batch size (unlabeled images)",
}
"""What is varied, with the label of its axis."""
FEWEST = 3
"""Sizes of a fit; two would fit any power exactly."""


@dataclass(frozen=True)
class Fit:
    """A power law through the times of one series, in which only `size_name` varies."""

    size_name: str
    label: str
    sizes: tuple[int, ...]
    times_ms: tuple[float, ...]
    exponent: float
    factor: float
    """Time in ms at size 1."""
    largest_error: float
    """Largest relative distance of a time from the fit."""


def fit_power(sizes: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """Fit times = factor * sizes^exponent; returns (exponent, factor). All numbers are positive."""
    exponent, intercept = np.polyfit(np.log(sizes), np.log(times), 1)
    return float(exponent), float(np.exp(intercept))


def scaling_fits(steps: Sequence[Benchmark]) -> list[Fit]:
    """Fit every series of training steps that differ in one size alone and have at least three of it."""
    fits = []
    for size_name in SIZES:
        series: dict[tuple[object, ...], dict[int, float]] = {}
        for info in (step.extra_info for step in steps):
            size = getattr(info, size_name)
            if None not in (info.width, info.image_size, info.batch_size):
                series.setdefault(_others(info, size_name), {})[size] = info.step_time_ms
        for others, times in series.items():
            if len(times) < FEWEST:
                continue
            sizes = tuple(sorted(times))
            measured = tuple(times[size] for size in sizes)
            exponent, factor = fit_power(sizes, measured)
            errors = [abs(factor * size**exponent / time - 1) for size, time in zip(sizes, measured, strict=True)]
            label = ", ".join(str(part) for part in others)
            fits.append(Fit(size_name, label, sizes, measured, exponent, factor, max(errors)))
    return fits


def _others(info: Measured, size_name: str) -> tuple[object, ...]:
    """What is equal within a series, in words."""
    words = {
        "width": f"width {info.width}",
        "image_size": f"{info.image_size} pixels",
        "batch_size": f"batch {info.batch_size}",
    }
    threads = f"{info.num_threads} threads" if info.num_threads > 1 else "1 thread"
    place = (threads,) if info.device == "cpu" else (info.device,)
    return (info.method, *(text for name, text in words.items() if name != size_name), info.precision, *place)
