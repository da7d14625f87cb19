"""A data set of 120 images that passes for fashion_mnist."""

from pathlib import Path

import pytest
from small_sets import fake_fashion

from ssgan_bench.data import datasets
from ssgan_bench.data.datasets import DatasetInfo


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Let fashion_mnist be 100 + 20 images; returns its raw files."""
    monkeypatch.setitem(datasets.KNOWN, "fashion_mnist", DatasetInfo(100, 20, 1, 28, 10, tuple("0123456789")))
    return fake_fashion()


@pytest.fixture
def fashion_root(tmp_path: Path, small_fashion: dict[str, bytes]) -> Path:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file, content in small_fashion.items():
        (raw / file).write_bytes(content)
    return tmp_path
