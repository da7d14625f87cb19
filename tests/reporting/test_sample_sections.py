"""What a report says of generated images, and that it says nothing where none were measured."""

import csv
import html
import io
import math
import re
import shutil

import numpy as np
import pytest
from scipy import stats as scipy_stats
from synthetic import ARMS, make_plan

from ssgan_bench.records.schema import FactorInfo, SampleDistances, SampleQuality
from ssgan_bench.reporting import render, write_report
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.evidence import read_evidence
from ssgan_bench.reporting.sample_figures import draw_error_against_frechet
from ssgan_bench.reporting.sample_frames import rank_correlation, sample_runs
from ssgan_bench.reporting.stats import mean_interval

BUDGETS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 200))
GANS = [name for name, _ in ARMS[1:]]


def quality(frechet, *, reference="digits_0123abcd", floor=0.4):
    return SampleQuality(
        reference_classifier=reference,
        reference_error_rate=0.0,
        num_images=397,
        generated=SampleDistances(frechet=frechet, kernel=frechet / 9, precision=0.6, recall=0.3, class_tv=0.15),
        floor=SampleDistances(frechet=floor, kernel=-0.01, precision=0.9, recall=0.91, class_tv=0.02),
    )


def plan(**changes):
    return make_plan(factors=(BUDGETS,), sample_quality=True, **changes)


def measured(cell, *, sign=-1, **changes):
    """Record fields: errors 0.2, 0.3, 0.4 of the GAN arms, with distances that fall (sign -1) or rise with them."""
    if cell.arm not in GANS:
        return {"points": 1}
    error = 0.2 + 0.1 * GANS.index(cell.arm) + 0.005 * cell.model_seed
    frechet = 20 * math.exp(sign * 3 * (0.2 + 0.1 * GANS.index(cell.arm))) + 0.01 * cell.model_seed
    return {"error_rate": error, "points": 1, "sample_quality": quality(frechet, floor=0.4 + 0.1 * cell.model_seed)} | (
        changes
    )


def section_of(result):
    page = html.unescape(result.index.read_text())
    found = re.search(r'<section id="quality">(.*?)</section>', page, re.DOTALL)
    return found.group(1) if found else None


def read_rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@pytest.mark.usefixtures("blank_figures")
def test_a_report_without_measured_samples_says_nothing_of_them(make_store, tmp_path):
    result = write_report(make_store(make_plan(factors=(BUDGETS,))), tmp_path / "report")
    assert section_of(result) is None
    assert not list((tmp_path / "report").rglob("*sample_quality*"))
    assert "Frechet" not in result.index.read_text()


@pytest.mark.usefixtures("blank_figures")
def test_the_table_has_means_of_every_gan_arm_and_the_floor_once_per_seed(make_store, tmp_path):
    write_report(make_store(plan(), measured), tmp_path / "report")
    rows = read_rows(tmp_path / "report" / "tables" / "sample_quality.csv")
    assert len(rows) == 2 * (3 + 1) * 5
    assert {row["arm"] for row in rows} == {*GANS, "floor"}
    assert {row["metric"] for row in rows} == {
        f"{name}_digits_0123abcd" for name in ("frechet", "kernel", "precision", "recall", "class_tv")
    }
    (floor,) = [r for r in rows if (r["arm"], r["data.num_labels"], r["metric"][:7]) == ("floor", "10", "frechet")]
    expected = mean_interval([0.4 + 0.1 * seed for seed in range(8)])
    assert [float(floor[key]) for key in ("mean", "low", "high", "n")] == pytest.approx(
        [expected.mean, expected.low, expected.high, 8]
    )
    runs = read_rows(tmp_path / "report" / "evidence" / "sample_quality.csv")
    assert len(runs) == 3 * 2 * 8
    arm = [float(r["frechet"]) for r in runs if (r["arm"], r["data.num_labels"]) == (GANS[1], "200")]
    (row,) = [r for r in rows if (r["arm"], r["data.num_labels"], r["metric"][:7]) == (GANS[1], "200", "frechet")]
    assert float(row["mean"]) == pytest.approx(sum(arm) / 8)


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize(("sign", "reading", "rho"), [(-1, "Yes, between these arms", "−1"), (1, "No, between", "1")])
def test_sentence_says_whether_better_classifiers_have_worse_generators(sign, reading, rho, make_store, tmp_path):
    result = write_report(make_store(plan(), lambda cell: measured(cell, sign=sign)), tmp_path / "report")
    text = section_of(result)
    assert reading in text
    assert (
        f"between the means of n = 3 arms ρ = {rho}.00 at Labeled images = 10 and ρ = {rho}.00 at "
        "Labeled images = 200; "
        "within an arm, over n = 8 seeds, ρ = 1.00, median 1.00 (6 arms and conditions)." in text
    )
    assert "no test was made, and an order is no cause" in text
    rows = read_rows(tmp_path / "report" / "tables" / "sample_correlations.csv")
    assert {(row["rho"], row["n"]) for row in rows if row["arm"] == "between arms"} == {(f"{float(sign)}", "3")}
    assert [row["n"] for row in rows if row["arm"] != "between arms"] == ["8"] * 6


@pytest.mark.usefixtures("blank_figures")
def test_an_order_at_one_condition_only_is_called_no_order(make_store, tmp_path):
    store = make_store(plan(), lambda cell: measured(cell, sign=1 if cell.levels["data.num_labels"] == 10 else -1))
    assert "There is no such order that holds between these arms at every condition." in section_of(
        write_report(store, tmp_path / "report")
    )


@pytest.mark.usefixtures("blank_figures")
def test_two_arms_and_one_seed_are_not_ranked(make_store, tmp_path):
    store = make_store(plan(seeds=(3,), arms=ARMS[:3]), measured)
    text = section_of(write_report(store, tmp_path / "report"))
    assert "That takes at least 3 arms, or seeds, with a generator; there are fewer." in text
    assert "ρ =" not in text
    assert "t interval" not in text


@pytest.mark.usefixtures("blank_figures")
def test_distances_of_two_classifiers_are_not_averaged(make_store, tmp_path):
    def change(cell):
        fields = measured(cell)
        if cell.arm == GANS[0] and cell.model_seed == 2:
            fields["sample_quality"] = quality(3.0, reference="digits_ffffffff")
        return fields

    text = section_of(write_report(make_store(plan(), change), tmp_path / "report"))
    assert "2 classifiers (digits_0123abcd and digits_ffffffff). Distances in different feature spaces" in text
    assert "<table" not in text
    assert not (tmp_path / "report" / "tables" / "sample_quality.csv").exists()


@pytest.mark.usefixtures("blank_figures")
def test_runs_without_measured_samples_are_counted(make_store, tmp_path):
    def change(cell):
        nothing = cell.arm == GANS[0] and cell.model_seed == 2
        return measured(cell, **({"sample_quality": None} if nothing else {}))

    text = section_of(write_report(make_store(plan(), change), tmp_path / "report"))
    assert "In 2 complete runs the generator drew NaN" in text
    assert "NaN" not in section_of(write_report(make_store(plan(), measured), tmp_path / "other"))


def test_the_evidence_alone_gives_the_same_figures_and_page(make_store, tmp_path):
    first = tmp_path / "report"
    result = write_report(make_store(plan(seeds=(0, 1, 2)), measured), first)
    assert {p.stem for p in (first / "figures").glob("error_against*")} == {
        "error_against_frechet_1",
        "error_against_frechet_2",
    }
    shutil.copytree(first / "evidence", tmp_path / "elsewhere")
    again = render(tmp_path / "elsewhere", tmp_path / "again")
    assert again.index.read_bytes() == result.index.read_bytes()
    for path in first.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(first)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("frechet", "scale", "dashed"),
    [((8.0, 9.0, 10.0), "linear", 0), ((0.5, 5.0, 50.0), "log", 1), ((0.3, 0.5, 0.6), "linear", 1)],
)
def test_figure_shows_every_run_and_the_floor_whatever_the_range(frechet, scale, dashed, make_store, tmp_path):
    def change(cell):
        fields = measured(cell)
        if cell.arm in GANS:
            fields["sample_quality"] = quality(frechet[GANS.index(cell.arm)], floor=0.4)
        return fields

    write_report(make_store(plan(seeds=(0, 1, 2)), change), tmp_path / "report")
    analysis = analyze(read_evidence(tmp_path / "report" / "evidence"))
    runs = sample_runs(analysis.evidence)
    here = runs[[c == (10,) for c in runs["condition"]]]
    figure = draw_error_against_frechet(analysis, here, runs, "")
    (axes,) = figure.axes
    lines = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert (axes.get_xscale(), len(lines)) == (scale, dashed)
    points = [x for line in axes.lines if line not in lines for x in line.get_xdata()]
    assert len(points) == 3 * (3 + 1)  # runs and a mean of each arm
    low, high = axes.get_xlim()
    assert all(low < x < high for x in points)
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["real images: 0.40" if dashed else "← real images: 0.40"]
    figure.draw_without_rendering()
    labels = [label for minor in (False, True) for label in axes.get_xticklabels(minor=minor)]
    ticks = [label.get_text() for label in labels if low <= label.get_position()[0] <= high]
    assert len([text for text in ticks if text]) >= 2
    assert not any("$" in text for text in ticks)


def test_rank_correlation_agrees_with_scipy_also_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, size=(2, 9)).astype(float)
        assert rank_correlation(list(x), list(y)) == pytest.approx(scipy_stats.spearmanr(x, y).statistic)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [3, 4]), ([], []), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5])])
def test_what_cannot_be_ranked_has_no_correlation(x, y):
    assert math.isnan(rank_correlation(x, y))


@pytest.mark.usefixtures("blank_figures")
def test_measured_runs_of_one_split_are_averaged_so_that_n_counts_splits(make_store, tmp_path):
    crossed = plan(seeds=(0, 1, 2), model_seeds=(50, 51))

    def change(cell):
        fields = measured(cell)
        if "sample_quality" in fields:
            fields["sample_quality"] = quality(10.0 + cell.split_seed + (cell.model_seed - 50))
            fields["error_rate"] = 0.3 + 0.01 * cell.split_seed
        return fields

    result = write_report(make_store(crossed, change), tmp_path / "report")
    rows = read_rows(tmp_path / "report" / "tables" / "sample_quality.csv")
    rows = [row for row in rows if row["arm"] != "floor" and row["metric"].startswith("frechet")]
    expected = mean_interval([10.5, 11.5, 12.5])
    for row in rows:
        assert row["n"] == "3"
        found = [float(row[name]) for name in ("mean", "low", "high")]
        assert found == pytest.approx([expected.mean, expected.low, expected.high])
    ranks = read_rows(tmp_path / "report" / "tables" / "sample_correlations.csv")
    assert {row["n"] for row in ranks if row["arm"] != "between arms"} == {"3"}
    text = section_of(result)
    assert "over n = 3 splits" in text
    assert "[95 % t interval] over splits" in text
    assert "splits of K-logit GAN" in text
