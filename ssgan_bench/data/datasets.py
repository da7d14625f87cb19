"""Data sets as uint8 tensors, verified at every load.

`describe` answers from static facts, `prepare` (coordinator only) fetches, `load` only reads; splitting is in
splits.py. torchvision and scikit-learn are imported where they are used: they cost seconds, which planning
should not pay.
"""

import contextlib
import difflib
import os
import pickle
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from ssgan_bench.config import ConfigError, digest
from ssgan_bench.data import download, folder
from ssgan_bench.data.digits import NUM_TEST, read_digits
from ssgan_bench.data.idx import read_idx
from ssgan_bench.data.pinning import MANIFEST, PINNED, expected_digests, tensor_digests

FOLDER_PREFIX = "folder:"


@dataclass(frozen=True, eq=False)
class ImageData:
    """One data set in memory. Images (N, C, H, W) uint8; labels (N,) int64 in [0, K)."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor | None
    """The official test set, or for digits the fixed one; None where there is none."""
    test_labels: Tensor | None
    unlabeled_images: Tensor | None
    """Extra images that have no label at all (folder data sets); None where there are none."""
    class_names: tuple[str, ...]
    sha256: str
    """Hex digest over names, dtypes, shapes and bytes of all tensors."""


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without loading it."""

    num_train: int
    """Labeled images outside the data set's own test set; validation (and a missing test set) are split off."""
    num_test: int | None
    """Size of the data set's own test set, official or fixed (digits.py); None where there is none."""
    channels: int
    native_size: int | None
    """Side in pixels; None for a folder, whose images vary."""
    num_classes: int
    class_names: tuple[str, ...]
    num_extra_unlabeled: int = 0


_DIGITS = tuple("0123456789")
_FASHION = tuple("T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot".split())
_KUZUSHIJI = tuple("o ki su tsu na ha ma ya re wo".split())
_CIFAR = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())

KNOWN = {
    "digits": DatasetInfo(1_797 - NUM_TEST, NUM_TEST, 1, 8, 10, _DIGITS),
    "mnist": DatasetInfo(60_000, 10_000, 1, 28, 10, _DIGITS),
    "fashion_mnist": DatasetInfo(60_000, 10_000, 1, 28, 10, _FASHION),
    "kmnist": DatasetInfo(60_000, 10_000, 1, 28, 10, _KUZUSHIJI),
    "svhn": DatasetInfo(73_257, 26_032, 3, 32, 10, _DIGITS),
    "cifar10": DatasetInfo(50_000, 10_000, 3, 32, 10, _CIFAR),
}

# What reading damaged IDX, MAT or pickle files raises in idx.py, torchvision, scipy and pickle.
_READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    AssertionError,
    OverflowError,
    EOFError,
    pickle.UnpicklingError,
)


def data_root(data_dir: Path | None) -> Path:
    """Choose torchvision's root: `--data-dir`, else SSGAN_BENCH_DATA, else the user's cache folder."""
    chosen = data_dir or os.environ.get("SSGAN_BENCH_DATA") or platformdirs.user_cache_path("ssgan-bench") / "data"
    return Path(chosen).expanduser().absolute()


def describe(name: str) -> DatasetInfo:
    """Say how large a data set is: a constant for the known ones, counted (image headers only) for a folder.

    Raises:
        ConfigError: unknown name, or a folder that is not arranged as folder.py describes.
    """
    if name.startswith(FOLDER_PREFIX):
        listing = folder.list_folder(_folder_path(name))
        return DatasetInfo(
            num_train=len(listing.train_files),
            num_test=len(listing.test_files) or None,
            channels=listing.channels(),
            native_size=None,
            num_classes=len(listing.class_names),
            class_names=listing.class_names,
            num_extra_unlabeled=len(listing.unlabeled_files),
        )
    if name not in KNOWN:
        close = difflib.get_close_matches(name.lower(), KNOWN, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"unknown data set {name!r}; {hint}known: {', '.join(KNOWN)}, folder:PATH")
    return KNOWN[name]


def is_present(name: str, root: Path) -> bool:
    """Whether `load` would find the files of a data set without a download."""
    describe(name)
    return name not in download.LAYOUTS or not download.missing_files(name, root)


def prepare(name: str, root: Path, progress: bool = True) -> None:
    """Make a data set ready for `load`; only the coordinator calls this. Does nothing when it is there.

    Raises:
        ConfigError: unknown name, unusable folder, or a data set that can be neither found nor fetched.
    """
    describe(name)
    if name in download.LAYOUTS:
        download.fetch(name, root, progress)


def load(name: str, root: Path, *, image_size: int | None = None) -> ImageData:
    """Read a data set and verify counts, shapes, label range and content; never touches the network.

    Args:
        name: a key of KNOWN, or folder:PATH.
        root: torchvision's root; not used by digits and folders.
        image_size: side that a folder's images are resized to; the known data sets keep their own.

    Raises:
        ConfigError: unknown name, missing files, or files whose content is not what it must be.
    """
    if name.startswith(FOLDER_PREFIX):
        return _load_folder(name, image_size)
    info = describe(name)
    if name == "digits":
        tensors = read_digits()
    elif absent := download.missing_files(name, root):
        raise download.missing_error(name, root, f"{len(absent)} of its files are not there")
    elif name == "svhn":
        tensors = _read_svhn(root)
    elif name == "cifar10":
        tensors = _read_cifar10(root)
    else:
        tensors = _read_idx(name, root)
    for key, tensor in tensors.items():
        _check_tensor(name, root, info, key, tensor)
    digests = tensor_digests(tensors)
    expected = expected_digests(name, root, digests)
    for key, found in digests.items():
        if found != (pinned := expected.get(key, "nothing")):
            raise _damaged(name, root, key, f"SHA-256 of {key} is {found[:12]}..., expected {pinned[:12]}...")
    return _image_data(name, tensors, digests, info.class_names)


def _read_idx(name: str, root: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key in ("train_images", "train_labels", "test_images", "test_labels"):
        with _reading(name, root, key):
            content = read_idx(_source(name, root, key))
            tensors[key] = content.unsqueeze(1) if key.endswith("images") else content.long()
    return tensors


def _read_svhn(root: Path) -> dict[str, Tensor]:
    from torchvision.datasets import SVHN

    tensors: dict[str, Tensor] = {}
    for split in ("train", "test"):
        with _reading("svhn", root, f"{split}_images"):
            part = SVHN(str(root), split=split)  # checks the file's MD5 and maps label 10 to 0
        tensors[f"{split}_images"] = torch.from_numpy(np.ascontiguousarray(part.data))
        tensors[f"{split}_labels"] = torch.from_numpy(part.labels)
    return tensors


def _read_cifar10(root: Path) -> dict[str, Tensor]:
    from torchvision.datasets import CIFAR10

    tensors: dict[str, Tensor] = {}
    for split in ("train", "test"):
        with _reading("cifar10", root, f"{split}_images"):
            part = CIFAR10(str(root), train=split == "train")  # checks the MD5 of every file before unpickling
        images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
        tensors[f"{split}_images"] = torch.from_numpy(images)
        tensors[f"{split}_labels"] = torch.tensor(part.targets, dtype=torch.int64)
    return tensors


def _load_folder(name: str, image_size: int | None) -> ImageData:
    if image_size is None:
        raise ConfigError(f"data set {name!r}: its images vary in size; give image_size (data.image_size in a study)")
    listing = folder.list_folder(_folder_path(name))
    channels = listing.channels()
    tensors = {
        "train_images": folder.decode(listing.train_files, channels, image_size),
        "train_labels": torch.tensor(listing.train_labels, dtype=torch.int64),
    }
    if listing.test_files:
        tensors["test_images"] = folder.decode(listing.test_files, channels, image_size)
        tensors["test_labels"] = torch.tensor(listing.test_labels, dtype=torch.int64)
    if listing.unlabeled_files:
        tensors["unlabeled_images"] = folder.decode(listing.unlabeled_files, channels, image_size)
    return _image_data(name, tensors, tensor_digests(tensors), listing.class_names)


def _folder_path(name: str) -> Path:
    if not (path := name.removeprefix(FOLDER_PREFIX)):
        raise ConfigError("data set 'folder:' names no folder; write folder:PATH, with PATH/train/<class>/ below it")
    return Path(path).expanduser()


def _image_data(
    name: str, tensors: dict[str, Tensor], digests: dict[str, str], class_names: tuple[str, ...]
) -> ImageData:
    return ImageData(
        name=name,
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"],
        test_images=tensors.get("test_images"),
        test_labels=tensors.get("test_labels"),
        unlabeled_images=tensors.get("unlabeled_images"),
        class_names=class_names,
        sha256=digest(digests),
    )


def _check_tensor(name: str, root: Path, info: DatasetInfo, key: str, tensor: Tensor) -> None:
    """Refuse a tensor whose shape, dtype or label range is not the data set's."""
    num_images = info.num_train if key.startswith("train") else info.num_test
    if key.endswith("images"):
        shape: tuple[int | None, ...] = (num_images, info.channels, info.native_size, info.native_size)
        dtype = torch.uint8
    else:
        shape, dtype = (num_images,), torch.int64
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        found = f"{key} is {tuple(tensor.shape)} {tensor.dtype}"
        raise _damaged(name, root, key, f"{found}, expected {shape} {dtype}")
    if key.endswith("labels") and not 0 <= int(tensor.min()) <= int(tensor.max()) < info.num_classes:
        found = f"{key} lie in [{int(tensor.min())}, {int(tensor.max())}]"
        raise _damaged(name, root, key, f"{found}, expected [0, {info.num_classes - 1}]")


def _source(name: str, root: Path, key: str) -> Path:
    """Say which file (or folder) a tensor was read from."""
    layout = download.LAYOUTS[name]
    base = root / layout.folder
    if name == "cifar10":
        return base
    if name == "svhn":
        return base / layout.files[key.startswith("test")]
    return base / layout.files[("train_images", "train_labels", "test_images", "test_labels").index(key)]


@contextlib.contextmanager
def _reading(name: str, root: Path, key: str) -> Iterator[None]:
    try:
        yield
    except _READ_ERRORS as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 120)
        raise _damaged(name, root, key, f"cannot be read: {reason}") from error


def _damaged(name: str, root: Path, key: str, what: str) -> ConfigError:
    if name == "digits":
        return ConfigError(f"data set 'digits': scikit-learn's own copy is damaged ({what}); reinstall scikit-learn")
    remedy = "delete it and run again with network access, or copy it again from a good source"
    if name not in PINNED and what.startswith("SHA-256"):
        remedy += f" (if the new content is right, delete {root / MANIFEST} instead)"
    return ConfigError(f"data set {name!r}: {_source(name, root, key)} is damaged ({what}); {remedy}")
