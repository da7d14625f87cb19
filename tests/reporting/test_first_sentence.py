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
    assert "no difference is shown" in sentence


@pytest.mark.parametrize("kind", ["semi_supervised", "classical"])
def test_a_study_whose_baseline_is_not_supervised_has_no_such_sentence(analyzed, kind):
    assert first_sentence(analyzed(plan(kind=kind), error)) == ()
