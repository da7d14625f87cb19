"""A plain installation has what a checkout has: the studies and the report's templates."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssgan_bench.trials.study_paths import study_paths

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.name for path in (ROOT / "studies").glob("*.toml"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is published."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed; the package cannot be built without network")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("ssgan_bench", "studies"):  # a build leaves files beside what it builds
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-build-isolation", "--wheel-dir", target, source)
    return next(target.glob("*.whl"))


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of its own into which the package is installed without its dependencies."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--target", target, wheel)
    return target


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as an environment lays it out: packages below lib/, other files beside that."""
    target = tmp_path_factory.mktemp("prefix")
    pip("install", "--ignore-installed", "--prefix", target, wheel)
    return target


def run(packages: Path, folder: Path, *arguments: str) -> str:
    """What the installed package prints when it is run in a folder that has nothing of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("layout", ["installed", "prefix"])
def test_an_installed_package_lists_the_studies_from_any_folder(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root: Path = request.getfixturevalue(layout)
    packages = next(root.rglob("ssgan_bench")).parent
    code = (
        "from ssgan_bench.trials.study_paths import __file__, study_paths\n"
        "print(__file__, *study_paths().values(), sep='\\n')"
    )
    module, *paths = map(Path, run(packages, tmp_path, "-c", code).splitlines())
    assert module.is_relative_to(root)
    assert sorted(path.name for path in paths) == STUDIES
    for path in paths:
        assert path.is_relative_to(root)
        assert path.read_bytes() == (ROOT / "studies" / path.name).read_bytes()
    listing = run(packages, tmp_path, "-m", "ssgan_bench.study")
    assert all(f"  {Path(name).stem}\n" in listing for name in STUDIES)
    assert "cannot be used" not in listing


@pytest.mark.parametrize("layout", ["installed", "prefix"])
def test_an_installed_package_has_the_table_of_looks(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    packages = next(request.getfixturevalue(layout).rglob("ssgan_bench")).parent
    code = "from ssgan_bench.records.looks import known_looks; print(len(known_looks('labeled_rate', 'quick')))"
    assert int(run(packages, tmp_path, "-c", code)) > 3


def test_an_installed_package_has_every_file_of_the_package(installed: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert files(installed / "ssgan_bench") == files(ROOT / "ssgan_bench")


def test_a_study_here_hides_the_shipped_one_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sorted(path.name for path in study_paths().values()) == STUDIES
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "labeled_rate.toml").touch()
    assert study_paths()["labeled_rate"] == Path("studies/labeled_rate.toml")
