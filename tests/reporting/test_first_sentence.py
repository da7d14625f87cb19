"""A report begins with the best arm, the baseline, and whether the difference is shown."""

import re

import pytest
from synthetic import BUDGETS, make_plan

from ssgan_bench.records.schema import ArmInfo
from ssgan_bench.reporting.first_sentence import first_sentence

ARMS = (("supervised_only", "Baseline"), ("a", "Method A"), ("b", "Method B"), ("spread", "Spreading"))
ERRORS = {"supervised_only": 0.30, "a": 0.20, "b": 0.12, "spread": 0.10}


def plan(*, kind="supervised", family=(10,)):
    infos = tuple(
        ArmInfo(name=name, label=label, kind=kind if name == "supervised_only" else "semi_supervised")
        for name, label in ARMS
    )
    made = make_plan(arms=ARMS, factors=(BUDGETS,), family=family, yardsticks=("spread",))
    return made.model_copy(update={"arms": infos})


def error(cell):
    gain = ERRORS["supervised_only"] - ERRORS[cell.arm]
    few = cell.levels["data.num_labels"] == 10
    luck = 0.01 * (-1) ** (cell.model_seed + len(cell.arm))
    return 0.30 - (gain if few else 0.0) + luck


def test_it_names_the_best_arm_that_is_shown_to_be_better_the_baseline_and_the_best_yardstick(analyzed):
    (sentence,) = first_sentence(analyzed(plan(), error))
    assert "Method B" in sentence
    assert "Method A" not in sentence
    assert re.findall(r"\d+\.\d %", sentence) == ["12.0 %", "30.0 %", "10.0 %"]
    assert re.search(r"shown \(p = 0\.\d+\)", sentence)
    assert len(sentence.split()) <= 35


def test_without_a_shown_difference_it_says_so(analyzed):
    (sentence,) = first_sentence(analyzed(plan(family=(200,)), error))
    assert "no difference shown" in sentence


def test_an_arm_that_is_shown_to_be_worse_is_called_so(analyzed):
    (sentence,) = first_sentence(analyzed(plan(), lambda cell: 0.5 - error(cell) * (cell.arm != "spread")))
    assert "to be worse" in sentence


def test_the_first_condition_of_the_study_at_which_any_arm_is_better_counts(analyzed):
    def only_b_at_10(cell):
        few = cell.levels["data.num_labels"] == 10
        gain = {"a": 0.0 if few else 0.1, "b": 0.1}.get(cell.arm, 0.0)
        return 0.3 - gain + 0.01 * (-1) ** (cell.model_seed + len(cell.arm))

    (sentence,) = first_sentence(analyzed(plan(family=(10, 200)), only_b_at_10))
    assert sentence.startswith("At Labels = 10: Method B") or "= 10: Method B" in sentence


@pytest.mark.parametrize("kind", ["semi_supervised", "classical"])
def test_it_does_not_depend_on_the_kind_of_the_baseline(analyzed, kind):
    (sentence,) = first_sentence(analyzed(plan(kind=kind), error))
    assert "Method B has 12.0 %" in sentence
