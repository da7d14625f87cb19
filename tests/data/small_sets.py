"""Small files in the published formats, and what the tests of reading and of fetching them share."""

import struct
from pathlib import Path

import numpy as np
import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.data import download
from ssgan_bench.data.datasets import load

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = download.LAYOUTS["fashion_mnist"].files


def refusal(name: str, root: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(name, root)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    return message


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def idx_bytes(array: np.ndarray) -> bytes:
    """Write the IDX format of uint8 arrays: magic 0x08 and rank, sizes, values, all big-endian."""
    return struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def fake_fashion() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        TRAIN_IMAGES: idx_bytes(rng.integers(0, 256, (100, 28, 28), dtype=np.uint8)),
        TRAIN_LABELS: idx_bytes(np.arange(100, dtype=np.uint8) % 10),
        TEST_IMAGES: idx_bytes(rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)),
        TEST_LABELS: idx_bytes(np.arange(20, dtype=np.uint8) % 10),
    }
