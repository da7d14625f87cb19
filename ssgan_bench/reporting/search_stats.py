"""What a search would have found with fewer trials."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_of_k(values: ArrayLike) -> NDArray[np.float64]:
    """Expected smallest of k values drawn without replacement from n, for k = 1 to n.

    The mean of the minimum over all subsets of size k: the unbiased form (Tang et al. 2020, arXiv:2004.13705) of the
    expected performance of Dodge et al. 2019 (arXiv:1909.03004), whose plug-in form draws with replacement. Unbiased
    for independent trials; those of TPE learn from each other.

    Args:
        values: (n,) finite, lower is better, n at least 1.

    Returns:
        (n,) never rising; the first is the mean, the last the smallest value.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if ordered.ndim != 1 or n == 0 or not np.isfinite(ordered).all():
        raise ValueError(f"expected a flat list of finite numbers, got shape {ordered.shape}")
    expected = np.empty(n)
    for k in range(1, n + 1):
        # The i-th smallest (from 0) is the minimum of C(n-1-i, k-1) of the C(n, k) subsets.
        ranks = np.arange(n - k)
        ratios = (n - k - ranks) / (n - 1 - ranks)
        weights = k / n * np.concatenate([[1.0], np.cumprod(ratios)])
        expected[k - 1] = float(weights @ ordered[: n - k + 1])
    return expected


def value_of_pruned(scores: dict[int, float], winner: dict[int, float]) -> float:
    """Estimate what a pruned trial would have reached on all tuning seeds.

    The winner's mean plus the mean difference from the winner over the seeds that both ran: seeds differ in difficulty,
    and a trial was pruned for being worse on the same ones. Not below the winner's mean, since a pruned trial cannot
    win.

    Args:
        scores: error rate by seed of the pruned trial, some of the winner's seeds.
        winner: error rate by seed of the winner.
    """
    mean = math.fsum(winner.values()) / len(winner)
    differences = [value - winner[seed] for seed, value in scores.items()]
    return mean + max(0.0, math.fsum(differences) / len(differences))
