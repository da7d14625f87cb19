import io

import numpy as np
import pytest
import torch
from PIL import Image

from ssgan_bench.evaluation.samples import sample_grid_png


def decoded(png):
    assert png.startswith(b"\x89PNG")
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_the_grid_holds_every_pixel_row_by_row_with_white_lines_between(channels, mode):
    pixels = torch.randint(0, 255, (6, channels, 2, 4), generator=torch.Generator().manual_seed(0))
    picture = decoded(sample_grid_png(pixels / 127.5 - 1, columns=3))
    assert picture.mode == mode
    assert picture.size == (3 * 4 + 2, 2 * 2 + 1)
    expected = np.full((5, 14, channels), 255)
    for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        top, left = number // 3 * 3, number % 3 * 5
        expected[top : top + 2, left : left + 4] = image
    np.testing.assert_array_equal(np.asarray(picture).reshape(5, 14, channels), expected)


def test_values_are_rounded_and_held_to_the_range():
    images = torch.tensor([-1.0, 1.0, -7.0, 7.0, 0.0, -1 + 2.4 / 127.5, -1 + 2.6 / 127.5]).reshape(7, 1, 1, 1)
    row = np.asarray(decoded(sample_grid_png(images, columns=7)))[0, ::2]
    assert row.tolist() == [0, 255, 0, 255, 128, 2, 3]


def test_the_same_images_give_the_same_bytes():
    images = torch.linspace(-1, 1, 25 * 64).reshape(25, 1, 8, 8)
    assert sample_grid_png(images) == sample_grid_png(images.clone())
    assert decoded(sample_grid_png(images)).size == (5 * 9 - 1, 5 * 9 - 1)
