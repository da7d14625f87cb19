"""An axis shows what a metric can be: the t intervals of two seeds go further, in the tables and not in the drawing."""

import csv
import io

import pytest
from synthetic import ARMS, make_plan

from ssgan_bench.records.schema import FactorInfo
from ssgan_bench.reporting import figures
from ssgan_bench.reporting.analysis import analyze
from ssgan_bench.reporting.drawing import padded
from ssgan_bench.reporting.evidence import read_evidence, write_evidence
from ssgan_bench.reporting.frames import values
from ssgan_bench.reporting.sections import build

TWO = ARMS[:1] + ARMS[3:]
BUDGETS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 200))


@pytest.fixture
def analyzed(make_store, tmp_path):
    """Analyze two arms whose errors the two seeds agree or disagree about, in which case the interval is huge."""

    def analyzed(*, spread, factors=(BUDGETS,), metric="error_rate"):
        plan = make_plan(arms=TWO, factors=factors, seeds=(0, 1), metric=metric)

        def change(cell):
            seed = cell.model_seed if cell.arm == plan.baseline else 1 - cell.model_seed
            error = 0.5 - spread / 2 + spread * seed
            return {"error_rate": error}

        folder = tmp_path / "evidence"
        folder.mkdir()
        write_evidence(make_store(plan, change), folder)
        return analyze(read_evidence(folder))

    return analyzed


def drawings(analysis):
    _, parts = build(analysis)
    return {name: draw().axes[0] for name, draw in parts.drawings.items()}


def test_intervals_beyond_the_possible_do_not_stretch_the_error_axis(analyzed):
    analysis = analyzed(spread=0.6)
    (interval,) = {(round(m.estimate.low, 1), round(m.estimate.high, 1)) for m in analysis.means}
    assert interval == (-3.3, 4.3)  # 0.5 -+ 12.7 * 0.6 / 2
    axes = drawings(analysis)
    assert axes["main"].get_ylim() == pytest.approx((-3, 103))
    assert axes["differences"].get_xlim() == pytest.approx((-106, 106), abs=4)
    low, high = axes["validation_1"].get_ylim()
    assert -4 <= low < high <= 104


def test_the_numbers_stay_whole_and_the_caption_says_what_was_cut(analyzed):
    document, parts = build(analyzed(spread=0.6))
    row = next(csv.DictReader(io.StringIO(parts.csv["tables/main.csv"])))
    assert float(row["low"]) == pytest.approx(0.5 - 12.706 * 0.3, rel=1e-3)
    captions = [block.caption for s in document.sections for block in s.blocks if s.anchor == "results"]
    assert "Intervals that leave the possible range are cut off there; the CSV has them whole." in captions[0]


def test_intervals_within_the_possible_are_drawn_whole_and_nothing_is_said(analyzed):
    analysis = analyzed(spread=0.02)
    document, parts = build(analysis)
    low, high = parts.drawings["main"]().axes[0].get_ylim()
    assert low < 100 * analysis.means[0].estimate.low
    assert high > 100 * analysis.means[0].estimate.high
    assert not any("cut off" in str(block) for s in document.sections for block in s.blocks)


def test_a_row_of_dots_is_cut_alike_and_a_loss_has_no_upper_limit(analyzed):
    one = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10,))
    analysis = analyzed(spread=0.6, factors=(one,))
    axes = figures.draw_dots(analysis, values(analysis.evidence), (10,)).axes[0]
    assert axes.get_xlim() == pytest.approx((-3, 103))


def test_an_unbounded_metric_is_cut_below_zero_only(analyzed):
    analysis = analyzed(spread=0.6, metric="nll")
    low, high = drawings(analysis)["main"].get_ylim()
    assert -1 < low < 0
    assert high > max(m.estimate.high for m in analysis.means) > 10


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ((20, 120), (14, 126)),
        ((20, 120, 0, 1000), (14, 126)),
        ((-300, 400, 0, 100), (-3, 103)),
        ((0, 50, 0, 100), (-1.5, 53)),
        ((50, 400, 0, 100), (47, 101.5)),
    ],
)
def test_a_range_is_padded_within_the_possible(given, limits):
    assert padded(*given) == pytest.approx(limits)


@pytest.mark.parametrize(("small", "scale"), [(0.05, "log"), (0.3, "linear"), (0.005, "linear")])
def test_errors_that_span_decades_are_on_a_logarithmic_axis_unless_an_interval_reaches_zero(
    small, scale, make_store, tmp_path
):
    plan = make_plan(arms=TWO, factors=(BUDGETS,), seeds=(0, 1))

    def change(cell):
        error = 0.6 if cell.levels["data.num_labels"] == 10 else small
        return {"error_rate": error + 0.001 * cell.model_seed}

    (tmp_path / "evidence").mkdir()
    write_evidence(make_store(plan, change), tmp_path / "evidence")
    axes = drawings(analyze(read_evidence(tmp_path / "evidence")))["main"]
    assert axes.get_yscale() == scale
    assert axes.get_ylabel() == ("test error (%), log scale" if scale == "log" else "test error (%)")
