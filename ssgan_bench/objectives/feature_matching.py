"""Feature matching: distance between the mean features of a real and of a generated batch.

With mu = mean over the batch, d = mu_real - mu_fake (D,). Batches may differ in size; each is averaged by
itself. `reduction` is over the D features only: "mean" (the article's and Salimans' code) or "sum" (the
paper's squared norm), which is D times as large.

Source: Salimans et al. 2016, arXiv:1606.03498, section 3.1; the article's program (L2).
"""

from typing import Literal

from torch import Tensor

Reduction = Literal["mean", "sum"]


def feature_matching_l2(real_features: Tensor, fake_features: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Compute the mean or sum over features of d^2.

    Args:
        real_features: (B_real, D).
        fake_features: (B_fake, D).
        reduction: over the D features.
    """
    return _reduce(_mean_difference(real_features, fake_features).square(), reduction)


def feature_matching_l1(real_features: Tensor, fake_features: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Compute the mean or sum over features of |d| (the article's prose; Salimans' SVHN and CIFAR code).

    Args:
        real_features: (B_real, D).
        fake_features: (B_fake, D).
        reduction: over the D features.
    """
    return _reduce(_mean_difference(real_features, fake_features).abs(), reduction)


def _mean_difference(real_features: Tensor, fake_features: Tensor) -> Tensor:
    return real_features.mean(dim=0) - fake_features.mean(dim=0)


def _reduce(distances: Tensor, reduction: Reduction) -> Tensor:
    return distances.mean() if reduction == "mean" else distances.sum()
