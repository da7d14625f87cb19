"""Known data sets: genuine content is recognized, damage is named, planning is cheap.

Where the genuine files cannot be had, small files in the same formats stand in for them.
"""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from small_sets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx_bytes, listing, refusal

from ssgan_bench.config import ConfigError
from ssgan_bench.data import datasets, digits, download, pinning
from ssgan_bench.data.datasets import DatasetInfo, data_root, describe, load, prepare
from ssgan_bench.data.idx import read_idx

GENUINE_MNIST = Path(__file__).parents[3] / "shared" / "data" / "MNIST" / "raw"


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Genuine MNIST, extracted by prepare() from local archives without network."""
    if not GENUINE_MNIST.is_dir():
        pytest.skip("genuine MNIST archives are not at hand")
    root = tmp_path_factory.mktemp("mnist")
    (root / "MNIST/raw").mkdir(parents=True)
    for path in GENUINE_MNIST.glob("*.gz"):
        shutil.copyfile(path, root / "MNIST/raw" / path.name)
    prepare("mnist", root, progress=False)
    return root


# ---- genuine content


def test_digits_load_without_files_or_network(tmp_path: Path) -> None:
    prepare("digits", tmp_path)
    data = load("digits", tmp_path)
    assert listing(tmp_path) == []
    assert data.train_images.shape == (1300, 1, 8, 8)
    assert data.train_images.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    assert data.train_labels.bincount().tolist() == [129, 132, 128, 132, 131, 132, 131, 129, 126, 130]
    assert data.test_images is not None
    assert data.test_labels is not None
    assert data.test_images.shape == (497, 1, 8, 8)
    assert data.test_labels.bincount().tolist() == [49, 50, 49, 51, 50, 50, 50, 50, 48, 50]
    assert data.unlabeled_images is None


def test_the_test_images_of_the_digits_are_the_same_for_ever() -> None:
    """SHA-256 of their positions in scikit-learn's order, as little-endian int64."""
    bunch = load_digits()
    images = np.round(bunch.images * 255 / 16).astype(np.uint8)
    test = digits.fixed_test_set(images, bunch.target)
    assert len(set(test.tolist())) == 497
    found = hashlib.sha256(test.astype("<i8").tobytes()).hexdigest()
    assert found == "b45762cf7470a6a11ba3c2d7aaa433d0773b2072dfcb9240522d7ee4ba311dd0"
    data = load("digits", Path("unused"))
    assert data.test_images is not None
    assert data.test_images[:, 0].numpy().tobytes() == images[test].tobytes()
    others = np.delete(images, test, axis=0)
    assert data.train_images[:, 0].numpy().tobytes() == others.tobytes()
    # An image decides for itself: in another order the same are chosen.
    order = np.random.default_rng(0).permutation(len(images))
    assert sorted(order[digits.fixed_test_set(images[order], bunch.target[order])]) == test.tolist()


def test_digits_gray_levels_are_sixteenths_of_255_rounded() -> None:
    levels = load("digits", Path("unused")).train_images.unique().tolist()
    assert levels == [round(v * 255 / 16) for v in range(17)]


def test_changed_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = datasets.read_digits()
    tensors["train_images"][100, 0, 3, 3] ^= 1
    monkeypatch.setattr(datasets, "read_digits", lambda: tensors)
    assert "reinstall scikit-learn" in refusal("digits", Path("unused"))


def test_genuine_mnist_is_recognized(mnist_root: Path) -> None:
    data = load("mnist", mnist_root)
    assert data.test_images is not None
    assert data.test_labels is not None
    assert (data.train_images.shape, data.test_images.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert load("mnist", mnist_root).sha256 == data.sha256


def test_complete_data_are_read_without_writing(mnist_root: Path) -> None:
    before = listing(mnist_root)
    mnist_root.chmod(0o555)
    try:
        prepare("mnist", mnist_root)
        load("mnist", mnist_root)
    finally:
        mnist_root.chmod(0o755)
    assert listing(mnist_root) == before


@pytest.mark.parametrize("file", download.LAYOUTS["mnist"].files)
def test_one_flipped_bit_in_genuine_mnist_is_refused_by_file_name(mnist_root: Path, file: str) -> None:
    path = mnist_root / "MNIST/raw" / file
    genuine = path.read_bytes()
    flipped = bytearray(genuine)
    flipped[-9] ^= 1
    path.write_bytes(flipped)
    try:
        message = refusal("mnist", mnist_root)
    finally:
        path.write_bytes(genuine)
    assert str(path) in message
    assert "delete it and run again" in message
    load("mnist", mnist_root)


# ---- damage


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("file", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
@pytest.mark.parametrize("damage", [cut, flip, lambda c: b"", lambda c: c[:6], lambda c: c + c, lambda c: b"\0" * 9])
def test_a_damaged_raw_file_is_named_with_the_remedy(fashion_root: Path, file: str, damage: Any) -> None:
    load("fashion_mnist", fashion_root)
    path = fashion_root / "FashionMNIST/raw" / file
    path.write_bytes(damage(path.read_bytes()))
    message = refusal("fashion_mnist", fashion_root)
    assert f"{path} is damaged" in message
    assert "delete it and run again with network access, or copy it again" in message


def test_fewer_labels_than_images_are_refused(fashion_root: Path) -> None:
    path = fashion_root / "FashionMNIST/raw" / TRAIN_LABELS
    path.write_bytes(idx_bytes(np.zeros(90, dtype=np.uint8)))
    message = refusal("fashion_mnist", fashion_root)
    assert "(90,)" in message
    assert "(100,)" in message


def test_labels_out_of_range_are_refused(fashion_root: Path) -> None:
    path = fashion_root / "FashionMNIST/raw" / TEST_LABELS
    path.write_bytes(idx_bytes(np.arange(20, dtype=np.uint8)))
    assert "[0, 19], expected [0, 9]" in refusal("fashion_mnist", fashion_root)


def test_an_old_processed_folder_is_not_read_instead_of_the_raw_files(fashion_root: Path) -> None:
    expected = load("fashion_mnist", fashion_root)
    processed = fashion_root / "FashionMNIST/processed"
    processed.mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save(
            (torch.zeros(100, 28, 28, dtype=torch.uint8), torch.zeros(100, dtype=torch.int64)),
            processed / file,
        )
    assert load("fashion_mnist", fashion_root).sha256 == expected.sha256


def test_missing_files_are_refused_with_what_to_put_where(tmp_path: Path) -> None:
    for name in download.LAYOUTS:
        message = refusal(name, tmp_path)
        assert str(tmp_path) in message
        assert all(archive in message for archive in download.LAYOUTS[name].archives)
        assert "--dataset digits" in message


def test_one_missing_file_is_named(fashion_root: Path) -> None:
    path = fashion_root / "FashionMNIST/raw" / TEST_LABELS
    path.unlink()
    assert f"{path} is missing" in refusal("fashion_mnist", fashion_root)


# ---- the manifest


def test_the_first_load_pins_the_content(fashion_root: Path) -> None:
    load("fashion_mnist", fashion_root)
    manifest = fashion_root / pinning.MANIFEST
    assert sorted(json.loads(manifest.read_text())["fashion_mnist"]) == [
        "test_images",
        "test_labels",
        "train_images",
        "train_labels",
    ]
    before = manifest.read_bytes()
    load("fashion_mnist", fashion_root)
    assert manifest.read_bytes() == before


def test_the_manifest_keeps_other_data_sets(fashion_root: Path) -> None:
    manifest = fashion_root / pinning.MANIFEST
    manifest.write_text('{"kmnist": {"train_images": "00"}}')
    load("fashion_mnist", fashion_root)
    assert json.loads(manifest.read_text())["kmnist"] == {"train_images": "00"}


def test_an_unwritable_root_is_read_without_pinning(fashion_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(filelock, "FileLock", refuse)
    assert len(load("fashion_mnist", fashion_root).train_labels) == 100
    assert not (fashion_root / pinning.MANIFEST).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fashion_mnist": 3}'])
def test_a_damaged_manifest_is_named(fashion_root: Path, content: str) -> None:
    (fashion_root / pinning.MANIFEST).write_text(content)
    with pytest.raises(ConfigError, match=rf"{pinning.MANIFEST} is damaged .* delete it"):
        load("fashion_mnist", fashion_root)


# ---- SVHN and CIFAR-10, in their own formats


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def svhn_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """30 + 10 images in .mat files: (32, 32, 3, N), label 10 for the digit 0."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    monkeypatch.setitem(datasets.KNOWN, "svhn", DatasetInfo(30, 10, 3, 32, 10, tuple("0123456789")))
    expected = {}
    for split, count in (("train", 30), ("test", 10)):
        images = np.zeros((32, 32, 3, count), dtype=np.uint8)
        images[5, 7, 2, :] = np.arange(count)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8).reshape(-1, 1)
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": images, "y": labels})
        expected[split] = ["http://127.0.0.1:9/", path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", expected)
    return tmp_path


def test_svhn_is_read_channels_first_with_labels_from_zero(svhn_root: Path) -> None:
    data = load("svhn", svhn_root)
    assert data.train_images.shape == (30, 3, 32, 32)
    assert data.train_images[:, 2, 5, 7].tolist() == list(range(30))
    assert data.train_labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert data.test_labels is not None
    assert len(data.test_labels) == 10


def test_a_damaged_svhn_file_is_named(svhn_root: Path) -> None:
    path = svhn_root / "test_32x32.mat"
    path.write_bytes(flip(path.read_bytes()))
    assert f"{path} is damaged" in refusal("svhn", svhn_root)


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """50 + 10 images as pickled rows of 3072 values, channel by channel; packed as the published archive."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setitem(datasets.KNOWN, "cifar10", DatasetInfo(50, 10, 3, 32, 10, tuple("0123456789")))
    folder = tmp_path / "build/cifar-10-batches-py"
    folder.mkdir(parents=True)
    sums = {}
    for i, file in enumerate(download.LAYOUTS["cifar10"].files):
        content: dict[str, Any] = {"label_names": list("0123456789")}
        if file != "batches.meta":
            rows = np.zeros((10, 3072), dtype=np.uint8)
            rows[:, 1024 + 32 * 5 + 7] = 10 * i + np.arange(10)
            content = {"data": rows, "labels": list(range(10))}
        (folder / file).write_bytes(pickle.dumps(content))
        sums[file] = md5(folder / file)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(tmp_path / "build")
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/")
    return tmp_path


# torchvision extracts without naming a filter, which Python 3.12 and 3.13 announce to be changing.
@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_cifar10_is_extracted_from_its_archive_and_read_channels_first(cifar_root: Path) -> None:
    prepare("cifar10", cifar_root, progress=False)
    data = load("cifar10", cifar_root)
    assert data.train_images.shape == (50, 3, 32, 32)
    assert data.train_images[:, 1, 5, 7].tolist() == list(range(50))
    assert data.test_images is not None
    assert data.test_images[:, 1, 5, 7].tolist() == list(range(50, 60))
    assert data.train_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    path = cifar_root / "cifar-10-batches-py/data_batch_3"
    path.write_bytes(flip(path.read_bytes()))
    assert f"{path.parent} is damaged" in refusal("cifar10", cifar_root)


# ---- names, roots, planning


@pytest.mark.parametrize("call", [describe, lambda name: load(name, Path()), lambda name: prepare(name, Path())])
@pytest.mark.parametrize(("name", "hint"), [("minst", "'mnist'"), ("CIFAR10", "'cifar10'"), ("imagenet", "known: ")])
def test_an_unknown_name_is_refused_with_the_known_ones(call: Any, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown data set '{name}'") as caught:
        call(name)
    assert hint in str(caught.value)
    assert "digits, mnist, fashion_mnist, kmnist, svhn, cifar10, folder:PATH" in str(caught.value)


def test_describe_agrees_with_the_loaded_digits() -> None:
    info, data = describe("digits"), load("digits", Path("unused"))
    assert data.train_images.shape == (info.num_train, info.channels, info.native_size, info.native_size)
    assert data.test_labels is not None
    assert (info.num_train, info.num_test) == (len(data.train_labels), len(data.test_labels))
    assert data.class_names == info.class_names
    assert len(info.class_names) == info.num_classes == int(data.train_labels.max()) + 1


def test_every_known_data_set_names_all_its_classes() -> None:
    assert [name for name, info in datasets.KNOWN.items() if len(set(info.class_names)) != info.num_classes] == []


def test_root_is_the_argument_else_the_environment_else_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSGAN_BENCH_DATA", str(tmp_path / "env"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root(None) == tmp_path / "env"
    monkeypatch.setenv("SSGAN_BENCH_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root(None).name == "data"
    assert "ssgan-bench" in str(data_root(None))


@pytest.mark.parametrize("file", [TRAIN_IMAGES, TEST_LABELS])
def test_idx_files_are_read_as_torchvision_reads_them(fashion_root: Path, file: str) -> None:
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    path = fashion_root / "FashionMNIST/raw" / file
    assert torch.equal(read_idx(path), read_sn3_pascalvincent_tensor(str(path)))


def test_reading_idx_files_imports_no_torchvision(fashion_root: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ssgan_bench.data.datasets import KNOWN, DatasetInfo, load\n"
        f"KNOWN['fashion_mnist'] = {datasets.KNOWN['fashion_mnist']!r}\n"
        f"load('fashion_mnist', Path({str(fashion_root)!r}))\n"
        "print([m for m in ('torchvision', 'sklearn', 'scipy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_planning_imports_neither_torchvision_nor_sklearn() -> None:
    code = (
        "import sys\n"
        "from ssgan_bench.data import datasets\n"
        "datasets.describe('cifar10')\n"
        "print([m for m in ('torchvision', 'sklearn', 'scipy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
