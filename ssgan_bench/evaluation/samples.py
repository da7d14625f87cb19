"""Generated images as a picture."""

import io

import torch
from PIL import Image
from torch import Tensor


def sample_grid_png(images: Tensor, columns: int = 5) -> bytes:
    """Encode images (N, C, H, W) float in [-1, 1] as one PNG, row by row with one pixel between them.

    N must be a multiple of `columns`.
    """
    count, channels, height, width = images.shape
    pixels = images.add(1.0).mul(127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    grid = torch.full(
        (channels, count // columns * (height + 1) - 1, columns * (width + 1) - 1), 255, dtype=torch.uint8
    )
    for number, image in enumerate(pixels):
        row, column = divmod(number, columns)
        top, left = row * (height + 1), column * (width + 1)
        grid[:, top : top + height, left : left + width] = image
    array = grid[0].numpy() if channels == 1 else grid.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()
