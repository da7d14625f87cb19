"""A user's own folder of images: what is read, in which order, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssgan_bench.config import ConfigError
from ssgan_bench.data.datasets import describe, load, prepare
from ssgan_bench.data.folder import decode, list_folder


def save(path: Path, *, mode: str = "L", size: tuple[int, int] = (12, 12), value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "P") else (value,) * len(mode)).save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of different sizes, three extra images (one nested), a test set that lacks one class."""
    for i in range(3):
        save(tmp_path / f"train/cat/{i}.png", size=(20 + i, 12), value=10 * i)
    for i in range(2):
        save(tmp_path / f"train/ant/{i}.bmp", size=(12, 30), value=100 + i)
    save(tmp_path / "unlabeled/b.png", value=7)
    save(tmp_path / "unlabeled/a.png", value=6)
    save(tmp_path / "unlabeled/deep/er/c.PNG", value=8)
    save(tmp_path / "test/cat/x.png", value=200)
    return tmp_path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(f"folder:{path}", Path("unused"), image_size=16)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_folder_loads_in_sorted_order_with_labels_by_class_name(images: Path) -> None:
    data = load(f"folder:{images}", Path("unused"), image_size=16)
    assert data.class_names == ("ant", "cat")
    assert data.train_images.shape == (5, 1, 16, 16)
    assert data.train_images.dtype == torch.uint8
    assert data.train_images[:, 0, 8, 8].tolist() == [100, 101, 0, 10, 20]
    assert data.train_labels.tolist() == [0, 0, 1, 1, 1]
    assert data.test_labels is not None
    assert data.test_labels.tolist() == [1]
    assert data.unlabeled_images is not None
    assert data.unlabeled_images[:, 0, 0, 0].tolist() == pytest.approx([6, 7, 8], abs=1)


def test_describe_counts_without_decoding(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    info = describe(f"folder:{images}")
    assert (info.num_train, info.num_test, info.num_extra_unlabeled) == (5, 1, 3)
    assert (info.channels, info.native_size, info.num_classes) == (1, None, 2)


def test_folder_without_test_and_unlabeled_has_neither(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"train/{name}/0.png")
    data = load(f"folder:{tmp_path}", Path("unused"), image_size=8)
    assert data.test_images is data.test_labels is data.unlabeled_images is None
    assert describe(f"folder:{tmp_path}").num_test is None


def test_one_color_image_makes_all_images_rgb(images: Path) -> None:
    save(images / "unlabeled/color.png", mode="RGB", value=9)
    data = load(f"folder:{images}", Path("unused"), image_size=16)
    assert describe(f"folder:{images}").channels == 3
    assert data.train_images.shape == (5, 3, 16, 16)
    assert data.train_images[1, :, 8, 8].tolist() == [101, 101, 101]


def test_images_are_cropped_to_their_central_square(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24), dtype=np.uint8)
    pixels[:, 8:16] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (decode([tmp_path / "wide.png"], 1, 8) == 255).all()


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert decode([tmp_path / "deep.png"], 1, 8).unique().tolist() == [128]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_and_palettes_are_decoded_without_warnings(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "image.png", mode=mode, value=0)
    assert decode([path], 3, 8).shape == (1, 3, 8, 8)


def test_photographs_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[:4] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "photo.png", exif=exif)
    top, bottom = decode([tmp_path / "photo.png"], 1, 8)[0, 0].split(4)
    assert (top == 0).all()
    assert (bottom == 255).all()


def test_content_decides_the_digest(images: Path) -> None:
    first = load(f"folder:{images}", Path("unused"), image_size=16).sha256
    assert load(f"folder:{images}", Path("elsewhere"), image_size=16).sha256 == first
    save(images / "unlabeled/a.png", value=66)
    assert load(f"folder:{images}", Path("unused"), image_size=16).sha256 != first


def test_hidden_and_other_files_are_passed_over(images: Path) -> None:
    (images / "train/cat/._0.png").write_bytes(b"resource fork")
    (images / "train/.cache").mkdir()
    (images / "train/notes.txt").write_text("text")
    (images / "unlabeled/notes.txt").write_text("text")
    prepare(f"folder:{images}", Path("unused"))
    info = describe(f"folder:{images}")
    assert (info.num_train, info.num_extra_unlabeled, info.class_names) == (5, 3, ("ant", "cat"))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named(images: Path, content: bytes) -> None:
    bad = images / "train/cat/1.png"
    bad.write_bytes(content)
    assert str(bad) in refusal(images)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_a_truncated_image_is_named(images: Path, suffix: str) -> None:
    bad = images / f"train/cat/noise{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(bad)
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    assert str(bad) in refusal(images)


@pytest.mark.parametrize("excess", [1.5, 3])  # Pillow warns above its limit and raises above twice its limit
def test_an_absurdly_large_image_is_named(images: Path, monkeypatch: pytest.MonkeyPatch, excess: float) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    bad = save(images / "unlabeled/huge.png", size=(int(1000 * excess), 1))
    message = refusal(images)
    assert str(bad) in message
    assert "1000 pixels" in message


def test_a_folder_needs_a_size(images: Path) -> None:
    with pytest.raises(ConfigError, match="give image_size"):
        load(f"folder:{images}", Path("unused"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere/train") in refusal(tmp_path / "nowhere")


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="folder:PATH"):
        describe("folder:")


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "train/only/0.png")
    assert "1 class folder(s); at least 2" in refusal(tmp_path)


def test_a_class_without_images_is_named(images: Path) -> None:
    (images / "train/bee").mkdir()
    assert str(images / "train/bee") in refusal(images)


def test_a_test_class_that_training_lacks_is_named(images: Path) -> None:
    save(images / "test/dog/0.png")
    message = refusal(images)
    assert str(images / "test/dog") in message
    assert "ant, cat" in message


def test_a_test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"train/{name}/0.png")
    save(tmp_path / "test/0.png")
    assert "has no class folders" in refusal(tmp_path)


def test_listing_does_not_depend_on_the_order_of_the_file_system(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list_folder(images)
    forward = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(sorted(forward(self))))
    assert list_folder(images) == expected
