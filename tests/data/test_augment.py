import pytest
import torch
import torch.nn.functional as F
from tiny_runs import textured_images, tiny_batches, tiny_config

from ssgan_bench.data.augment import ROTATION_DEGREES, SHIFT, random_affine


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def blob(count, size=32):
    """A smooth bright spot in the middle of black images."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    spot = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 0.02) * 2 - 1
    return spot.expand(count, 1, size, size).clone()


def centers(images):
    """Center of brightness (y, x) of every image, in shares of the side from the middle."""
    mass = images[:, 0] + 1
    side = images.shape[-1]
    axis = (torch.arange(side) + 0.5) / side - 0.5
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(2) @ axis) / total, (mass.sum(1) @ axis) / total], 1)


def test_strength_zero_returns_the_images_themselves():
    images = blob(3)
    assert random_affine(images, 0.0, stream()) is images


def test_a_batch_is_a_function_of_the_generator_alone():
    images = blob(4)
    first, again, other = (random_affine(images, 1.0, stream(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_first_images_of_a_larger_batch_are_distorted_as_those_of_a_smaller_one():
    large, small = (random_affine(blob(count), 1.0, stream()) for count in (20, 8))
    assert torch.equal(large[:8], small)


def test_every_image_is_distorted_by_its_own_amount_and_stays_in_range():
    distorted = random_affine(blob(5), 1.0, stream())
    assert all(not torch.equal(distorted[0], image) for image in distorted[1:])
    assert distorted.min() >= -1 - 1e-6
    assert distorted.max() <= 1 + 1e-6


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_a_centered_spot_moves_by_at_most_the_shift_and_about_uniformly(strength):
    moved = centers(random_affine(blob(2000), strength, stream()))
    limit = SHIFT * strength
    assert 0.95 * limit < moved.abs().max() < 1.02 * limit
    torch.testing.assert_close(moved.mean(0), torch.zeros(2), atol=0.05 * limit, rtol=0)
    torch.testing.assert_close(moved.std(0), torch.full((2,), limit / 3**0.5), atol=0.06 * limit, rtol=0)


def test_a_horizontal_bar_turns_by_at_most_the_stated_angle():
    size = 64
    axis = torch.linspace(-1, 1, size)
    bar = (torch.exp(-(axis[:, None] ** 2) / 0.01) * (axis.abs() < 0.7)[None, :]) * 2 - 1
    distorted = random_affine(bar.expand(300, 1, size, size).clone(), 1.0, stream())
    mass = distorted[:, 0] + 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    total = mass.sum((1, 2))
    x_mean, y_mean = (mass * x).sum((1, 2)) / total, (mass * y).sum((1, 2)) / total
    dx, dy = x - x_mean[:, None, None], y - y_mean[:, None, None]
    angles = torch.rad2deg(torch.atan((mass * dx * dy).sum((1, 2)) / (mass * dx**2).sum((1, 2))))
    assert 0.8 * ROTATION_DEGREES < angles.abs().max() < 1.1 * ROTATION_DEGREES  # a horizontal bar feels no shear


def test_what_comes_in_from_outside_is_black():
    darkest = random_affine(torch.ones(200, 1, 16, 16), 2.0, stream()).amin(dim=(1, 2, 3))
    assert (darkest < -0.9).float().mean() > 0.8  # the others were enlarged and hardly moved
    assert darkest.min() == -1.0


def test_batches_distort_real_images_and_append_stronger_views_for_the_student():
    method = {"name": "consistency", "student_augmentation": 3.0}
    plain = tiny_batches(tiny_config(), images=textured_images())(2)
    train = {"augmentation": 1.0, "weight_average": 0.9}
    distorted = tiny_batches(tiny_config(method=method, train=train), images=textured_images())(2)
    assert (plain.unlabeled, plain.student) == (slice(4, 12), slice(12, 12))
    assert (distorted.unlabeled, distorted.student) == (slice(4, 12), slice(12, 20))
    assert len(distorted.images) == len(distorted.labels) == len(distorted.labeled_mask) == 20
    assert torch.equal(distorted.labels[:12], plain.labels)
    assert distorted.labeled_mask.tolist() == [1.0] * 4 + [0.0] * 16
    weak = F.mse_loss(distorted.images[distorted.unlabeled], plain.images[plain.unlabeled])
    strong = F.mse_loss(distorted.images[distorted.student], plain.images[plain.unlabeled])
    assert 0 < weak < strong
    off = tiny_batches(tiny_config(method=method | {"student_augmentation": 0.0}, train={"weight_average": 0.9}))(2)
    assert torch.equal(off.images[off.student], off.images[off.unlabeled])  # the same images in the same order
