"""Where files that come with the package are, such as the studies: in a checkout and where its wheel put them."""

import importlib.metadata
from pathlib import Path


def shipped(pattern: str) -> list[Path]:
    """List the files of `studies/` that came with the package and whose name matches.

    Args:
        pattern: of the name, e.g. "*.toml".
    """
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").exists():
        return sorted((root / "studies").glob(pattern))
    try:
        files = importlib.metadata.files("ssgan-bench") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    listed = [Path(str(file.locate())).resolve() for file in files if file.match(f"ssgan-bench/studies/{pattern}")]
    # `pip install --target` moves the files after it has listed them.
    return sorted(filter(Path.exists, listed)) or sorted((root / "share/ssgan-bench/studies").glob(pattern))
