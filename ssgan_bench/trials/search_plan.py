"""Turn a study file, a preset and the command line's changes into a search plan. Pure, like plan.py."""

import itertools
from typing import Any

from pydantic import ValidationError

from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import ConfigError, RunConfig, flatten
from ssgan_bench.mistakes import Mistake, mistakes_in, parse_run_config
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.search_schema import SearchArm, SearchPlan
from ssgan_bench.trials.plan import merged, nested
from ssgan_bench.trials.search_space import Search
from ssgan_bench.trials.study_file import StudyFile, refuse, show

OVERRIDABLE = ("num_trials", "tuning_seeds", "first_tuning_seed", "sampler_seed")
MAX_CORNERS = 2000
"""Combinations of ends and choices of one arm that are checked for values that do not go together."""


def split_overrides(overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate the changes of a search's size (`search.num_trials` and so on) from those of the configuration."""
    sizes = {key.removeprefix("search."): value for key, value in overrides.items() if key.startswith("search.")}
    return {key: value for key, value in overrides.items() if not key.startswith("search.")}, sizes


def make_search_plan(
    study: StudyFile, source: str, untuned: StudyPlan, overrides: dict[str, Any], sizes: dict[str, Any]
) -> SearchPlan:
    """Resolve the search that precedes a tuned study.

    Args:
        study: the checked study file; it has a search table.
        source: its path, for messages.
        untuned: the plan of the study without tuning, from which every arm's own configuration is taken, and the seeds
            that the winners will be run with.
        overrides: dotted key -> value from the command line.
        sizes: the same for `OVERRIDABLE`.

    Raises:
        ConfigError: mistakes; all of them are listed.
    """
    search = _resized(study, source, untuned.preset, sizes)
    mistakes: list[Mistake] = []
    for factor in untuned.factors:
        if len(factor.levels) > 1:
            text = "a search tunes at one level of each factor"
            mistakes.append(Mistake(key=f"levels of {factor.key}", value=list(factor.levels), message=text))
    for key in sorted(overrides.keys() & {key for arm in study.arms for key in search.of_arm(arm)}):
        mistakes.append(Mistake(key=f"--set {key}", value=overrides[key], message="this key is searched"))
    if study.presets[untuned.preset].seeds is None:
        text = "the winners are compared seed by seed: give seeds, not split_seeds and model_seeds"
        mistakes.append(Mistake(key=f"presets.{untuned.preset}", value=None, message=text))
    seeds = tuple(range(search.first_tuning_seed, search.first_tuning_seed + search.tuning_seeds))
    if shared := sorted(set(seeds) & set(untuned.seeds)):
        text = (
            f"the winners are to be run on seeds {untuned.seeds[0]} to {untuned.seeds[-1]}, which tuning must not see; "
            f"move search.first_tuning_seed"
        )
        mistakes.append(Mistake(key="search tuning seeds", value=shared, message=text))
    configs = {cell.arm: cell.config for cell in reversed(untuned.cells)}
    data = configs[untuned.baseline]["data"]
    mistakes += _budget_mistakes(data["num_labels"], data["num_validation"])
    for name, config in configs.items():
        if config["data"] != data:
            text = f"a search judges every arm on the same images; arm {name} has other data options than the baseline"
            mistakes.append(Mistake(key=f"arms.{name}.set.data", value=None, message=text))
    for arm in study.arms:
        mistakes += _space_mistakes(search, arm, configs[arm])
    if mistakes:
        raise refuse(source, mistakes)
    return SearchPlan(
        protocol_version=PROTOCOL_VERSION,
        study=untuned.study,
        preset=untuned.preset,
        baseline=untuned.baseline,
        num_trials=search.num_trials,
        tuning_seeds=seeds,
        sampler_seed=search.sampler_seed,
        num_labels=data["num_labels"],
        num_validation=data["num_validation"],
        arms=tuple(
            SearchArm(
                name=arm.name,
                label=arm.label,
                config=configs[arm.name] | {"split_seed": 0, "model_seed": 0},
                space=search.of_arm(arm.name),
                default=_default(search, arm.name, configs[arm.name]),
            )
            for arm in untuned.arms
        ),
    )


def _resized(study: StudyFile, source: str, preset: str, sizes: dict[str, Any]) -> Search:
    """The study's search with the numbers of the preset and of the command line."""
    assert study.search is not None
    size = study.presets[preset].search
    values = study.search.model_dump() | ({} if size is None else size.model_dump(exclude_none=True))
    if unknown := sizes.keys() - set(OVERRIDABLE):
        raise ConfigError(f"--set search.{min(unknown)}: unknown key; known here: {', '.join(OVERRIDABLE)}")
    try:
        return Search.model_validate(values | sizes)
    except ValidationError as error:
        raise refuse(source, mistakes_in(error, Search, "--set search")) from None


def _budget_mistakes(num_labels: int | None, num_validation: int) -> list[Mistake]:
    """Nobody with few labels has many for validation (Oliver et al. 2018)."""
    if num_labels is None:
        return [Mistake(key="data.num_labels", value=None, message="a search needs it, rather than data.labeled_rate")]
    if 0 < num_validation <= num_labels:
        return []
    text = f"a search selects on the validation images: give at least 1 and at most data.num_labels = {num_labels}"
    return [Mistake(key="data.num_validation", value=num_validation, message=text)]


def _space_mistakes(search: Search, arm: str, config: dict[str, Any]) -> list[Mistake]:
    """Try every end and choice alone, and if each is possible, all of them together."""
    space = search.of_arm(arm)
    mistakes = []
    for key, dimension in space.items():
        for value in dimension.ends():
            _, found = parse_run_config(merged(config, nested({key: value})))
            mistakes += [m.model_copy(update={"key": search.origin(arm, key), "value": value}) for m in found]
    if mistakes:
        return mistakes
    for values in itertools.islice(itertools.product(*(d.ends() for d in space.values())), MAX_CORNERS):
        params = dict(zip(space, values, strict=True))
        _, found = parse_run_config(merged(config, nested(params)))
        if found:
            together = ", ".join(f"{key} = {value!r}" for key, value in params.items())
            return [Mistake(key=f"search.space.{arm}", value=None, message=f"{found[0].message} (with {together})")]
    return []


def _default(search: Search, arm: str, config: dict[str, Any]) -> dict[str, int | float | str | bool] | None:
    """The arm's own values of the searched keys; None if one lies outside the space."""
    found = {}
    complete = RunConfig.model_validate(config)  # options at their default may be absent from the plain data
    for key, dimension in search.of_arm(arm).items():
        value: Any = complete
        for part in key.split("."):
            value = getattr(value, part)
        if not dimension.contains(value):
            return None
        found[key] = value
    return found


def search_changes(old: SearchPlan, new: SearchPlan) -> list[str]:
    """Say what differs between two searches of one study, apart from labels; empty if nothing does."""
    if old.fingerprint() == new.fingerprint():
        return []
    before, after = (_by_arm(plan) for plan in (old, new))
    return [
        f"{key} {show(before.get(key))} -> {show(after.get(key))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _by_arm(plan: SearchPlan) -> dict[str, Any]:
    values = plan.model_dump(mode="json", exclude={"arms"})
    arms = {arm.name: arm.model_dump(mode="json", exclude={"name", "label", "default"}) for arm in plan.arms}
    return flatten(values | {"arms": arms})
