"""How far generated images are from real ones, in a space of D features: pure functions in float64.

Every function takes features (N, D) and (M, D) of any float type, on any device, and does not depend on the order of
the rows. A set that is too small, and a NaN or infinite feature, is a ValueError: what cannot be computed is no number.
"""

import torch
from torch import Tensor

NEIGHBORS = 3
"""k of Kynkaanniemi et al. 2019, section 5."""


def _checked(features: Tensor, name: str, least: int) -> Tensor:
    if features.ndim != 2 or len(features) < least:
        raise ValueError(f"{name}: expected at least {least} rows of features, got shape {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise ValueError(f"{name}: a feature is NaN or infinite")
    return features.double()


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Frechet distance between the Gaussians that have the means and covariances of two feature sets.

    |m_r - m_f|^2 + tr(S_r) + tr(S_f) - 2 tr((S_r S_f)^(1/2)), with unbiased covariances S (Dowson & Landau 1982; on
    Inception features it is the FID of Heusel et al. 2017). With S = R^T R from a QR decomposition of the centered
    features, the last trace is the sum of the singular values of R_r R_f^T, which takes no root of a rounded zero.

    Biased: its expectation for two samples of one distribution is positive and falls about as 1/N (Binkowski et al.
    2018), so only distances at equal N compare, and the floor of real against real images belongs beside them.

    Args:
        real: (N, D), N >= 2.
        fake: (M, D), M >= 2.

    Returns:
        The squared distance, >= 0.
    """
    real, fake = _checked(real, "real", 2), _checked(fake, "fake", 2)
    offset = (real.mean(dim=0) - fake.mean(dim=0)).square().sum()
    roots = [torch.linalg.qr(x - x.mean(dim=0), mode="r").R / (len(x) - 1) ** 0.5 for x in (real, fake)]
    traces = roots[0].square().sum() + roots[1].square().sum()
    shared = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return max(0.0, float(offset + traces - 2 * shared))


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Squared maximum mean discrepancy with k(x, y) = (x.y / D + 1)^3: KID of Binkowski et al. 2018, one block.

    mean_{i != j} k(r_i, r_j) + mean_{i != j} k(f_i, f_j) - 2 mean_{i, j} k(r_i, f_j). Unbiased at any N, and therefore
    below zero about half of the time where the distributions are equal.

    Args:
        real: (N, D), N >= 2.
        fake: (M, D), M >= 2.
    """
    real, fake = _checked(real, "real", 2), _checked(fake, "fake", 2)
    within = 0.0
    for features in (real, fake):
        kernel, n = _kernel(features, features), len(features)
        within += ((kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))).item()
    return within - 2 * _kernel(real, fake).mean().item()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def precision_recall(real: Tensor, fake: Tensor, k: int = NEIGHBORS) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, equations 1 and 2).

    The manifold of a set is the union of balls around its points, each as large as the distance to the k-th nearest
    other point. Precision is the share of `fake` inside the manifold of `real` (do samples look real?), recall the
    share of `real` inside that of `fake` (is every kind of image drawn?). Balls shrink as N grows, so only equal N
    compare; even a perfect generator stays below 1: see the floor.

    Args:
        real: (N, D), N > k.
        fake: (M, D), M > k.
        k: number of neighbors, >= 1.

    Returns:
        (precision, recall), each in [0, 1].
    """
    if k < 1:
        raise ValueError(f"k = {k}: needs at least one neighbor")
    real, fake = _checked(real, "real", k + 1), _checked(fake, "fake", k + 1)
    between = _distances(real, fake)  # (N, M)
    inside_real = between <= _radii(real, k).unsqueeze(1)
    inside_fake = between <= _radii(fake, k)
    return inside_real.any(dim=0).double().mean().item(), inside_fake.any(dim=1).double().mean().item()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Not by the inner products: equal rows must have distance zero.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features: Tensor, k: int) -> Tensor:
    """(N,) distance of each point to its k-th nearest other one."""
    own = _distances(features, features)
    own.fill_diagonal_(torch.inf)  # a point is no neighbor of itself; a second one at the same place is
    return own.kthvalue(k, dim=1).values


def class_histogram_distance(real: Tensor, fake: Tensor, num_classes: int) -> float:
    """Total variation 1/2 sum_k |p_k - q_k| between the class frequencies of two sets of labels.

    Biased upwards by chance at small N, like the Frechet distance.

    Args:
        real: (N,) int64 in [0, K), N >= 1.
        fake: (M,) int64 in [0, K), M >= 1.
        num_classes: K.

    Returns:
        0 for equal frequencies, 1 where no class is in both.
    """
    if not len(real) or not len(fake):
        raise ValueError(f"expected labels in both sets, got {len(real)} and {len(fake)}")
    shares = [torch.bincount(x.cpu(), minlength=num_classes).double() / len(x) for x in (real, fake)]
    return 0.5 * (shares[0] - shares[1]).abs().sum().item()
