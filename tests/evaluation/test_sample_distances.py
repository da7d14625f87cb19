"""Distances between feature sets: closed forms, hand-made sets, and torchmetrics as an independent implementation."""

import math

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ssgan_bench.evaluation.sample_distances import (
    class_histogram_distance,
    frechet_distance,
    kernel_distance,
    precision_recall,
)


def gaussian(count, dimensions, seed, shift=0.0, scale=1.0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=stream, dtype=torch.float64) * scale + shift


def standardized(features):
    """The same cloud with mean exactly 0 and unbiased covariance exactly the identity."""
    centered = features - features.mean(dim=0)
    factor = torch.linalg.cholesky(centered.T @ centered / (len(features) - 1))
    return torch.linalg.solve_triangular(factor, centered.T, upper=False).T


class AsFeatures(nn.Module):
    """Lets torchmetrics take "images" (N, 1, 1, D) whose pixels are the features."""

    def __init__(self, dimensions):
        super().__init__()
        self.num_features = dimensions

    def forward(self, images):
        return images.flatten(1)


def pictures(features):
    return features.reshape(len(features), 1, 1, -1)


@pytest.mark.parametrize("shift", [0.0, 0.5, 30.0])
def test_frechet_distance_of_a_shift_is_its_squared_length(shift):
    features = gaussian(200, 5, seed=0)
    offset = torch.tensor([shift, 0, -2 * shift, 0, 0])
    assert frechet_distance(features, features + offset) == pytest.approx(5 * shift**2, abs=1e-10)


def test_frechet_distance_of_diagonal_gaussians_is_the_sum_over_dimensions():
    # For variances a and b in one dimension it is (sqrt(a) - sqrt(b))^2.
    cloud = standardized(gaussian(300, 4, seed=1))
    a, b = torch.tensor([1.0, 4.0, 9.0, 0.25]).sqrt(), torch.tensor([1.0, 1.0, 16.0, 4.0]).sqrt()
    expected = (a - b).square().sum().item()
    assert frechet_distance(cloud * a, cloud.flip(0) * b + 0.0) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_correlated_gaussians_agrees_with_the_2x2_closed_form():
    # tr (A B)^(1/2) = sqrt(tr(AB) + 2 sqrt(det(AB))) for 2x2 matrices with positive eigenvalues.
    cloud = standardized(gaussian(100, 2, seed=2))
    a = torch.tensor([[2.0, 0.3], [0.0, 0.7]], dtype=torch.float64)
    b = torch.tensor([[0.5, -1.2], [0.4, 1.0]], dtype=torch.float64)
    cov_a, cov_b = a.T @ a, b.T @ b
    product = cov_a @ cov_b
    root = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
    expected = (cov_a.trace() + cov_b.trace()).item() - 2 * root
    assert frechet_distance(cloud @ a, cloud @ b) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_a_set_from_itself_is_zero_even_with_fewer_images_than_features():
    features = gaussian(20, 50, seed=3)
    assert 0 <= frechet_distance(features, features.flip(0)) < 1e-10


@pytest.mark.parametrize(("dimensions", "count"), [(3, 40), (32, 300)])
def test_frechet_distance_agrees_with_torchmetrics(dimensions, count):
    real, fake = gaussian(count, dimensions, 4), gaussian(count + 7, dimensions, 5, shift=0.4, scale=1.7)
    oracle = FrechetInceptionDistance(feature=AsFeatures(dimensions), normalize=True, input_img_size=(1, 1, dimensions))
    oracle.set_dtype(torch.float64)
    oracle.update(pictures(real), real=True)
    oracle.update(pictures(fake), real=False)
    assert frechet_distance(real, fake) == pytest.approx(oracle.compute().item(), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features")
def test_kernel_distance_agrees_with_torchmetrics_on_one_block():
    real, fake = gaussian(60, 8, seed=6), gaussian(60, 8, seed=7, shift=0.5)
    oracle = KernelInceptionDistance(feature=AsFeatures(8), subsets=1, subset_size=60, normalize=True)
    oracle.set_dtype(torch.float64)
    oracle.update(pictures(real), real=True)
    oracle.update(pictures(fake), real=False)
    mean, _ = oracle.compute()
    assert kernel_distance(real, fake) == pytest.approx(mean.item(), rel=1e-5)


def test_kernel_distance_of_two_pairs_of_points_by_hand():
    real, fake = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    # k(0, 1) = 1; k(2, 3) = 343; k(0, .) = 1 and 1; k(1, 2) = 27, k(1, 3) = 64.
    assert kernel_distance(real, fake) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)


def test_kernel_distance_is_unbiased_where_the_frechet_distance_is_not():
    pairs = [(gaussian(30, 4, 100 + i), gaussian(30, 4, 600 + i)) for i in range(300)]
    kernel = torch.tensor([kernel_distance(*pair) for pair in pairs])
    error = kernel.std().item() / math.sqrt(len(pairs))
    assert abs(kernel.mean().item()) < 3.5 * error
    frechet = torch.tensor([frechet_distance(*pair) for pair in pairs])
    assert frechet.mean().item() > 20 * frechet.std().item() / math.sqrt(len(pairs))


def test_precision_and_recall_on_a_line_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # balls for k = 1: radii 1, 1, 2, 7
    fake = torch.tensor([[0.5], [4.9], [18.0], [30.0]])  # nearest others: 4.4, 4.4, 12, 12.0
    # Inside a real ball: 0.5 and 4.9 (3 + 2, 10 - 7), not 18 and 30. Inside a fake ball: 0, 1, 3, 10 (18 - 13.1).
    assert precision_recall(real, fake, k=1) == (0.5, 1.0)
    assert precision_recall(fake, real, k=1) == (1.0, 0.5)


def test_a_collapsed_generator_has_precision_and_no_recall():
    real = gaussian(50, 3, seed=8)
    fake = real[7].repeat(50, 1)
    precision, recall = precision_recall(real, fake)
    assert precision == 1.0
    assert recall == 1 / 50  # the one image that it copied


def test_noise_far_from_everything_has_neither():
    real = gaussian(50, 3, seed=9)
    assert precision_recall(real, real + 1000) == (0.0, 0.0)


def test_a_copy_of_the_real_set_has_both():
    real = gaussian(50, 3, seed=10)
    assert precision_recall(real, real.flip(0)) == (1.0, 1.0)


def brute_force_precision(real, fake, k):
    """Kynkaanniemi et al. 2019, equation 1, one pair at a time."""
    inside = 0
    for image in fake.tolist():
        for i, center in enumerate(real.tolist()):
            others = sorted(math.dist(center, other) for j, other in enumerate(real.tolist()) if j != i)
            if math.dist(image, center) <= others[k - 1]:
                inside += 1
                break
    return inside / len(fake)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_agree_with_their_definition(k):
    real, fake = gaussian(40, 2, seed=11), gaussian(30, 2, seed=12, shift=1.0, scale=1.5)
    precision, recall = precision_recall(real, fake, k)
    assert 0 < precision < 1
    assert precision == brute_force_precision(real, fake, k)
    assert recall == brute_force_precision(fake, real, k)


def test_class_histogram_distance_by_hand():
    real, fake = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 2])
    assert class_histogram_distance(real, fake, 3) == pytest.approx((0.25 + 0.5 + 0.25) / 2)
    assert class_histogram_distance(real, real.repeat(3), 3) == 0.0
    assert class_histogram_distance(real, torch.full((5,), 2), 4) == 1.0


def test_no_distance_depends_on_the_order_of_images():
    real, fake = gaussian(60, 6, seed=13), gaussian(60, 6, seed=14, shift=0.3)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for distance in (frechet_distance, kernel_distance):
        assert distance(real[order], fake.flip(0)) == pytest.approx(distance(real, fake), rel=1e-9)
    assert precision_recall(real[order], fake.flip(0)) == precision_recall(real, fake)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, precision_recall])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_feature_that_is_no_number_is_refused_on_either_side(distance, bad):
    good = gaussian(20, 3, seed=15)
    broken = good.clone()
    broken[4, 1] = bad
    for pair in ((good, broken), (broken, good)):
        with pytest.raises(ValueError, match="NaN or infinite"):
            distance(*pair)


@pytest.mark.parametrize(("distance", "least"), [(frechet_distance, 2), (kernel_distance, 2), (precision_recall, 4)])
def test_too_few_images_are_refused_on_either_side(distance, least):
    enough = gaussian(least, 3, seed=16)
    distance(enough, enough)
    for pair in ((enough, enough[1:]), (enough[1:], enough)):
        with pytest.raises(ValueError, match=f"at least {least} rows"):
            distance(*pair)
    with pytest.raises(ValueError, match="got shape"):
        distance(enough[:, 0], enough)


def test_labels_must_be_on_both_sides():
    with pytest.raises(ValueError, match="labels in both sets"):
        class_histogram_distance(torch.tensor([0]), torch.tensor([], dtype=torch.int64), 2)
