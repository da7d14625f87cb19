"""Read a study file: one TOML file is one question; values only, no logic."""

import itertools
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from ssgan_bench.config import ConfigError, Frozen
from ssgan_bench.mistakes import Mistake, mistakes_in
from ssgan_bench.records.schema import PublishedValue
from ssgan_bench.trials.search_space import Search, SearchSize, space_mistakes

COMMANDS = ("audit", "power")
"""Words that `python -m ssgan_bench.study` takes for a command, and so no names of studies."""


def _plain_name(text: str) -> str:
    if not re.fullmatch("[a-z0-9_-]{1,64}", text):
        raise ValueError("must be 1 to 64 lowercase letters, digits, _ and -")
    return text


def _dotted_key(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", text):
        raise ValueError("must be a dotted configuration key, such as data.num_labels")
    return text


def _level(value: Any) -> Any:
    """Say once what pydantic says of every member of a union."""
    if not isinstance(value, Level) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("must be a finite number, text, true or false")
    return value


Name = Annotated[str, AfterValidator(_plain_name)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Level = int | float | str | bool
Levels = Annotated[list[Annotated[Level, BeforeValidator(_level)]], Field(min_length=1, max_length=1000)]


class Arm(Frozen):
    """One named variant."""

    label: Annotated[str, Field(min_length=1, max_length=100)]
    set: dict[str, Any] = Field(default_factory=dict)
    """Configuration values of this arm; they win over the preset's and base's."""


class Factor(Frozen):
    """One varied quantity, crossed with the arms."""

    key: Annotated[str, AfterValidator(_dotted_key)]
    """Dotted configuration key."""
    label: Annotated[str, Field(min_length=1, max_length=100)]
    levels: Levels | None = None
    """Values, unless the preset gives its own."""


class Preset(Frozen):
    """One size of the study."""

    description: Text
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of seeds, each of them split seed and model seed of one run per arm and level; give these, or the two
    numbers below."""
    split_seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    model_seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Crossed seeds: a run for each pair of a split seed and a model seed tells the two sources of chance apart."""
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
    sample_quality: bool = False
    """Whether the final generators' images are compared with real ones, in the features of a classifier trained on all
    labels of the data set."""
    published: list[PublishedValue] = Field(default_factory=list)
    """What others report for these runs; the report holds the means against it."""

    @model_validator(mode="after")
    def _one_kind_of_seeds(self) -> Self:
        given = tuple(count is not None for count in (self.seeds, self.split_seeds, self.model_seeds))
        if given not in ((True, False, False), (False, True, True)):
            raise ValueError("give either seeds, or both split_seeds and model_seeds")
        return self

    def seed_pairs(self, count: int | None = None) -> list[tuple[int, int]]:
        """(split seed, model seed) of the runs; the first n^2 pairs of a cross are those of n and n seeds.

        Args:
            count: number of seeds instead of the preset's; of each kind where they are crossed.
        """
        if self.seeds is not None:
            return [(seed, seed) for seed in self._counted(self.seeds if count is None else count)]
        split, model = (n if count is None else count for n in (self.split_seeds, self.model_seeds))
        return sorted(itertools.product(self._counted(split), self._counted(model)), key=max)

    def _counted(self, count: int | None) -> range:
        assert count is not None  # either kind of seeds is given
        return range(self.first_seed, self.first_seed + count)


class StudyFile(Frozen):
    """The content of `studies/<name>.toml`."""

    name: Name
    question: Text
    expectation: Text
    metric: Literal["error_rate", "nll", "ece"] = "error_rate"
    baseline: str
    margin: Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)] | None = None
    """Largest difference in the metric that does not matter, in its unit (0.01 is one percentage point of error rate).
    With it the report can show that an arm is equivalent to the baseline, and not only fail to show a difference."""
    yardsticks: list[Name] = Field(default_factory=list)
    """Arms that a user would pick instead, e.g. classical methods. The answer starts with whether a GAN beats the best
    of them; against the baseline they are described, never tests of the family."""
    base: dict[str, Any] = Field(default_factory=dict)
    arms: Annotated[dict[Name, Arm], Field(min_length=1, max_length=100)]
    factors: Annotated[list[Factor], Field(min_length=1, max_length=3)]
    presets: Annotated[dict[Name, Preset], Field(min_length=1)]
    search: Search | None = None
    """Tune every arm before the study is run, with equal effort."""


def show(value: Any) -> str:
    """Show a value in an error message, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)  # as TOML writes it
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(source: str, mistakes: list[Mistake]) -> ConfigError:
    """Make one error that lists all mistakes with file, dotted key and value."""
    lines = [f"{source}: {_describe(m)}" for m in mistakes]
    return ConfigError("\n".join(dict.fromkeys(lines)))


def _describe(mistake: Mistake) -> str:
    if isinstance(mistake.value, dict):  # about several of its values at once: the message names them
        return mistake.message
    value = "" if mistake.value is None else f" = {show(mistake.value)}"
    return f"{mistake.key}{value}: {mistake.message}"


def _published_mistakes(study: StudyFile, preset: Preset, key: str) -> list[Mistake]:
    """Each published value needs an arm and a planned level of every factor, and stands once."""
    mistakes = []
    factor_keys = [factor.key for factor in study.factors]
    places = [(value.arm, value.levels) for value in preset.published]
    for value in preset.published:
        if value.arm not in study.arms or set(value.levels) != set(factor_keys):
            message = f"needs one of the arms {', '.join(study.arms)} and a level of each of {', '.join(factor_keys)}"
            mistakes.append(Mistake(key=key, value=value.source, message=message))
            continue
        if places.count((value.arm, value.levels)) > 1:
            message = f"given twice for {value.arm} at {value.levels}; keep one"
            mistakes.append(Mistake(key=key, value=value.source, message=message))
        for factor in study.factors:
            planned = preset.levels.get(factor.key, factor.levels) or []
            if (level := value.levels[factor.key]) not in planned:
                message = f"not a level of it: {planned}"
                mistakes.append(Mistake(key=f"{key}.levels.{factor.key}", value=level, message=message))
    return mistakes


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
    if study.name in COMMANDS:
        message = f"a command of python -m ssgan_bench.study; give the study another name than {' or '.join(COMMANDS)}"
        mistakes.append(Mistake(key="name", value=study.name, message=message))
    if study.baseline not in study.arms:
        mistakes.append(
            Mistake(key="baseline", value=study.baseline, message=f"not an arm; arms: {', '.join(study.arms)}")
        )
    for name in study.yardsticks:
        if name not in study.arms or name == study.baseline or study.yardsticks.count(name) > 1:
            message = f"not an arm beside the baseline, or named twice; arms: {', '.join(study.arms)}"
            mistakes.append(Mistake(key="yardsticks", value=name, message=message))
    if study.yardsticks and not study.arms.keys() - {study.baseline, *study.yardsticks}:
        message = "no arm is left beside the baseline to hold against them"
        mistakes.append(Mistake(key="yardsticks", value=study.yardsticks, message=message))
    if study.margin is not None and study.metric != "nll" and study.margin >= 1:
        message = f"must be below 1: {study.metric} is in [0, 1], so one percentage point is 0.01"
        mistakes.append(Mistake(key="margin", value=study.margin, message=message))
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
        mistakes += _published_mistakes(study, preset, f"presets.{name}.published")
        if preset.search is not None and study.search is None:
            mistakes.append(Mistake(key=f"presets.{name}.search", value=None, message="the study has no search table"))
    if study.search is not None:
        mistakes += space_mistakes(study.search, list(study.arms))
        if study.metric != "error_rate":
            mistakes.append(Mistake(key="metric", value=study.metric, message="a search minimizes error_rate"))
    if mistakes:
        raise refuse(str(path), mistakes)
    return study
