"""Cells follow from study file, preset and the command line's changes, and from nothing else."""

from typing import Any

import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.trials.plan import changes_between, make_plan, merged, parse_overrides
from ssgan_bench.trials.study_file import StudyFile

VALUES: dict[str, Any] = {
    "name": "tiny",
    "question": "Q?",
    "expectation": "E.",
    "baseline": "a",
    "base": {"train": {"epochs": 5, "batch_size": 32}, "data": {"dataset": "digits"}},
    "arms": {
        "a": {"label": "A", "set": {"method": {"name": "supervised"}}},
        "b": {"label": "B", "set": {"method": {"preset": "article"}, "train": {"evaluations": 2}}},
    },
    "factors": [{"key": "data.num_labels", "label": "Labels", "levels": [20, 50]}],
    "presets": {
        "quick": {"description": "D", "seeds": 2, "set": {"train": {"epochs": 3, "evaluations": 4}}},
        "full": {"description": "D", "seeds": 1, "levels": {"data.num_labels": [100]}},
    },
}


def plan(preset: str = "quick", *settings: str, seeds: int | None = None, **changes: Any) -> StudyPlan:
    study = StudyFile.model_validate(VALUES | changes)
    return make_plan(study, "tiny.toml", preset, parse_overrides(list(settings)), seeds)


def refusal(*arguments: Any, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(*arguments, **changes)
    return str(caught.value)


def test_arms_levels_and_seeds_are_crossed_and_pairs_come_first() -> None:
    cells = plan().cells
    key = "data.num_labels"
    assert [(c.model_seed, c.levels[key], c.arm) for c in cells] == [
        (seed, level, arm) for seed in (0, 1) for level in (20, 50) for arm in ("a", "b")
    ]
    assert all(c.split_seed == c.model_seed == c.config["split_seed"] == c.config["model_seed"] for c in cells)
    assert len({c.cell_id for c in cells}) == 8


def test_settings_are_chosen_under_seeds_of_their_own() -> None:
    chosen = plan("quick", "data.evaluation_set=validation")
    assert chosen.seeds == (10_000, 10_001)
    assert {cell.config["data"]["evaluation_set"] for cell in chosen.cells} == {"validation"}
    assert plan("quick", "data.evaluation_set=test") == plan("quick")
    high = VALUES["presets"] | {"quick": VALUES["presets"]["quick"] | {"first_seed": 20_000}}
    assert plan("quick", "data.evaluation_set=validation", presets=high).seeds == (20_000, 20_001)


def test_test_errors_are_not_compared_with_validation_errors() -> None:
    a = VALUES["arms"]["a"]
    arms = VALUES["arms"] | {"a": a | {"set": a["set"] | {"data": {"evaluation_set": "validation"}}}}
    assert "data.evaluation_set: test errors are not compared with validation errors" in refusal(arms=arms)


def test_nothing_to_evaluate_on_is_refused() -> None:
    assert "raise num_validation" in refusal("quick", "data.evaluation_set=validation", "data.num_validation=0")


def test_the_command_line_wins_over_arm_over_preset_over_base() -> None:
    a, b = plan(seeds=1).cells[:2]
    assert (a.config["train"]["batch_size"], a.config["train"]["epochs"]) == (32, 3)
    assert (a.config["train"]["evaluations"], b.config["train"]["evaluations"]) == (4, 2)
    assert {c.config["train"]["evaluations"] for c in plan("quick", "train.evaluations=7").cells} == {7}


def test_the_length_of_a_higher_layer_replaces_that_of_a_lower_one() -> None:
    def lengths(*settings: str, **changes: Any) -> list[tuple[int | None, int | None]]:
        cells = plan("quick", *settings, seeds=1, **changes).cells[:2]
        return [(c.config["train"]["epochs"], c.config["train"]["steps"]) for c in cells]

    assert lengths("train.steps=50") == [(None, 50)] * 2
    by_preset = {"quick": VALUES["presets"]["quick"] | {"set": {"train": {"steps": 40}}}}
    assert lengths(presets=by_preset) == [(None, 40)] * 2
    assert lengths("train.epochs=2", presets=by_preset) == [(2, None)] * 2
    arm = {"label": "A", "set": {"method": {"name": "supervised"}, "train": {"steps": 30}}}
    assert lengths(arms={"a": arm, "b": VALUES["arms"]["b"]}) == [(None, 30), (3, None)]
    both = {"quick": VALUES["presets"]["quick"] | {"set": {"train": {"steps": 40, "epochs": 2}}}}
    assert "give exactly one of train.epochs and train.steps" in refusal(presets=both)


def test_a_factor_replaces_the_other_label_budget() -> None:
    base = {"train": {"epochs": 5}, "data": {"labeled_rate": 0.5}}
    assert {c.config["data"]["labeled_rate"] for c in plan(base=base).cells} == {None}
    rates = [{"key": "data.labeled_rate", "label": "Share", "levels": [0.1, 0.2]}]
    presets = {"quick": {"description": "D", "seeds": 1}}
    cells = plan(base={"train": {"epochs": 5}, "data": {"num_labels": 50}}, factors=rates, presets=presets).cells
    assert {(c.config["data"]["num_labels"], c.config["data"]["labeled_rate"]) for c in cells} == {
        (None, 0.1),
        (None, 0.2),
    }


def test_levels_come_from_the_command_line_else_the_preset_else_the_factor() -> None:
    assert plan().factors[0].levels == (20, 50)
    assert plan("full").factors[0].levels == (100,)
    assert plan("full", "data.num_labels=[10, 30]").factors[0].levels == (10, 30)
    assert plan("full", "data.num_labels=30").factors[0].levels == (30,)


def test_the_family_is_what_is_left_of_the_declared_one() -> None:
    presets = {"quick": VALUES["presets"]["quick"] | {"family": [50]}}
    assert plan(presets=presets).family == (50,)
    assert plan("quick", "data.num_labels=[20]", presets=presets).family == (20,)
    assert plan().family == (20, 50)


def test_cell_ids_depend_on_configuration_and_arm_alone() -> None:
    more = {c.cell_id for c in plan(seeds=5).cells}
    assert {c.cell_id for c in plan(seeds=2).cells} < more
    assert {c.cell_id for c in plan("quick", "data.num_labels=[50, 20]").cells} == {c.cell_id for c in plan().cells}
    assert not more & {c.cell_id for c in plan("quick", "train.epochs=4", seeds=5).cells}
    assert {c.cell_id for c in plan(question="Other?").cells} == {c.cell_id for c in plan().cells}


def test_seeds_and_texts_may_change_but_results_may_not_be_mixed() -> None:
    assert changes_between(plan(), plan(seeds=9, question="Other?")) == []
    assert changes_between(plan(), plan("quick", "train.epochs=4")) == ["train.epochs 3 -> 4"]
    assert changes_between(plan(), plan("quick", "data.num_labels=[20]")) == [
        "levels of data.num_labels [20, 50] -> [20]"
    ]
    assert changes_between(plan(), plan(arms={"a": VALUES["arms"]["a"]})) == ["arms a, b -> a"]
    later = plan().model_copy(update={"protocol_version": "9"})
    assert changes_between(plan(), later) == [f"protocol {plan().protocol_version} -> 9"]


def test_every_mistake_is_listed_with_the_place_it_comes_from() -> None:
    presets = {"quick": {"description": "D", "seeds": 2, "set": {"train": {"epochs": 0}}}}
    base = {"train": {"batchsize": 3}}
    text = refusal("quick", "network.width=1", "optimizer.beta1=high", presets=presets, base=base)
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("tiny.toml: ") for line in lines)
    for start in (
        "presets.quick.set.train.epochs = 0: must be at least 1 and at most 100000",
        "base.train.batchsize = 3: unknown key; known here: augmentation, batch_size",
        "--set network.width = 1: must be at least 4 and at most 512",
        "--set optimizer.beta1 = 'high': must be a number, at least 0 and less than 1",
    ):
        assert any(line.startswith(f"tiny.toml: {start}") for line in lines), start


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["data=5"], "--set data = 5: must be a table; known here: class_balance, classes, dataset, "),
        (["trane.epochs=3"], "--set trane: unknown key; known here: data, method, "),
        (
            ["method.head=two", "method.name=ssgan"],
            "--set method.head = 'two': must be 'fake_neuron', 'softmax' or 'logsumexp'",
        ),
        (["train.epochs=[1, 2]"], "--set train.epochs = [1, 2]: must be a whole number, at least 1 and at most 100000"),
        (["train.epochs='4'"], "--set train.epochs = '4': must be a whole number"),
        (["train.weight_average=1.0"], "--set train.weight_average = 1.0: must be greater than 0 and less than 1"),
        (["data.unlabeled_includes_labeled=1"], "--set data.unlabeled_includes_labeled = 1: must be true or false"),
        (["data.num_labels=[]"], "needs one value or a list of values, got []"),
        (["data.num_labels=[[1]]"], "needs one value or a list of values"),
        (["data.num_labels=[20, 20]"], "a value stands twice"),
        (["data.num_labels=[1, true]"], "a value stands twice"),
        (["data.num_labels=many"], "level data.num_labels = 'many'"),
        (["data.labeled_rate=0.1"], "--set data.labeled_rate: takes the place of data.num_labels, which this study"),
        (["train.steps=9", "train.epochs=2"], "give exactly one of train.epochs and train.steps"),
        (["split_seed=3"], "--set split_seed = 3"),
        (["model_seed=3"], "--set model_seed = 3"),
        (["optimizer.learning_rate=nan"], "optimizer.learning_rate = nan"),
        (["data.image_size=17"], "the conv networks take 16, 32 or 64"),
    ],
)
def test_impossible_settings_are_refused(settings: list[str], says: str) -> None:
    assert says in refusal("quick", *settings)


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train epochs=3", "", "train..epochs=3"])
def test_a_setting_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write key=value"):
        parse_overrides([text])


def test_settings_are_toml_or_plain_text() -> None:
    parsed = parse_overrides(["a=1", "b.c=[1, 2]", "d = folder:/x=y", "e='q'", "f=true", "g="])
    assert parsed == {"a": 1, "b.c": [1, 2], "d": "folder:/x=y", "e": "q", "f": True, "g": ""}


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    assert refusal("huge") == "tiny.toml: no preset 'huge'; it has quick, full"


def test_two_names_for_one_configuration_are_refused() -> None:
    twins = {"a": VALUES["arms"]["a"], "b": {"label": "B", "set": VALUES["arms"]["a"]["set"]}}
    assert "are the same configuration" in refusal(arms=twins)


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    levels = ", ".join(str(20 + i) for i in range(1000))
    assert "4000000 cells; at most 20000" in refusal("quick", f"data.num_labels=[{levels}]", seeds=2000)


@pytest.mark.parametrize(
    "change",
    [
        {"baseline": "b"},
        {"metric": "nll"},
        {"margin": 0.01},
        {"yardsticks": ["b"]},
        {"presets": {"quick": VALUES["presets"]["quick"] | {"family": [20]}}},
        {
            "arms": {
                "a": {"label": "A", "set": VALUES["arms"]["b"]["set"]},
                "b": {"label": "B", "set": VALUES["arms"]["a"]["set"]},
            }
        },
    ],
)
def test_a_changed_question_is_another_study_and_says_what_changed(change: dict[str, Any]) -> None:
    assert plan().fingerprint() != plan(**change).fingerprint()
    assert changes_between(plan(), plan(**change))


def test_margin_and_yardsticks_reach_the_plan_and_are_named_when_they_change() -> None:
    declared = plan(margin=0.01, yardsticks=["b"])
    assert (declared.margin, declared.yardsticks) == (0.01, ("b",))
    assert (plan().margin, plan().yardsticks) == (None, ())
    assert changes_between(plan(), declared) == ["margin None -> 0.01", "yardsticks () -> ('b',)"]


def test_published_values_reach_the_plan_unless_the_recipe_is_changed() -> None:
    values = [
        {"arm": "a", "levels": {"data.num_labels": n}, "mean": 0.1, "sd": 0.02, "n": 10, "source": "S"}
        for n in (20, 50)
    ]
    presets = {"quick": VALUES["presets"]["quick"] | {"published": values}}
    assert [value.levels["data.num_labels"] for value in plan(presets=presets).published] == [20, 50]
    assert plan(presets=presets).fingerprint() == plan().fingerprint()
    for change, kept in (({"train.precision": "bf16"}, 2), ({"train.epochs": 1}, 0), ({"data.num_labels": [20]}, 1)):
        study = StudyFile.model_validate(VALUES | {"presets": presets})
        assert len(make_plan(study, "s.toml", "quick", change).published) == kept


WIDE = {"network": {"width": 8}}


def test_another_family_of_networks_starts_without_the_options_of_the_one_it_replaces() -> None:
    wide = {"quick": VALUES["presets"]["quick"] | {"set": merged(VALUES["presets"]["quick"]["set"], WIDE)}}
    study = StudyFile.model_validate(VALUES | {"presets": wide})
    networks = {cell.config["network"]["width"] for cell in make_plan(study, "s.toml", "quick", {}).cells}
    assert networks == {8}
    kept = make_plan(study, "s.toml", "quick", {"network.family": "conv"}).cells
    assert {cell.config["network"]["width"] for cell in kept} == {8}
    replaced = make_plan(study, "s.toml", "quick", {"network.family": "mlp"}).cells
    assert {tuple(cell.config["network"].items()) for cell in replaced} == {(("family", "mlp"), ("latent_dim", 100))}


CROSSED = {
    "quick": {
        **{key: VALUES["presets"]["quick"][key] for key in ("description", "set")},
        "split_seeds": 3,
        "model_seeds": 2,
        "first_seed": 100,
    }
}


def seed_pairs(found: StudyPlan) -> list[tuple[int, int]]:
    return list(dict.fromkeys((cell.split_seed, cell.model_seed) for cell in found.cells))


def test_crossed_seeds_make_a_cell_of_every_pair() -> None:
    crossed = plan(presets=CROSSED)
    assert sorted(seed_pairs(crossed)) == [(100 + split, 100 + model) for split in range(3) for model in range(2)]
    assert len(crossed.cells) == 2 * 2 * 6
    assert len({cell.cell_id for cell in crossed.cells}) == 2 * 2 * 6
    assert all(c.config["split_seed"] == c.split_seed and c.config["model_seed"] == c.model_seed for c in crossed.cells)
    assert crossed.seeds == (100, 101, 102)
    assert crossed.fingerprint() == plan().fingerprint()  # other seeds of the same study


def test_a_number_of_seeds_on_the_command_line_is_that_of_each_kind_and_extends_a_smaller_cross() -> None:
    two, four = plan(presets=CROSSED, seeds=2), plan(presets=CROSSED, seeds=4)
    assert sorted(seed_pairs(two)) == [(100, 100), (100, 101), (101, 100), (101, 101)]
    assert len(seed_pairs(four)) == 16
    assert seed_pairs(four)[:4] == seed_pairs(two)
    assert {cell.cell_id for cell in two.cells} < {cell.cell_id for cell in four.cells}


def test_the_cells_of_a_pair_of_seeds_come_together() -> None:
    cells = plan(presets=CROSSED).cells
    assert [(c.split_seed, c.model_seed) for c in cells[:4]] == [(100, 100)] * 4
    assert cells[0].seed_text == "seed 100"
    assert {c.seed_text for c in cells} >= {"split seed 102, model seed 101"}


def test_seeds_count_from_the_presets_first_seed() -> None:
    moved = plan(presets={"quick": VALUES["presets"]["quick"] | {"first_seed": 100}})
    assert moved.seeds == (100, 101)
    assert {cell.split_seed for cell in moved.cells} == {cell.model_seed for cell in moved.cells} == {100, 101}
    assert moved.fingerprint() == plan().fingerprint()  # other seeds of the same study
