"""Freeze what a search found as a complete study file of its own: `winners.toml`."""

import json
from pathlib import Path
from typing import Any

from ssgan_bench.records.search_schema import SearchPlan, SearchRecord
from ssgan_bench.records.store import SearchStore, write_atomically
from ssgan_bench.trials.plan import merged, nested
from ssgan_bench.trials.study_file import StudyFile

TUNED = "_tuned"
"""Ending of a tuned arm's name."""


def freeze(
    study: StudyFile, plan: SearchPlan, trials: list[SearchRecord], overrides: dict[str, Any], seeds: int, path: Path
) -> None:
    """Write the winners of a search whose trials are all done as a study file.

    Args:
        study: the tuned study.
        plan: its search.
        trials: their records.
        overrides: dotted key -> value from the command line, which become part of the file.
        seeds: number of seeds to run the winners with.
        path: file to write.
    """
    text = winners_toml(study, plan, winners(plan, trials), overrides, seeds)
    write_atomically(path, text.encode())


def trials_of(plan: SearchPlan, store: SearchStore) -> list[SearchRecord]:
    """Read the records of a search's trials, without those of an earlier, larger one."""
    known = set(plan.trial_ids)
    return [record for record in store.records() if record.trial_id in known]


def winners(plan: SearchPlan, records: list[SearchRecord]) -> dict[str, SearchRecord]:
    """Choose each arm's complete trial with the lowest mean validation error; of equal ones the earliest."""
    return {
        arm.name: min(
            (record for record in records if record.arm == arm.name and record.status == "complete"),
            key=lambda record: (record.mean_error, record.trial),
        )
        for arm in plan.arms
    }


def winners_toml(
    study: StudyFile, plan: SearchPlan, chosen: dict[str, SearchRecord], overrides: dict[str, Any], seeds: int
) -> str:
    """Write the study that runs every arm twice, untuned and with its winner's values, on the preset's own seeds.

    An arm whose own values won is there once.

    Args:
        study: the tuned study.
        plan: its search.
        chosen: winner of each arm.
        overrides: dotted key -> value from the command line, which become part of the file.
        seeds: number of seeds of the preset.
    """
    preset = study.presets[plan.preset]
    factor_keys = [factor.key for factor in study.factors]
    changes = nested({key: value for key, value in overrides.items() if key not in factor_keys})
    defaults = {arm.name: arm.default for arm in plan.arms}
    arms: dict[str, Any] = {}
    for name, arm in study.arms.items():
        own = merged(arm.set, changes)
        kept_its_own = chosen[name].params == defaults[name]  # then both would be one configuration
        if not kept_its_own:
            arms[name] = {"label": arm.label, "set": own}
        label = f"{arm.label}, tuned{' (kept its own values)' * kept_its_own}"
        tuned = merged(own, nested(chosen[name].params))
        arms[name + TUNED] = {"label": label if len(label) <= 100 else name + TUNED, "set": tuned}
    levels = preset.levels | {
        key: value if isinstance(value, list) else [value] for key, value in overrides.items() if key in factor_keys
    }
    left_out = {"search", "family", "published"}
    size = preset.model_dump(exclude_none=True, exclude=left_out) | {"seeds": seeds, "levels": levels}
    first_levels = levels.get(factor_keys[0], study.factors[0].levels or [])
    if family := [level for level in preset.family or [] if level in first_levels]:
        size["family"] = family
    values = {
        "name": study.name,
        "question": study.question,
        "expectation": study.expectation,
        "metric": study.metric,
        "baseline": study.baseline + TUNED,
        "yardsticks": [arm for name in study.yardsticks for arm in (name, name + TUNED) if arm in arms],
        **({} if study.margin is None else {"margin": study.margin}),
        "base": study.base,
        "arms": arms,
        "factors": [factor.model_dump(exclude_none=True) for factor in study.factors],
        "presets": {plan.preset: size},
    }
    trials = ", ".join(f"{name} trial {record.trial}" for name, record in chosen.items())
    header = (
        f"# Written by the search of study {study.name}, preset {plan.preset}: every arm as it was and with its "
        "winner's\n"
        f"# values ({trials}). The scores that chose them are no results and not given here.\n\n"
    )
    return header + "".join(_lines(values, ()))


def _lines(values: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """Write a nested table as `dotted.key = value` lines, which need no order."""
    lines = []
    for key, value in values.items():
        where = (*path, key)
        if isinstance(value, dict) and value:
            lines += _lines(value, where)
        else:
            lines.append(f"{'.'.join(map(_key, where))} = {_value(value)}\n")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else _text(value) if isinstance(value, str) else repr(value)


def _key(text: str) -> str:
    return text if text.isascii() and text.isidentifier() else _text(text)


def _text(text: str) -> str:
    # A JSON string is a TOML string, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
