"""The search section: best-of-k curves, winners, importance; search scores never stand as results."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Store
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_plan

from ssgan_bench.config import ConfigError
from ssgan_bench.records.search_schema import Dimension, FailedTry, SearchArm, SearchPlan, SearchRecord, SeedScore
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.reporting import render, write_report
from ssgan_bench.reporting.search_evidence import read_search
from ssgan_bench.reporting.search_sections import best_of_k_curves
from ssgan_bench.reporting.search_stats import best_of_k, value_of_pruned

ARMS = (("supervised_only", "Labels only"), ("ssgan", "=SSGAN"))
SPACE = {
    "optimizer.learning_rate": Dimension(low=1e-4, high=1e-1, log=True),
    "network.width": Dimension(choices=[8, 16]),
}
DEFAULT: dict[str, Any] = {"optimizer.learning_rate": 1e-3, "network.width": 8}
SEARCH = SearchPlan(
    protocol_version="1.0",
    study="label_budget",
    preset="quick",
    baseline="supervised_only",
    num_trials=4,
    tuning_seeds=(900, 901),
    sampler_seed=0,
    num_labels=20,
    num_validation=20,
    arms=tuple(
        SearchArm(name=name, label=label, config={}, space=SPACE, default=None if name == "ssgan" else DEFAULT)
        for name, label in ARMS
    ),
)
PLAN = make_plan(arms=[(name + end, label + end) for name, label in ARMS for end in ("", "_tuned")])


def record(arm: str, number: int, scores: list[float], **changes: Any) -> SearchRecord:
    fields: dict[str, Any] = {
        "protocol_version": "1.0",
        "study": "label_budget",
        "preset": "quick",
        "trial_id": f"{arm}-{number:04d}",
        "arm": arm,
        "trial": number,
        "status": "complete",
        "params": {"optimizer.learning_rate": 0.002 * (number + 1), "network.width": 16},
        "scores": tuple(SeedScore(seed=900 + i, error_rate=score) for i, score in enumerate(scores)),
        "seconds": 2.0,
        "started_at": "2026-01-01T00:00:00Z",
    }
    return SearchRecord(**fields | changes)


RECORDS = (
    record("supervised_only", 0, [0.4321, 0.4323]),
    record("supervised_only", 1, [0.1231, 0.1235]),
    record("supervised_only", 2, [0.2231], status="pruned"),
    record("supervised_only", 3, [0.1231, 0.1235]),
    record("ssgan", 0, [0.9, 0.5551], failures=(FailedTry(params=DEFAULT, error="=ValueError: no"),)),
    record("ssgan", 1, [], status="failed", failures=(FailedTry(params=DEFAULT, error="MemoryError: no"),) * 2),
)


def with_diverged(found: SearchRecord) -> SearchRecord:
    scores = tuple(s.model_copy(update={"diverged_step": 3 if s.error_rate == 0.9 else None}) for s in found.scores)
    return found.model_copy(update={"scores": scores})


@pytest.fixture
def store(make_store: Store) -> RecordStore:
    """A study folder with a search; one arm's last trials have no record."""
    made = make_store(PLAN)
    search = SearchStore(made.folder / "search")
    search.write_plan(SEARCH)
    for found in RECORDS:
        search.write_record(with_diverged(found))
    search.write_importances({"supervised_only": {"optimizer.learning_rate": 0.75, "network.width": 0.25}, "ssgan": {}})
    return made


def section(report: Path) -> str:
    text = report.read_text()
    start = text.index("## How the arms were tuned")
    return text[start : text.index("\n## ", start + 1)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_best_of_k_is_the_mean_minimum_over_all_subsets(values: list[float]) -> None:
    for k, expected in enumerate(best_of_k(values), 1):
        minima = [min(subset) for subset in itertools.combinations(values, k)]
        assert expected == pytest.approx(sum(minima) / len(minima), abs=1e-12)


def test_best_of_k_stays_exact_for_many_trials() -> None:
    curve = best_of_k([i / 1000 for i in range(1000)])
    # The expected minimum of k of 0..n-1 without replacement is (n - k) / (k + 1).
    assert curve.tolist() == pytest.approx([(1000 - k) / (k + 1) / 1000 for k in range(1, 1001)], abs=1e-9)


@pytest.mark.parametrize("values", [[], [float("nan")], [[0.1, 0.2]]])
def test_best_of_k_of_what_is_no_list_of_numbers_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="flat list of finite numbers"):
        best_of_k(values)


def test_a_pruned_trial_counts_by_its_difference_from_the_winner_and_never_as_better() -> None:
    winner = {1: 0.1, 2: 0.2, 3: 0.6}
    assert value_of_pruned({1: 0.2, 2: 0.3}, winner) == pytest.approx(0.3 + 0.1)
    assert value_of_pruned({1: 0.0, 2: 0.1}, winner) == pytest.approx(0.3)


def test_curves_end_at_the_winner_and_need_a_complete_trial(store: RecordStore, tmp_path: Path) -> None:
    write_report(store, tmp_path / "report")
    search = read_search(tmp_path / "report" / "evidence")
    curves = best_of_k_curves(search)
    values = [0.4322, 0.1233, 0.1233 + 0.1, 0.1233]
    assert curves["supervised_only"] == pytest.approx(best_of_k(values).tolist())
    assert curves["supervised_only"][-1] == pytest.approx(0.1233)
    assert curves["ssgan"] == pytest.approx([(0.9 + 0.5551) / 2])
    assert (winner := search.winner("supervised_only")) is not None
    assert winner.number == 1  # as good as trial 3, and earlier


def test_the_winners_are_kept_with_the_evidence_once_there_are_any(store: RecordStore, tmp_path: Path) -> None:
    write_report(store, tmp_path / "unfinished")
    assert not (tmp_path / "unfinished" / "evidence" / "winners.toml").exists()
    (store.folder / "winners.toml").write_text('name = "winners"\n')
    write_report(store, tmp_path / "report")
    assert (tmp_path / "report" / "evidence" / "winners.toml").read_text() == 'name = "winners"\n'
    assert "(evidence/winners.toml)" in (tmp_path / "report" / "report.md").read_text()
    render(tmp_path / "report" / "evidence", tmp_path / "again")
    assert (tmp_path / "again" / "evidence" / "winners.toml").is_file()


def test_the_section_counts_every_trial_and_shows_the_winners_values(store: RecordStore, tmp_path: Path) -> None:
    write_report(store, tmp_path / "report")
    text = section(tmp_path / "report" / "report.md").replace("\\", "")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert re.search(r"\| Labels only \| 4 \| 3 \| 1 \| 0 \| 0 \| 7 \| 0 \| 1 \|", text)
    assert re.search(r"\| =SSGAN \| 4 \| 1 \| 0 \| 3 \| 3 \| 2 \| 1 \| 0 \|", text)
    assert "| Labels only | optimizer.learning_rate | 0.0001 to 0.1, log | 0.001 | 0.004 | 0.75 |" in text
    assert rows["=SSGAN"].endswith("| network.width | 8 and 16 | – | 16 | – |")
    assert "but not for =SSGAN, where that lies outside the searched space" in text
    assert text.count("no result") >= 1
    assert "The test set was not read." in text


def test_no_search_score_stands_in_the_text_of_a_report(store: RecordStore, tmp_path: Path) -> None:
    """Other scores with the same winners give the same text: they show in a figure and in CSV files alone."""
    write_report(store, tmp_path / "report")
    for found in RECORDS:
        halved = tuple(s.model_copy(update={"error_rate": s.error_rate / 2}) for s in with_diverged(found).scores)
        SearchStore(store.folder / "search").write_record(found.model_copy(update={"scores": halved}))
    write_report(store, tmp_path / "halved")
    first, second = (tmp_path / name for name in ("report", "halved"))
    assert (first / "report.md").read_text() == (second / "report.md").read_text()
    for name in ("evidence/search.csv", "figures/best_of_k.svg", "tables/best_of_k.csv"):
        assert (first / name).read_bytes() != (second / name).read_bytes()


def test_a_report_with_a_search_is_rendered_again_from_its_evidence(store: RecordStore, tmp_path: Path) -> None:
    write_report(store, tmp_path / "report")
    render(tmp_path / "report" / "evidence", tmp_path / "again")
    for path in sorted((tmp_path / "report").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "report")).read_bytes()
    assert "'=ValueError" in (tmp_path / "again" / "evidence" / "search.csv").read_text()
    assert (tmp_path / "again" / "figures" / "best_of_k.svg").is_file()


def test_a_report_without_a_search_has_no_such_section(make_store: Store, tmp_path: Path) -> None:
    write_report(make_store(PLAN), tmp_path / "report")
    assert "How the arms were tuned" not in (tmp_path / "report" / "report.md").read_text()
    assert not list((tmp_path / "report" / "evidence").glob("search*"))


def test_damaged_evidence_of_a_search_is_refused_in_one_line(store: RecordStore, tmp_path: Path) -> None:
    write_report(store, tmp_path / "report")
    path = tmp_path / "report" / "evidence" / "search.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"num_trials": "4"}))
    with pytest.raises(ConfigError, match="write the report again from the run folder") as caught:
        render(tmp_path / "report" / "evidence", tmp_path / "again")
    assert "\n" not in str(caught.value)
