"""The IDX format, in which MNIST and its successors are published.

Read here and not by torchvision, whose import takes 160 MiB and seconds from every worker (LOG.md). Big-endian: two
zero bytes, the type of the elements, the number of dimensions, each one's size in 32 bits; then the elements.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UINT8 = 8
"""The type of the elements in all files of these data sets."""


def read_idx(path: Path) -> Tensor:
    """Read a file of bytes as a tensor, uint8, of the sizes that the file gives.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not in the format, its elements are not bytes, or there are more or fewer than the sizes say.
    """
    content = np.fromfile(path, dtype=np.uint8)
    head = content[:4].tolist()
    if len(head) < 4 or head[:3] != [0, 0, UINT8]:
        raise ValueError(f"it starts with bytes {head}, not with 0, 0, {UINT8} and the number of dimensions")
    start = 4 + 4 * head[3]
    shape = content[4:start].view(">u4").tolist() if len(content) >= start else []
    if len(shape) != head[3] or len(content) - start != math.prod(shape):
        raise ValueError(f"it holds {len(content)} bytes, which {head[3]} dimensions of sizes {shape} do not explain")
    return torch.from_numpy(content[start:].reshape(shape))
