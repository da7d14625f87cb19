"""The table of looks: seeds that repeat are refused or said, and every committed report has its row."""

import json
from pathlib import Path

import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.records.looks import known_looks, read_looks
from ssgan_bench.trials.study_paths import study_paths

ROOT = Path(__file__).parents[2]
HEAD = "study,preset,first_seed,last_seed,protocol,date,commit,repeats,verdict,reason\n"
FIRST = "labeled_rate,quick,0,7,2.0,2026-11-25,0e80b6f,no,nothing shown,first look\n"


@pytest.fixture
def table(tmp_path):
    def write(*rows):
        path = tmp_path / "looks.csv"
        path.write_text(HEAD + "".join(rows))
        return path

    return write


def test_committed_table_can_be_read_and_has_a_row_of_every_committed_report():
    looks = read_looks(ROOT / "studies" / "looks.csv")
    rows = {(x.study, x.preset, x.protocol, x.first_seed, x.last_seed) for x in looks}
    paths = sorted((ROOT / "reports" / "reference").glob("*/*/evidence/study.json"))
    assert paths
    for path in paths:
        study = json.loads(path.read_text())
        seeds = [cell["split_seed"] for cell in study["cells"]]
        row = (study["study"], study["preset"], study["protocol_version"], min(seeds), max(seeds))
        assert row in rows, f"{path}: add a row to studies/looks.csv"


def test_table_is_no_study():
    assert "looks" not in study_paths()


@pytest.mark.parametrize(
    "row",
    [
        "labeled_rate,quick,8,15,2.0,2026-11-26,unknown,no,nothing shown,more seeds\n",
        "labeled_rate,quick,7,15,2.0,2026-11-26,0e80b6f,yes,nothing shown,one seed again\n",
        "labeled_rate,quick,0,7,3.0,2026-11-26,0e80b6f,no,nothing shown,other protocol\n",
        "labeled_rate,standard,0,7,2.0,2026-11-24,0e80b6f,no,nothing shown,other preset\n",
        "stability,quick,0,7,2.0,2026-11-24,0e80b6f,no,nothing shown,other study\n",
    ],
)
def test_fresh_seeds_and_marked_repetitions_are_read(table, row):
    assert len(read_looks(table(FIRST, row))) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("labeled_rate,quick,7,15,2.0,2026-11-26,0e80b6f,no,x,y\n", "shares seeds with the look of 2026-11-25; take"),
        ("labeled_rate,quick,8,15,2.0,2026-11-26,0e80b6f,yes,x,y\n", "shares no seeds with an earlier look"),
        ("labeled_rate,quick,9,8,2.0,2026-11-26,0e80b6f,no,x,y\n", "below first_seed"),
        ("labeled_rate,quick,8,15,2.0,2026-11-24,0e80b6f,no,x,y\n", "sort by date"),
        ("labeled_rate,quick,8,15,2.0,26 November,0e80b6f,no,x,y\n", "row 3, date"),
        ("labeled_rate,quick,eight,15,2.0,2026-11-26,0e80b6f,no,x,y\n", "row 3, first_seed"),
        ("labeled_rate,quick,8,15,2.0,2026-11-26,HEAD,no,x,y\n", "row 3, commit"),
        ("labeled_rate,quick,8,15,2.0,2026-11-26,0e80b6f,no,x,y,z\n", "row 3"),
        ("labeled_rate,quick,8,15,2.0,2026-11-26,0e80b6f,no,,y\n", "row 3, verdict"),
        ("labeled_rate,quick,8\n", "row 3"),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(table, row, message):
    with pytest.raises(ConfigError, match=message):
        read_looks(table(FIRST, row))


def test_a_table_here_comes_before_the_shipped_one(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(known_looks("labeled_rate", "quick")) > 3
    (tmp_path / "studies").mkdir()
    table(FIRST).rename(tmp_path / "studies" / "looks.csv")
    assert [look.last_seed for look in known_looks("labeled_rate", "quick")] == [7]
    assert known_looks("mine", "quick") == ()
