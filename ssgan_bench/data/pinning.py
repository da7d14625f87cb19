"""What the content of each known data set must be: SHA-256 of its decoded tensors.

Constants where genuine data was at hand; the other data sets are pinned by their first load in a manifest
beside the data, so that later damage or replacement is noticed.
"""

import contextlib
import hashlib
import json
from pathlib import Path

import filelock
import numpy as np
from torch import Tensor

from ssgan_bench.config import ConfigError

MANIFEST = "ssgan_bench_sha256.json"

PINNED: dict[str, dict[str, str]] = {
    "digits": {
        "train_images": "1c469b6dfef2c46ed19a66e0c9bb452df2f22bd1ff71e467e48febffdad976e7",
        "train_labels": "4850133588499fce921d8f747cfa9dcb6c671475fe9d3545858862a68132a919",
        "test_images": "54b953a0d875a7b455ab72c281ea9bdf715c9ea765ef5b64c9e20185f818235c",
        "test_labels": "efbe5be5cfa6b5a76d08b17b88a4103d07e2fb9057fb855dd62ce7253aa7c9e9",
    },
    "mnist": {
        "train_images": "335fc67ef24a632c1451ee640a2affda5bf8992df7234de860d1f50b01536283",
        "train_labels": "2cd5398f3393ac61f3f41925bbc70d1abb96bc7a979ce3df391b12b9602f9915",
        "test_images": "ad1dacef02d5ad6f010bdc53dbc62432d4021caaf293181123dfb2058a60e351",
        "test_labels": "d2dee8c689fdd09b8ce84ebb74de398df9d413bbdc56ab6f295e7245dd4074e1",
    },
}


def tensor_digests(tensors: dict[str, Tensor]) -> dict[str, str]:
    """SHA-256 (hex) of each tensor's name, dtype, shape and little-endian bytes."""
    digests: dict[str, str] = {}
    for key, tensor in tensors.items():
        array = np.ascontiguousarray(tensor.numpy())
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        hashed = hashlib.sha256(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hashed.update(array.data)
        digests[key] = hashed.hexdigest()
    return digests


def expected_digests(name: str, root: Path, digests: dict[str, str]) -> dict[str, str]:
    """Look up what a known data set's digests must be; pin the ones found where there are none yet.

    Args:
        name: data set.
        root: folder of the manifest.
        digests: those of the tensors just read, in the form of `tensor_digests`.

    Raises:
        ConfigError: the manifest is damaged.
    """
    if name in PINNED:
        return PINNED[name]
    path = root / MANIFEST
    if pinned := _read_manifest(path).get(name):
        return pinned
    # A root that cannot be written (shared, read-only) is fine: then nothing is pinned.
    with contextlib.suppress(OSError), filelock.FileLock(root / f".{MANIFEST}.lock", timeout=60):
        entries = _read_manifest(path)
        entries.setdefault(name, digests)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(path)
        return entries[name]
    return digests


def _read_manifest(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_bytes())
        return {str(name): {str(k): str(v) for k, v in value.items()} for name, value in entries.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}); delete it, and the data sets are pinned again at their next load"
        ) from error
