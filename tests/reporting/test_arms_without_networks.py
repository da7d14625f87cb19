"""A report copes with arms that take no steps: one point of a curve, no step time, options that mean nothing."""

import csv
from pathlib import Path
from typing import Any

import matplotlib.colors
import pytest
from synthetic import make_plan

from ssgan_bench.records.schema import ArmInfo, Cell, CurvePoint, FactorInfo, StudyPlan, Timing
from ssgan_bench.reporting import write_report
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.evidence import read_evidence
from ssgan_bench.reporting.palette import looks
from ssgan_bench.reporting.sections import build

ARMS = (("supervised_only", "Labels only"), ("improved_gan", "GAN"), ("label_spreading", "Label spreading"))
BUDGETS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 200))


def plan_of(arms: tuple[tuple[str, str], ...] = ARMS, num_seeds: int = 8) -> StudyPlan:
    plan = make_plan(arms=arms, factors=(BUDGETS,), seeds=tuple(range(num_seeds)))
    kinds = {"label_spreading": "classical"}
    infos = tuple(ArmInfo(name=name, label=label, kind=kinds.get(name, "supervised")) for name, label in arms)
    return plan.model_copy(update={"arms": infos})


def without_steps(cell: Cell) -> dict[str, Any]:
    """What the runner records of label spreading."""
    if cell.arm != "label_spreading":
        return {}
    validation = {"error_rate": 0.1 + 0.001 * cell.model_seed, "nll": 1.0, "ece": 0.1}
    timing = Timing(
        setup_seconds=0.1,
        warmup_seconds=0.0,
        train_seconds=0.2,
        evaluation_seconds=0.3,
        step_time_ms=None,
        images_per_second=None,
        peak_memory_mib=300.0,
    )
    return {
        "curves": (CurvePoint(step=0, epoch=0.0, labels_used=4, losses={}, validation=validation),),
        "timing": timing,
    }


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def folder(make_store: Any, tmp_path: Path) -> Path:
    write_report(make_store(plan_of(), without_steps), tmp_path / "report")
    return tmp_path / "report"


def test_the_report_gives_its_time_as_a_whole_and_no_time_per_step(folder: Path) -> None:
    timing = [row for row in rows(folder / "tables" / "timing.csv") if row["arm"] == "label_spreading"]
    assert len(timing) == 2
    assert {(row["step_time_ms"], row["images_per_second"], row["train_seconds"]) for row in timing} == {
        ("", "", "0.2")
    }
    assert [float(row["total_seconds"]) for row in timing] == pytest.approx([0.6, 0.6])
    line = next(line for line in (folder / "report.md").read_text().splitlines() if "Label spreading | –" in line)
    assert line.split("|")[2:6] == [" – ", " – ", " 0.2 ", " 0.6 "]


def test_options_of_networks_are_shared_by_the_arms_that_have_networks(folder: Path) -> None:
    config = {row["key"]: row for row in rows(folder / "tables" / "config.csv")}
    assert config["network.width"]["improved_gan"] == "32"
    assert config["network.width"]["label_spreading"] == ""
    assert config["data.dataset"]["label_spreading"] == "digits"
    text = (folder / "report.md").read_text()
    assert "| network.width | 32 |" in text  # among the shared ones, in a table of key and value
    assert "Those of networks, optimizer and training steps do not concern Label spreading." in text


def test_curves_show_it_as_a_horizontal_line_and_losses_not_at_all(folder: Path) -> None:
    _, parts = build(analyze(read_evidence(folder / "evidence")))
    color = looks([arm for arm, _ in ARMS])["label_spreading"].color
    lines = {
        name: [
            line
            for axes in parts.drawings[name]().axes
            for line in axes.lines
            if matplotlib.colors.same_color(line.get_color(), color)
        ]
        for name in ("validation_1", "losses_1")
    }
    (line,) = lines["validation_1"]
    assert list(line.get_xdata()) == [0, 1]  # in widths of the axes
    assert line.get_ydata()[0] == line.get_ydata()[1] == pytest.approx(10.35)
    assert all(len(line.get_xdata()) == 0 for line in lines["losses_1"])
    legends = {name: [t.get_text() for t in parts.drawings[name]().legends[0].get_texts()] for name in lines}
    assert "Label spreading" in legends["validation_1"]
    assert "Label spreading" not in legends["losses_1"]
    assert "Horizontal: a method without training steps." in (folder / "report.md").read_text()


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("validation", [{}, {"error_rate": 0.2, "nll": 1.0, "ece": 0.1}], ids=["none", "some"])
def test_a_study_of_such_arms_alone_has_a_report(
    make_store: Any, tmp_path: Path, num_seeds: int, validation: dict[str, float]
) -> None:
    def change(cell: Cell) -> dict[str, Any]:
        curves = (CurvePoint(step=0, epoch=0.0, labels_used=4, losses={}, validation=validation),)
        return without_steps(cell) | {"curves": curves}

    plan = plan_of(ARMS[2:], num_seeds)
    write_report(make_store(plan, change), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Label spreading" in text
    assert ("No complete run has curves." in text) == (not validation)
    assert "network.width" not in text
