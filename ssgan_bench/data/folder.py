"""A user's own images: PATH/train/<class>/*, optionally PATH/unlabeled/ and PATH/test/<class>/*.

Class and file names are sorted, so the same folder gives the same tensors on every machine. Hidden files and
files with other suffixes are passed over.
"""

import contextlib
import struct
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ssgan_bench.config import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
# What Pillow's decoders raise on damaged files, seen over its formats.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, IndexError, KeyError)


@dataclass(frozen=True)
class Listing:
    """What a folder holds: files and class indices, nothing decoded. Labels index `class_names`."""

    class_names: tuple[str, ...]
    train_files: tuple[Path, ...]
    train_labels: tuple[int, ...]
    test_files: tuple[Path, ...]
    """Empty where the folder has no test/."""
    test_labels: tuple[int, ...]
    unlabeled_files: tuple[Path, ...]

    def channels(self) -> int:
        """Read the header of every image: 1 when all are grayscale, else 3. WebP and palettes count as color.

        Raises:
            ConfigError: a file is no image.
        """
        gray = all(_mode(path) in _GRAY_MODES for path in self.train_files + self.unlabeled_files + self.test_files)
        return 1 if gray else 3


def list_folder(path: Path) -> Listing:
    """List the images of a folder.

    Raises:
        ConfigError: no train/ folder, fewer than two classes, a class without images, or a test class that
            train/ does not have.
    """
    train = path / "train"
    if not train.is_dir():
        raise ConfigError(
            f"data set folder:{path}: {train} is not a folder; make it, with one folder of images per class"
        )
    class_names = tuple(entry.name for entry in _visible(train) if entry.is_dir())
    if len(class_names) < 2:
        raise ConfigError(
            f"data set folder:{path}: {train} has {len(class_names)} class folder(s); at least 2 are needed, "
            "each with that class's images"
        )
    train_files, train_labels = _list_classes(path, train, class_names)
    test_files: tuple[Path, ...] = ()
    test_labels: tuple[int, ...] = ()
    if (test := path / "test").is_dir():
        test_names = tuple(entry.name for entry in _visible(test) if entry.is_dir())
        if strangers := [name for name in test_names if name not in class_names]:
            raise ConfigError(
                f"data set folder:{path}: {test / strangers[0]} is a class that {train} does not have; "
                f"rename or remove it (known: {_shorten(class_names)})"
            )
        if not test_names:
            raise ConfigError(
                f"data set folder:{path}: {test} has no class folders; add them as in {train}, or remove it"
            )
        test_files, names_index = _list_classes(path, test, test_names)
        test_labels = tuple(class_names.index(test_names[i]) for i in names_index)
    unlabeled = path / "unlabeled"
    unlabeled_files: tuple[Path, ...] = ()
    if unlabeled.is_dir():
        unlabeled_files = tuple(sorted(entry for entry in unlabeled.rglob("*") if _is_image(entry, unlabeled)))
    return Listing(class_names, train_files, train_labels, test_files, test_labels, unlabeled_files)


def decode(files: Sequence[Path], channels: int, image_size: int) -> Tensor:
    """Decode images, crop each to its central square and resize it (antialiased, bilinear).

    Args:
        files: image files of any size; the EXIF orientation of photographs is applied, transparency dropped.
        channels: 1 (grayscale) or 3 (RGB).
        image_size: side in pixels.

    Returns:
        Images (N, channels, image_size, image_size) uint8.

    Raises:
        ConfigError: a file cannot be decoded, or is absurdly large (Pillow's decompression-bomb limit).
    """
    images = torch.empty((len(files), channels, image_size, image_size), dtype=torch.uint8)
    for i, path in enumerate(files):
        with _guarded(path), Image.open(path) as image:
            square = _to_channels(ImageOps.exif_transpose(image), channels)
            side = min(square.size)
            left, top = (square.width - side) // 2, (square.height - side) // 2
            square = square.crop((left, top, left + side, top + side))
            square = square.resize((image_size, image_size), Image.Resampling.BILINEAR)
            pixels = np.array(square, dtype=np.uint8).reshape(image_size, image_size, channels)
        images[i] = torch.from_numpy(pixels).permute(2, 0, 1)
    return images


def _list_classes(path: Path, split: Path, names: Sequence[str]) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    files: list[Path] = []
    labels: list[int] = []
    for index, name in enumerate(names):
        members = [entry for entry in _visible(split / name) if _is_image(entry, split)]
        if not members:
            raise ConfigError(
                f"data set folder:{path}: {split / name} holds no images ({', '.join(SUFFIXES)}); "
                "add some or remove the folder"
            )
        files += members
        labels += [index] * len(members)
    return tuple(files), tuple(labels)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_image(path: Path, base: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _mode(path: Path) -> str:
    with _guarded(path), Image.open(path) as image:
        return image.mode


def _to_channels(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16-bit gray at 255 instead of scaling it.
        values = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    elif image.mode == "P":
        # A palette with transparency goes to RGB through RGBA; the direct way warns and guesses.
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Turn what Pillow raises or warns for one file into a ConfigError that names the file."""
    try:
        with warnings.catch_warnings():
            # Oddities such as a broken EXIF block are no reason to stop; an absurd size is.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ConfigError(
            f"image {path} has more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller or remove it"
        ) from error
    except _DECODE_ERRORS as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 120)
        raise ConfigError(f"image {path} cannot be decoded ({reason}); replace or remove it") from error
