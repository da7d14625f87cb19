"""Where the study files are: a name on the command line becomes a path, or all names a list."""

from pathlib import Path

from ssgan_bench.config import ConfigError
from ssgan_bench.records.shipped import shipped
from ssgan_bench.trials.study_file import read_study


def study_paths() -> dict[str, Path]:
    """Find the study files by name: `studies/` here, else those that came with the package."""
    return {path.stem: path for path in (*shipped("*.toml"), *sorted(Path("studies").glob("*.toml")))}


def find_study(name: str) -> Path:
    """Find a study by name or path.

    Raises:
        ConfigError: there is none.
    """
    if name.endswith(".toml"):
        return Path(name)
    known = study_paths()
    if name not in known:
        raise ConfigError(f"{name}: no such study; known: {', '.join(sorted(known))}; or give a path to a .toml file")
    return known[name]


def list_studies() -> int:
    """Print each study with its question."""
    print("Studies (run one with: python -m ssgan_bench.study NAME [--preset quick|standard|full])\n")
    for name, path in study_paths().items():
        try:
            study = read_study(path)
        except ConfigError as error:  # one broken file must not hide the others
            print(f"  {name}\n    cannot be used: {str(error).splitlines()[0]}\n")
            continue
        print(f"  {name}\n    {study.question}\n    presets: {', '.join(study.presets)}\n")
    return 0
