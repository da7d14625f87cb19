"""Read a study file: one TOML file is one question; values only, no logic."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ssgan_bench.config import ConfigError, Frozen, Mistake, mistakes_in
from ssgan_bench.trials.search_space import Search, SearchSize, space_mistakes

Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Level = int | float | str | bool
Levels = Annotated[list[Level], Field(min_length=1, max_length=1000)]


class Arm(Frozen):
    """One named variant."""

    label: Annotated[str, Field(min_length=1, max_length=100)]
    set: dict[str, Any] = Field(default_factory=dict)
    """Configuration values of this arm; they win over the preset's and base's."""


class Factor(Frozen):
    """One varied quantity, crossed with the arms."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")]
    """Dotted configuration key."""
    label: Annotated[str, Field(min_length=1, max_length=100)]
    levels: Levels | None = None
    """Values, unless the preset gives its own."""


class Preset(Frozen):
    """One size of the study."""

    description: Text
    seeds: Annotated[int, Field(ge=1, le=1000)]
    first_seed: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Seeds count from here: results come from seeds that were not used while the preset was chosen."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Configuration values; they win over base's."""
    levels: dict[str, Levels] = Field(default_factory=dict)
    """Levels by factor key."""
    family: Levels | None = None
    """Levels of the first factor at which the arms are tested against the baseline; all, unless given. With n seeds the
    smallest possible p is 2 / 2^n, so a family of more than 0.05 * 2^n / 2 tests can never show anything."""
    search: SearchSize | None = None
    """Size of the search at this preset; what it does not give is the search table's."""


class StudyFile(Frozen):
    """The content of `studies/<name>.toml`."""

    name: Name
    question: Text
    expectation: Text
    metric: Literal["error_rate", "nll", "ece"] = "error_rate"
    baseline: str
    base: dict[str, Any] = Field(default_factory=dict)
    arms: Annotated[dict[Name, Arm], Field(min_length=1, max_length=100)]
    factors: Annotated[list[Factor], Field(min_length=1, max_length=3)]
    presets: Annotated[dict[Literal["quick", "standard", "full"], Preset], Field(min_length=1)]
    search: Search | None = None
    """Tune every arm before the study is run, with equal effort."""


def show(value: Any) -> str:
    """Show a value in an error message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(source: str, mistakes: list[Mistake]) -> ConfigError:
    """Make one error that lists all mistakes with file, dotted key and value."""
    lines = [f"{source}: {_describe(m)}" for m in mistakes]
    return ConfigError("\n".join(dict.fromkeys(lines)))


def _describe(mistake: Mistake) -> str:
    if isinstance(mistake.value, dict):  # about several values at once: the message names them
        return mistake.message
    value = "" if mistake.value is None else f" = {show(mistake.value)}"
    return f"{mistake.key}{value}: {mistake.message}"


def read_study(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        ConfigError: unreadable, not TOML, or with mistakes; all of them are listed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        study = StudyFile.model_validate(values)
    except ValidationError as error:
        raise refuse(str(path), mistakes_in(error, StudyFile)) from None
    mistakes = []
    if study.baseline not in study.arms:
        mistakes.append(
            Mistake(key="baseline", value=study.baseline, message=f"not an arm; arms: {', '.join(study.arms)}")
        )
    keys = [factor.key for factor in study.factors]
    for name, preset in study.presets.items():
        for key in preset.levels.keys() - keys:
            mistakes.append(
                Mistake(
                    key=f"presets.{name}.levels",
                    value=key,
                    message=f"not a factor of this study; factors: {', '.join(keys)}",
                )
            )
        first = study.factors[0]
        for level in preset.family or []:
            if level not in (first_levels := preset.levels.get(first.key, first.levels) or []):
                mistakes.append(
                    Mistake(
                        key=f"presets.{name}.family", value=level, message=f"not a level of {first.key}: {first_levels}"
                    )
                )
        for factor in study.factors:
            if factor.levels is None and factor.key not in preset.levels:
                mistakes.append(
                    Mistake(key=f"presets.{name}.levels", value=factor.key, message="this factor has no levels")
                )
        if preset.search is not None and study.search is None:
            mistakes.append(Mistake(key=f"presets.{name}.search", value=None, message="the study has no search table"))
    if study.search is not None:
        mistakes += space_mistakes(study.search, list(study.arms))
        if study.metric != "error_rate":
            mistakes.append(Mistake(key="metric", value=study.metric, message="a search minimizes error_rate"))
    if mistakes:
        raise refuse(str(path), mistakes)
    return study
