"""Where the variance between runs comes from: which images are labeled, the model seed, or both together.

A crossed design runs every model seed on every split, one run per pair: y_ij = mean + split_i + model_j + rest_ij with
independent random effects. The rest is the interaction of the two with whatever else differs between runs; one run per
pair cannot tell these apart.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special


@dataclass(frozen=True)
class Component:
    """One variance, in the squared unit of the values, with its 95 % interval."""

    variance: float
    low: float
    high: float
    truncated: bool
    """Whether the estimate was negative and is given as 0: the data show no such variance."""


@dataclass(frozen=True)
class Components:
    """The variance between runs, taken apart."""

    split: Component
    model: Component
    rest: Component
    splits: int
    models: int


def _f_upper(tail: float, df: int, df_below: float) -> float:
    """Point that an F variable exceeds with probability `tail`; infinite `df_below` is chi-square over its df."""
    if math.isinf(df_below):
        return float(special.chdtri(df, tail)) / df
    return float(special.fdtri(df, df_below, 1 - tail))


def _difference_interval(first: float, second: float, df1: int, df2: int, tail: float) -> tuple[float, float]:
    """Interval of E[first] - E[second] for two independent mean squares, each end erring with probability `tail`.

    The modified-large-sample interval of Ting, Burdick, Graybill, Jeyaratnam and Lu (1990), as in Burdick and Graybill
    (1992, section 3.3): exact where one of the two vanishes, close to nominal between.
    """
    inf = math.inf
    g1, h2 = 1 - 1 / _f_upper(tail, df1, inf), 1 / _f_upper(1 - tail, df2, inf) - 1
    f = _f_upper(tail, df1, df2)
    g12 = ((f - 1) ** 2 - g1**2 * f**2 - h2**2) / f
    h1, g2 = 1 / _f_upper(1 - tail, df1, inf) - 1, 1 - 1 / _f_upper(tail, df2, inf)
    f = _f_upper(1 - tail, df1, df2)
    h12 = ((1 - f) ** 2 - h1**2 * f**2 - g2**2) / f
    below = g1**2 * first**2 + h2**2 * second**2 + g12 * first * second
    above = h1**2 * first**2 + g2**2 * second**2 + h12 * first * second
    return first - second - math.sqrt(max(below, 0.0)), first - second + math.sqrt(max(above, 0.0))


def components(values: ArrayLike, level: float = 0.95) -> Components:
    """Estimate the variance components of a crossed design by the analysis of variance.

    With mean squares S of splits, M of models and R of the rest: split (S - R) / b, model (M - R) / a, rest R. A
    negative estimate is given as 0 and marked, and so are the ends of intervals.

    Args:
        values: (a, b) finite, one run per split seed (rows) and model seed (columns).
        level: coverage of the intervals, which assume normal effects.

    Returns:
        NaN throughout where a or b is below 2.

    Raises:
        ValueError: a value is not finite or the shape is not (a, b).
    """
    y = np.asarray(values, dtype=np.float64)
    if y.ndim != 2 or not np.isfinite(y).all():
        raise ValueError(f"expected a table of finite numbers, got shape {y.shape}")
    a, b = y.shape
    if a < 2 or b < 2:
        none = Component(math.nan, math.nan, math.nan, False)
        return Components(none, none, none, a, b)
    rows, columns = y.mean(axis=1), y.mean(axis=0)
    s, m = b * float(rows.var(ddof=1)), a * float(columns.var(ddof=1))
    df = (a - 1) * (b - 1)
    r = float(((y - rows[:, None] - columns + y.mean()) ** 2).sum()) / df
    tail = (1 - level) / 2

    def part(square: float, square_df: int, size: int) -> Component:
        low, high = (max(end, 0.0) / size for end in _difference_interval(square, r, square_df, df, tail))
        return Component(max(square - r, 0.0) / size, low, high, square < r)

    low, high = df * r / float(special.chdtri(df, tail)), df * r / float(special.chdtri(df, 1 - tail))
    return Components(part(s, a - 1, b), part(m, b - 1, a), Component(r, low, high, False), a, b)
