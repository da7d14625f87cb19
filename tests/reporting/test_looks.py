"""A report says how often its question was looked at; the overview says what all tests together promise."""

from pathlib import Path

import pytest
from synthetic import BUDGETS, TWO, box, make_plan, synthetic_error

from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.evidence import read_evidence
from ssgan_bench.reporting.looks import earlier_looks, suite_error
from ssgan_bench.reporting.page import render, write_report

HEAD = "study,preset,first_seed,last_seed,protocol,date,commit,repeats,verdict,reason\n"
OLD = "label_budget,quick,100,107,1.0,2025-01-01,0e80b6f,no,nothing shown,first look\n"
OWN = "label_budget,quick,0,7,1.0,2026-01-03,0e80b6f,no,GAN better,fresh seeds\n"
SAME = "label_budget,quick,5,12,1.0,2025-01-02,0e80b6f,no,nothing shown,again\n"


@pytest.fixture
def reported(make_store, tmp_path, monkeypatch, blank_figures):
    """Write a report (seeds 0 to 7, protocol 1.0, January 2026) where the table of looks has some rows."""
    monkeypatch.chdir(tmp_path)

    def run(*rows):
        (tmp_path / "studies").mkdir()
        (tmp_path / "studies" / "looks.csv").write_text(HEAD + "".join(rows))
        write_report(make_store(make_plan(arms=TWO, factors=(BUDGETS,))), tmp_path / "report")
        return analyze(read_evidence(tmp_path / "report" / "evidence"))

    return run


def looks_of(analysis):
    return [item for item in box(analysis) if item.startswith("Looks:")]


def test_earlier_looks_are_counted_and_the_last_one_told(reported):
    analysis = reported(OLD, OWN)
    (text,) = looks_of(analysis)
    assert "looked at 1 time before, last on 2025-01-01, with seeds 100 to 107" in text
    assert "seeds of this report are fresh" in text


def test_seeds_that_were_looked_at_are_told(reported):
    (text,) = looks_of(reported(OLD, SAME))
    assert "2 times before" in text
    assert "Some seeds of this report had been looked at." in text


def test_own_row_is_no_earlier_look(reported):
    analysis = reported(OWN)
    assert earlier_looks(analysis) == []
    assert "first look" in looks_of(analysis)[0]


def test_a_report_keeps_the_table_as_it_was(reported, tmp_path):
    before = looks_of(reported(OLD))
    Path("studies/looks.csv").write_text(HEAD + OLD + OWN)
    render(tmp_path / "report" / "evidence", tmp_path / "again", figures=False)
    assert looks_of(analyze(read_evidence(tmp_path / "again" / "evidence"))) == before


def test_a_study_that_is_not_in_the_table_says_nothing(reported, tmp_path):
    assert looks_of(reported(OLD.replace("label_budget", "another"))) == []
    assert not (tmp_path / "report" / "evidence" / "looks.csv").exists()


def test_suite_error_is_a_twentieth_of_the_families(analyzed):
    analysis = analyzed(make_plan(arms=TWO, factors=(BUDGETS,)), lambda cell: synthetic_error(cell, 0))
    text = suite_error([analysis] * 20)
    assert "40 tests in 20 families" in text
    assert "up to 1 of them" in text
    assert "up to 64 %" in text  # 1 - 0.95^20
    assert suite_error([]) == ""


def test_one_seed_is_no_test(analyzed):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0,))
    assert suite_error([analyzed(plan, lambda cell: 0.3)]) == ""
