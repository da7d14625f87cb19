"""Random affine augmentation of a batch on its device: rotation, scale, shear and shift, one draw per image.

No flips: a mirrored 2 is no 2. Shapes: B batch, C channels, H W.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROTATION_DEGREES = 10.0
SCALE = 0.1
SHEAR = 0.1
SHIFT = 0.1
"""Half-widths of the uniform ranges at strength 1: angle, relative size, tangent of the shear, share of the side."""


def random_affine(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shear and shift every image by its own random amount; uncovered pixels become -1 (black).

    All ranges grow in proportion to `strength`. Bilinear sampling.

    Args:
        images: (B, C, H, W) float in [-1, 1].
        strength: 0 leaves the images as they are; 1 means +-10 degrees, +-10 % size, shear and shift.
        generator: on the images' device; five numbers per image are drawn from it.

    Returns:
        (B, C, H, W) float in [-1, 1].
    """
    if strength == 0.0:
        return images
    # One row per image: the labeled images, which come first in a batch, are distorted alike in every arm of a study.
    drawn = torch.rand(len(images), 5, generator=generator, device=images.device).T * (2 * strength) - strength
    angle, scale = drawn[0] * math.radians(ROTATION_DEGREES), torch.exp(drawn[1] * SCALE)
    shear, shift = drawn[2] * SHEAR, drawn[3:] * (2 * SHIFT)  # the side is 2 in affine_grid's coordinates
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # input position = rotation @ [[scale, 0], [0, scale]] @ [[1, shear], [0, 1]] @ (output position - shift)
    linear = torch.stack([cos, cos * shear - sin, sin, sin * shear + cos], 1).view(-1, 2, 2)
    offset = -(linear @ shift.T.unsqueeze(2))
    grid = F.affine_grid(torch.cat([linear, offset], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1.0, grid, align_corners=False) - 1.0
