"""Turn a study file, a preset and the command line's changes into cells. Pure: no files, no data, no queue."""

import itertools
import tomllib
from typing import Any

import ssgan_bench.methods  # noqa: F401  (makes the methods' configurations known)
from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import ConfigError, RunConfig, digest, flatten
from ssgan_bench.mistakes import Mistake, parse_run_config
from ssgan_bench.records.schema import ArmInfo, Cell, FactorInfo, StudyPlan
from ssgan_bench.trials.study_file import Level, StudyFile, refuse, show

MAX_CELLS = 20_000
SEED_KEYS = {"split_seed", "model_seed"}
EXCLUSIVE = (("train.epochs", "train.steps"), ("data.num_labels", "data.labeled_rate"))
"""Pairs of which a configuration holds one; the one that a higher layer gives replaces the other of a lower layer."""

FIRST_TUNING_SEED = 10_000
"""Seeds from here on choose settings (`data.evaluation_set = "validation"`); results come from others."""

HOW_IT_IS_COMPUTED = {
    "train.precision",
    "train.channels_last",
    "train.cuda_graph",
    "train.num_threads",
    "network.fast_dropout",
    "method.reuse_generated_images",
}
"""Options that leave a recipe what it is: with them a run may be held against published values of it."""


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """Parse `--set key=value` texts; values are TOML, or plain text where that is not TOML.

    Raises:
        ConfigError: a text has no "=" or an odd key.
    """
    overrides = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key or not all(part.isidentifier() for part in key.split(".")):
            raise ConfigError(f"--set {text}: write key=value with a dotted key, such as train.epochs=4")
        try:
            overrides[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key] = value.strip()
    return overrides


def make_plan(
    study: StudyFile, source: str, preset_name: str, overrides: dict[str, Any], seeds: int | None = None
) -> StudyPlan:
    """Resolve every cell: arms x levels x seeds, ordered so that complete pairs come first.

    Args:
        study: the checked study file.
        source: its path, for messages.
        preset_name: one of the study's.
        overrides: dotted key -> value from the command line; for a factor's key, its level or list of levels.
        seeds: number of seeds instead of the preset's; each is used as split_seed and model_seed. Of a preset that
            crosses the two, the number of each: N x N pairs.

    A plan that is evaluated on validation images counts its seeds from `FIRST_TUNING_SEED`, unless the preset's are
    higher anyway: the seeds of its results stay unseen while settings are chosen.

    Raises:
        ConfigError: unknown preset, or mistakes in the configuration; all of them are listed.
    """
    preset = study.presets.get(preset_name)
    if preset is None:
        raise ConfigError(f"{source}: no preset {preset_name!r}; it has {', '.join(study.presets)}")
    overrides = dict(overrides)
    _refuse_hidden_factor(study, overrides)
    factors = []
    for factor in study.factors:
        given = overrides.pop(factor.key, None)
        levels = preset.levels.get(factor.key, factor.levels) if given is None else given
        levels = levels if isinstance(levels, list) else [levels]
        if not levels or not all(isinstance(level, Level) for level in levels):
            raise ConfigError(f"--set {factor.key}: needs one value or a list of values, got {show(given)}")
        if len(set(levels)) < len(levels):
            raise ConfigError(f"{source}: levels of {factor.key}: a value stands twice in {levels}")
        factors.append(FactorInfo(key=factor.key, label=factor.label, levels=tuple(levels)))
    combinations = list(itertools.product(*(factor.levels for factor in factors)))
    total = len(combinations) * len(study.arms) * len(preset.seed_pairs(seeds))
    if total > MAX_CELLS:
        raise ConfigError(f"{source}: {total} cells; at most {MAX_CELLS} fit one study (fewer seeds or levels)")

    mistakes: list[Mistake] = []
    configs: list[tuple[str, dict[str, Level], RunConfig]] = []
    for combination, (arm_name, arm) in itertools.product(combinations, study.arms.items()):
        levels_by_key = dict(zip((factor.key for factor in factors), combination, strict=True))
        layers = {
            "--set ": nested(overrides),
            "level ": nested(levels_by_key),
            f"arms.{arm_name}.set.": arm.set,
            f"presets.{preset_name}.set.": preset.set,
            "base.": study.base,
        }
        values: dict[str, Any] = {}
        for layer in reversed(layers.values()):
            values = merged(_without_replaced(values, layer), layer)
        config, found = parse_run_config(values)
        for name in SEED_KEYS & values.keys():
            found.append(Mistake(key=name, value=values[name], message="the seeds are counted: use --seeds or seeds"))
        mistakes += [m.model_copy(update={"key": _origin(m.key, layers)}) for m in found]
        if config is not None:
            configs.append((arm_name, levels_by_key, config))
    if mistakes:
        raise refuse(source, mistakes)
    _refuse_equal_cells(source, configs)
    evaluated_on = {config.data.evaluation_set for _, _, config in configs}
    if len(evaluated_on) > 1:
        raise ConfigError(
            f"{source}: data.evaluation_set: test errors are not compared with validation errors; set one"
        )
    if evaluated_on == {"validation"}:
        preset = preset.model_copy(update={"first_seed": max(preset.first_seed, FIRST_TUNING_SEED)})
    seed_pairs = preset.seed_pairs(seeds)
    cells = [
        make_cell(arm, levels, config.model_copy(update={"split_seed": split_seed, "model_seed": model_seed}))
        for split_seed, model_seed in seed_pairs
        for arm, levels, config in configs
    ]
    methods = {arm: config.method for arm, _, config in configs}
    return StudyPlan(
        protocol_version=PROTOCOL_VERSION,
        study=study.name,
        preset=preset_name,
        question=study.question,
        expectation=study.expectation,
        metric=study.metric,
        baseline=study.baseline,
        arms=tuple(
            ArmInfo(
                name=name,
                label=arm.label,
                kind=methods[name].kind,
                has_generator=methods[name].has_generator,
            )
            for name, arm in study.arms.items()
        ),
        factors=tuple(factors),
        family=tuple(level for level in preset.family or () if level in factors[0].levels) or factors[0].levels,
        yardsticks=tuple(study.yardsticks),
        margin=study.margin,
        seeds=tuple(sorted({seed for pair in seed_pairs for seed in pair})),
        sample_quality=preset.sample_quality,
        published=tuple(
            value
            for value in preset.published
            if overrides.keys() <= HOW_IT_IS_COMPUTED
            and evaluated_on == {"test"}
            and all(value.levels[factor.key] in factor.levels for factor in factors)
        ),
        cells=tuple(cells),
    )


def make_cell(arm: str, levels: dict[str, Level], config: RunConfig) -> Cell:
    """Name a resolved configuration by the digest of itself and the protocol version."""
    data = config.model_dump(mode="json")
    return Cell(
        arm=arm,
        levels=levels,
        split_seed=config.split_seed,
        model_seed=config.model_seed,
        config=data,
        cell_id=digest({"protocol": PROTOCOL_VERSION, "arm": arm, "config": data})[:16],
    )


def changes_between(old: StudyPlan, new: StudyPlan) -> list[str]:
    """Say what differs between two plans of the same study, apart from texts and seeds; empty if nothing does."""
    if old.fingerprint() == new.fingerprint():
        return []
    found = []
    if old.protocol_version != new.protocol_version:
        found.append(f"protocol {old.protocol_version} -> {new.protocol_version}")
    for what in ("arms", "factors"):
        names = [
            ", ".join(item.name if isinstance(item, ArmInfo) else item.key for item in getattr(plan, what))
            for plan in (old, new)
        ]
        if names[0] != names[1]:
            found.append(f"{what} {names[0]} -> {names[1]}")
    same_levels = [factor.levels for factor in old.factors] == [factor.levels for factor in new.factors]
    for what in ("metric", "baseline", "margin", "yardsticks", "sample_quality", *(["family"] if same_levels else [])):
        if getattr(old, what) != getattr(new, what):
            found.append(f"{what} {show(getattr(old, what))} -> {show(getattr(new, what))}")
    for was, now in zip(old.factors, new.factors, strict=False):
        if was.key == now.key and was.levels != now.levels:
            found.append(f"levels of {was.key} {list(was.levels)} -> {list(now.levels)}")
    if not found:
        for was_cell, now_cell in zip(old.cells, new.cells, strict=False):
            before, after = flatten(was_cell.config), flatten(now_cell.config)
            found += [
                f"{key} {show(before.get(key))} -> {show(after.get(key))}"
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key) and not key.endswith("_seed")
            ]
    return list(dict.fromkeys(found))


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    result: dict[str, Any] = {}
    for key, value in dotted.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merged(result, value)
    return result


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Copy of `under` with the values of `over`, tables merged."""
    result = dict(under)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both_tables else value
    return result


def _without_replaced(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Copy of `under` without values that a value of `over` excludes; both in `over` are a mistake of that layer.

    Another family of networks starts without the options of the one it replaces.
    """
    given = flatten(over)
    replaced = under.get("network")
    family = given.get("network.family")
    if family is not None and isinstance(replaced, dict) and replaced.get("family", "conv") != family:
        under = {section: options for section, options in under.items() if section != "network"}
    for pair in EXCLUSIVE:
        if len(chosen := [key for key in pair if given.get(key) is not None]) == 1:
            section, option = next(key for key in pair if key != chosen[0]).split(".")
            if isinstance(under.get(section), dict):
                under = under | {section: {k: v for k, v in under[section].items() if k != option}}
    return under


def _refuse_hidden_factor(study: StudyFile, overrides: dict[str, Any]) -> None:
    """A value that takes the place of a factor would make its levels names of one and the same configuration."""
    keys = {factor.key for factor in study.factors}
    for one, other in [pair[::order] for pair in EXCLUSIVE for order in (1, -1)]:
        if one in overrides and other in keys:
            raise ConfigError(f"--set {one}: takes the place of {other}, which this study varies; set {other} instead")


def _origin(key: str, layers: dict[str, dict[str, Any]]) -> str:
    """Where the value of a dotted key comes from, e.g. "presets.quick.set.train.epochs"."""
    for name, layer in layers.items():
        value: Any = layer
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return f"{name}{key}"
    return key


def _refuse_equal_cells(source: str, configs: list[tuple[str, dict[str, Level], RunConfig]]) -> None:
    """Two names for one configuration would count one result twice."""
    seen: dict[str, str] = {}
    for arm, levels, config in configs:
        name = f"{arm} {levels}"
        if (other := seen.setdefault(config.digest(), name)) != name:
            raise ConfigError(f"{source}: {other} and {name} are the same configuration; drop one")
