"""Fetching is done once, leaves whole files or none, and says what to put where when it fails."""

import gc
import gzip
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_sets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, listing

from ssgan_bench.config import ConfigError
from ssgan_bench.data import download
from ssgan_bench.data.datasets import load, prepare


@pytest.fixture
def archives(small_fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The raw files as .gz, which torchvision is made to accept as the published ones."""
    from torchvision.datasets import FashionMNIST

    packed = {f"{file}.gz": gzip.compress(content, 1) for file, content in small_fashion.items()}
    resources = [(file, hashlib.md5(content).hexdigest()) for file, content in packed.items()]
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    return packed


@pytest.fixture
def server(archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve the archives on this machine; yields the paths asked for."""
    from torchvision.datasets import FashionMNIST

    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            content = archives.get(self.path.removeprefix("/"))
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{httpd.server_address[1]}/"])
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield requests
        httpd.shutdown()
        thread.join()


def test_prepare_downloads_each_file_once(tmp_path: Path, server: list[str]) -> None:
    prepare("fashion_mnist", tmp_path, progress=False)
    prepare("fashion_mnist", tmp_path, progress=False)
    assert sorted(set(server)) == sorted(f"/{file}" for file in download.LAYOUTS["fashion_mnist"].archives)
    asked = len(server)
    load("fashion_mnist", tmp_path)
    assert len(server) == asked
    assert not (tmp_path / ".fashion_mnist.partial").exists()


def test_only_what_is_missing_is_put_in_place(
    fashion_root: Path, server: list[str], small_fashion: dict[str, bytes]
) -> None:
    raw = fashion_root / "FashionMNIST/raw"
    (raw / TRAIN_LABELS).write_bytes(b"somebody's own")
    (raw / TEST_IMAGES).unlink()
    prepare("fashion_mnist", fashion_root, progress=False)
    assert (raw / TEST_IMAGES).read_bytes() == small_fashion[TEST_IMAGES]
    assert (raw / TRAIN_LABELS).read_bytes() == b"somebody's own"


def test_progress_goes_to_stderr_and_can_be_silenced(
    tmp_path: Path, server: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prepare("fashion_mnist", tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")
    prepare("fashion_mnist", tmp_path / "loud")
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err


def test_a_failed_download_leaves_nothing_and_says_what_to_put_where(
    tmp_path: Path, server: list[str], archives: dict[str, bytes]
) -> None:
    del archives[f"{TEST_LABELS}.gz"]
    with pytest.raises(ConfigError, match="404") as caught:
        prepare("fashion_mnist", tmp_path, progress=False)
    message = str(caught.value)
    del caught
    with warnings.catch_warnings():
        # torchvision leaves the refused response open in its traceback; close it here, not in a later test.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert "\n" not in message
    assert str(tmp_path / "FashionMNIST/raw") in message
    assert f"{TEST_LABELS}.gz" in message
    assert listing(tmp_path) == [".fashion_mnist.lock"]


def test_a_download_with_the_wrong_checksum_is_refused(
    tmp_path: Path, server: list[str], archives: dict[str, bytes]
) -> None:
    archives[f"{TEST_LABELS}.gz"] = gzip.compress(b"something else")
    with pytest.raises(ConfigError, match="corrupted"):
        prepare("fashion_mnist", tmp_path, progress=False)
    assert listing(tmp_path) == [".fashion_mnist.lock"]


def test_a_silent_server_ends_in_a_time_out_and_the_setting_is_restored(
    tmp_path: Path, archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(download, "SOCKET_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        with pytest.raises(ConfigError, match="timed out"):
            prepare("fashion_mnist", tmp_path, progress=False)
    assert socket.getdefaulttimeout() is None


def test_a_root_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--dataset digits"):
        prepare("mnist", tmp_path / "file" / "root", progress=False)


def test_processes_preparing_at_once_all_succeed(tmp_path: Path, archives: dict[str, bytes]) -> None:
    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for file, content in archives.items():
        (raw / file).write_bytes(content)
    # What a killed process left behind must not be taken for data.
    (tmp_path / ".fashion_mnist.partial/FashionMNIST/raw").mkdir(parents=True)
    (tmp_path / ".fashion_mnist.partial/FashionMNIST/raw" / TRAIN_IMAGES).write_bytes(b"half")
    sums = [(file, hashlib.md5(content).hexdigest()) for file, content in archives.items()]
    code = (
        "import sys, pathlib\n"
        "from torchvision.datasets import FashionMNIST\n"
        "from ssgan_bench.data import datasets\n"
        f"FashionMNIST.resources = {sums!r}\n"
        "datasets.KNOWN['fashion_mnist'] = datasets.DatasetInfo(100, 20, 1, 28, 10, tuple('0123456789'))\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "sys.stdin.readline()\n"  # both wait here, so that they start together
        "datasets.prepare('fashion_mnist', root)\n"
        "print(datasets.load('fashion_mnist', root).sha256)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == [load("fashion_mnist", tmp_path).sha256 + "\n"] * 2
