"""A search with mistakes, or unequal effort, is refused with all mistakes at once; winners make a complete study."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.search_schema import SearchPlan, SearchRecord, SeedScore
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.search_plan import make_search_plan, search_changes, split_overrides
from ssgan_bench.trials.study_file import StudyFile, read_study
from ssgan_bench.trials.winners import winners, winners_toml

GOOD = """
name = "tiny"
question = "Does \\"tuning\\" help?\\nReally — 🙂 \\u007f?"
expectation = "E."
baseline = "a"
arms.a = { label = "A", set.method.name = "supervised" }
arms."b-2" = { label = "B", set.method.preset = "article" }
base.data = { dataset = "digits", image_size = 16, num_validation = 20 }
base.optimizer.learning_rate = 1e-3
base.train.epochs = 1
factors = [{ key = "data.num_labels", label = "Labels" }]
[presets.quick]
description = "D"
seeds = 8
first_seed = 100
levels."data.num_labels" = [20]
family = [20]
set.network.width = 8
search.num_trials = 5
[search]
num_trials = 20
tuning_seeds = 4
[search.space.all]
"optimizer.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
"network.dropout" = { low = 0.0, high = 0.5 }
[search.space.a]
"train.labeled_batch_size" = { choices = [8, 16, 32] }
[search.space."b-2"]
"method.feature_matching" = { choices = ["l1", "l2"] }
"""


def write(tmp_path: Path, text: str = GOOD) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return path


def plans(
    path: Path, overrides: dict[str, Any] | None = None, seeds: int | None = None
) -> tuple[StudyFile, StudyPlan, SearchPlan]:
    study = read_study(path)
    values, sizes = split_overrides(overrides or {})
    untuned = make_plan(study, str(path), "quick", values, seeds)
    return study, untuned, make_search_plan(study, str(path), untuned, values, sizes)


def refusal(path: Path, overrides: dict[str, Any] | None = None, seeds: int | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plans(path, overrides, seeds)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


def test_a_search_resolves_to_equal_effort_per_arm(tmp_path: Path) -> None:
    _, untuned, plan = plans(write(tmp_path))
    assert plan.num_trials == 5  # the preset's
    assert plan.tuning_seeds == (10_000, 10_001, 10_002, 10_003)
    assert not set(plan.tuning_seeds) & set(untuned.seeds)
    assert [list(arm.space) for arm in plan.arms] == [
        ["optimizer.learning_rate", "network.dropout", "train.labeled_batch_size"],
        ["optimizer.learning_rate", "network.dropout", "method.feature_matching"],
    ]
    assert plan.arms[0].default == {
        "optimizer.learning_rate": 1e-3,
        "network.dropout": 0.3,
        "train.labeled_batch_size": 32,
    }
    assert plan.trial_ids[:3] == ["a-0000", "b-2-0000", "a-0001"]
    assert plan.trial("b-2-0003") == (plan.arms[1], 3)


def test_an_option_that_plain_data_leave_out_has_its_default_in_a_search(tmp_path: Path) -> None:
    text = GOOD.replace(
        '"train.labeled_batch_size" = { choices = [8, 16, 32] }', '"train.precision" = { choices = ["fp32", "bf16"] }'
    )
    _, _, plan = plans(write(tmp_path, text))
    assert plan.arms[0].default is not None
    assert plan.arms[0].default["train.precision"] == "fp32"


def test_an_arms_own_values_outside_the_space_are_no_trial(tmp_path: Path) -> None:
    _, _, plan = plans(write(tmp_path, GOOD.replace("[8, 16, 32]", "[8, 16]")))
    assert plan.arms[0].default is None
    assert plan.arms[1].default is not None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"method.feature_matching" = { choices = ["l1", "l2"] }', "", "search.space: every arm needs the same number"),
        ("low = 1e-4, high = 1e-1", "low = 1e-1, high = 1e-1", "search.space.all.optimizer.learning_rate: an empty"),
        ("low = 1e-4", "low = 0.0", "search.space.all.optimizer.learning_rate: low = 0.0: a logarithmic range"),
        ("{ low = 0.0, high = 0.5 }", "{ low = 0.0 }", "search.space.all.network.dropout: needs low and high"),
        ("[8, 16, 32]", "[8, 8]", "search.space.a.train.labeled_batch_size: needs at least two choices"),
        ("[8, 16, 32]", "[8, 16], low = 1", "search.space.a.train.labeled_batch_size: give either"),
        ('"network.dropout" =', '"train.epochs" =', "search.space.all.train.epochs: cannot be searched: arms share"),
        ('"network.dropout" =', '"data.num_labels" =', "search.space.all.data.num_labels: cannot be searched"),
        ('[search.space."b-2"]', "[search.space.c]", "search.space = 'c': not an arm of this study; known: all, a, b"),
        ("tuning_seeds = 4", "tuning_seeds = 0", "search.tuning_seeds = 0: "),
        ("tuning_seeds = 4", "tuning_seed = 4", "search.tuning_seed = 4: unknown key; known here: first_tuning_seed,"),
        ('baseline = "a"', 'baseline = "a"\nmetric = "nll"', "metric = 'nll': a search minimizes error_rate"),
        ("high = 0.5", "high = 1.5", "search.space.all.network.dropout = 1.5: "),
        ('"network.dropout" =', '"network.dropuot" =', "search.space.all.network.dropuot = 0.0: unknown key; known"),
        ("[8, 16, 32]", '[8, "x"]', "search.space.a.train.labeled_batch_size = 'x': "),
        ("num_validation = 20", "num_validation = 21", "data.num_validation = 21: a search selects on the validation"),
        ("num_validation = 20", "num_validation = 0", "data.num_validation = 0: a search selects on the validation"),
        ("= [20]\nfamily = [20]", "= [20, 40]", "levels of data.num_labels = [20, 40]: a search tunes at one level"),
        ("first_seed = 100", "first_seed = 9_996", "search tuning seeds = [10000, 10001, 10002, 10003]: the winners"),
    ],
)
def test_a_mistake_is_refused_with_key_value_and_what_is_allowed(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    lines = refusal(write(tmp_path, GOOD.replace(old, new)))
    assert any(line.startswith(says) for line in lines), lines


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("high = 0.5", "high = 1.5").replace("num_validation = 20", "num_validation = 30")
    path = write(tmp_path, text.replace("first_seed = 100", "first_seed = 10_000"))
    lines = refusal(path, {"optimizer.learning_rate": 1e-3})
    starts = ["--set optimizer.learning_rate = 0.001: this key is searched", "search tuning seeds", "data.num_val"]
    assert len(lines) == 4
    assert all(any(line.startswith(start) for line in lines) for start in [*starts, "search.space.all.network.dropout"])


def test_values_that_are_possible_alone_but_not_together_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace('choices = ["l1", "l2"]', 'choices = ["off", "l2"]')
    text += '"method.adversarial_weight" = { low = 0.0, high = 1.0 }\n'
    text = text.replace("[search.space.a]", '[search.space.a]\n"optimizer.weight_decay" = { low = 0.0, high = 1.0 }')
    (line,) = refusal(write(tmp_path, text))
    assert line.startswith("search.space.b-2: adversarial_weight = 0 and no feature matching")
    assert "method.feature_matching = 'off'" in line


def test_more_seeds_that_reach_the_tuning_seeds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("tuning_seeds = 4", "tuning_seeds = 4\nfirst_tuning_seed = 110"))
    plans(path, seeds=10)
    (line,) = refusal(path, seeds=12)
    assert line.startswith("search tuning seeds = [110, 111]: ")


def test_the_command_line_changes_the_size_of_a_search_and_nothing_unknown(tmp_path: Path) -> None:
    path = write(tmp_path)
    _, _, plan = plans(path, {"search.num_trials": 7, "search.tuning_seeds": 2})
    assert (plan.num_trials, len(plan.tuning_seeds)) == (7, 2)
    assert refusal(path, {"search.num_trials": 1})[0].startswith("--set search.num_trials = 1: ")
    assert refusal(path, {"search.x": 1}) == [
        "--set search.x: unknown key; known here: num_trials, tuning_seeds, first_tuning_seed, sampler_seed"
    ]


def test_a_changed_search_is_another_one_and_a_changed_label_is_not(tmp_path: Path) -> None:
    _, _, plan = plans(write(tmp_path))
    _, _, relabeled = plans(write(tmp_path, GOOD.replace('label = "A"', 'label = "Else"')))
    assert search_changes(plan, relabeled) == []
    _, _, longer = plans(write(tmp_path), {"search.num_trials": 6, "network.width": 16})
    assert search_changes(plan, longer) == [
        "num_trials 5 -> 6",
        "arms.a.config.network.width 8 -> 16",
        "arms.b-2.config.network.width 8 -> 16",
    ]


def record(plan: SearchPlan, trial_id: str, means: list[float], **changes: Any) -> SearchRecord:
    arm, number = plan.trial(trial_id)
    assert arm.default is not None
    values: dict[str, Any] = {
        "protocol_version": "1",
        "study": plan.study,
        "preset": plan.preset,
        "trial_id": trial_id,
        "arm": arm.name,
        "trial": number,
        "status": "complete",
        "params": arm.default | {"optimizer.learning_rate": 1e-4 * (1 + number)},
        "scores": tuple(
            SeedScore(seed=seed, error_rate=mean) for seed, mean in zip(plan.tuning_seeds, means, strict=False)
        ),
        "seconds": 1.0,
        "started_at": "2026-01-01T00:00:00Z",
    }
    return SearchRecord(**values | changes)


def test_the_lowest_mean_wins_ties_go_to_the_earlier_and_pruned_trials_never_win(tmp_path: Path) -> None:
    _, _, plan = plans(write(tmp_path))
    records = [
        record(plan, "a-0002", [0.2] * 4),
        record(plan, "a-0001", [0.1, 0.3, 0.2, 0.2]),
        record(plan, "a-0000", [0.1] * 4, status="pruned"),
        record(plan, "b-2-0000", [0.5] * 4),
        record(plan, "b-2-0001", [0.4] * 4),
    ]
    chosen = winners(plan, records)
    assert {name: found.trial for name, found in chosen.items()} == {"a": 1, "b-2": 1}


def test_the_winners_are_a_complete_study_that_differs_by_their_values_alone(tmp_path: Path) -> None:
    path = write(tmp_path)
    overrides = {"network.width": 16, "data.num_labels": [50], "data.num_validation": 40}
    study, untuned, plan = plans(path, overrides)
    chosen = {"a": record(plan, "a-0003", [0.1] * 4), "b-2": record(plan, "b-2-0001", [0.1] * 4)}
    frozen = tmp_path / "winners.toml"
    frozen.write_text(winners_toml(study, plan, chosen, overrides, 4))
    again = read_study(frozen)
    assert (again.question, again.search) == (study.question, None)
    result = make_plan(again, str(frozen), "quick", {})
    assert [arm.name for arm in result.arms] == ["a", "a_tuned", "b-2", "b-2_tuned"]
    assert (result.baseline, result.seeds, result.family) == ("a_tuned", (100, 101, 102, 103), (50,))
    cells = {cell.arm: cell for cell in result.cells if cell.model_seed == 100}
    expected = {cell.arm: cell for cell in untuned.cells if cell.model_seed == 100}
    assert {name: cells[name] for name in expected} == expected  # the very same cells
    for name, winner in chosen.items():
        tuned, own = cells[f"{name}_tuned"].config, cells[name].config
        assert tuned["optimizer"] == own["optimizer"] | {"learning_rate": winner.params["optimizer.learning_rate"]}
        assert {key: tuned[key] for key in ("data", "network", "method")} == {
            key: own[key] for key in ("data", "network", "method")
        }
    assert "0.1" not in frozen.read_text().replace("0.0001", "")  # no search score
    assert tomllib.loads(frozen.read_text())["question"] == study.question


def test_an_arm_whose_own_values_win_is_run_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    study, _, plan = plans(path)
    chosen = {
        "a": record(plan, "a-0000", [0.1] * 4, params=plan.arms[0].default),
        "b-2": record(plan, "b-2-0001", [0.1] * 4),
    }
    frozen = tmp_path / "winners.toml"
    frozen.write_text(winners_toml(study, plan, chosen, {}, 8))
    result = make_plan(read_study(frozen), str(frozen), "quick", {})
    assert [(arm.name, arm.label) for arm in result.arms] == [
        ("a_tuned", "A, tuned (kept its own values)"),
        ("b-2", "B"),
        ("b-2_tuned", "B, tuned"),
    ]
