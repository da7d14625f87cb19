"""The comparison of two evidences as a page: verdict, side-by-side table, figure, what differs in the set-up."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Drawing

from ssgan_bench.reporting.compare import ArmTest, Comparison, compare, load, setup_differences
from ssgan_bench.reporting.compare_tables import (
    groups_csv,
    pairs_csv,
    side_by_side,
    tests_csv,
    tests_table,
    unpaired,
    unpaired_csv,
)
from ssgan_bench.reporting.document import Block, Bullets, Document, Figure, Figures, Links, Section, Table, Text
from ssgan_bench.reporting.drawing import STYLE, add_legend, legend_height, new_panel, padded
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.evidence_columns import METRICS
from ssgan_bench.reporting.frames import ALPHA
from ssgan_bench.reporting.page import replace_folder, write_document
from ssgan_bench.reporting.palette import looks
from ssgan_bench.reporting.tables import plain
from ssgan_bench.reporting.units import unit_noun
from ssgan_bench.reporting.wording import (
    Unit,
    condition_text,
    counted,
    estimate_text,
    listed,
    p_text,
    range_text,
    unit_of,
)

MOST_NAMED = 6
"""Arms and conditions that one sentence names."""


def write_comparison(first: Path, second: Path, folder: Path | None) -> tuple[str, str, Path | None]:
    """Compare two report, evidence or run folders and write the page, where a folder for it is given.

    Returns:
        The verdict, the side-by-side table as plain text, and the page.

    Raises:
        ConfigError: a folder cannot be read, the two cannot be paired, or `folder` holds something that is no report.
    """
    names = (str(first), str(second))
    comparison = compare(load(first), load(second), names)
    document, csv = build(comparison, names)
    if folder is not None:
        drawings = {"pairs": lambda: draw_pairs(comparison)} if comparison.groups else {}
        replace_folder(folder, lambda new: write_document(new, document, csv, drawings))
    table = plain(side_by_side(comparison, unit_of(comparison.first)))
    return "\n\n".join(document.answer), table, None if folder is None else folder / "index.html"


def build(comparison: Comparison, names: tuple[str, str]) -> tuple[Document, dict[str, str]]:
    """Build the document and the CSV files that it links to, by path."""
    study, unit = comparison.first.study, unit_of(comparison.first)
    setup = setup_differences(comparison)
    csv = {
        "tables/tests.csv": tests_csv(comparison),
        "tables/comparison.csv": groups_csv(comparison),
        "tables/pairs.csv": pairs_csv(comparison),
        "tables/unpaired.csv": unpaired_csv(comparison),
        "tables/setup.csv": csv_text(
            ["what", "A", "B"], (dict(zip(("what", "A", "B"), row, strict=True)) for row in setup)
        ),
    }
    results: list[Block] = [Text("No pair of runs has a result in both.")]
    if comparison.groups:
        n = range_text([group.num_pairs for group in comparison.groups])
        caption = (
            f"{unit.axis[0].upper()}{unit.axis[1:]} of each single run in A and in B, n = {n} pairs per arm and "
            "condition; on the line both are equal. No intervals: these are the runs themselves."
        )
        panel = Figure("pairs", f"{unit.name} of every run in B against the same run in A")
        figure = Figures((panel,), caption, "tables/pairs.csv")
        results = [figure, tests_table(comparison, unit), side_by_side(comparison, unit)]
    differs = Table(("what", "A", "B"), tuple(setup), "What differs between A and B.", "tables/setup.csv", left=3)
    links = (
        ("tables/tests.csv", "one row per arm, rates in [0, 1]"),
        ("tables/comparison.csv", "one row per arm and condition, rates in [0, 1]"),
        ("tables/pairs.csv", "one row per pair of runs"),
        ("tables/unpaired.csv", "runs that only one of the two has"),
        ("tables/setup.csv", "what differs in plan, configuration and environment"),
        ("report.md", "this page as Markdown"),
    )
    document = Document(
        title=f"{study.study}: two runs compared",
        subtitle=f"Preset {study.preset}, protocol {study.protocol_version}. A is {names[0]}; B is {names[1]}.",
        question="Does B reproduce A?",
        expectation="",
        answer=(verdict(comparison), *_remarks(comparison, len(setup))),
        sections=(
            Section("certainty", "How sure is this?", (Bullets(tuple(_certainty(comparison))),)),
            Section("results", "Results side by side", tuple(results)),
            Section(
                "configuration", "What differs", (differs if setup else Text("Nothing that is recorded differs."),)
            ),
            Section("problems", "Runs in only one of the two", unpaired(comparison)),
            Section("files", "Files", (Links(links),)),
        ),
    )
    return document, csv


def verdict(comparison: Comparison) -> str:
    """Answer "did I reproduce it?" in one sentence."""
    unit, tests = unit_of(comparison.first), comparison.tests
    total, identical = len(comparison.pairs), sum(pair.identical for pair in comparison.pairs)
    outcome = comparison.outcome
    if outcome == "nothing":
        return "Nothing to compare: no run of one has a counterpart in the other."
    if outcome == "identical":
        return (
            f"Identical: in {'the one pair' if total == 1 else f'all {total} pairs'} of runs B ends as A does, with "
            f"{listed(METRICS)} equal bit for bit."
        )
    if not tests:
        return f"Undecided: of {counted(total, 'pair')} of runs {identical} end alike, and none has a result in both."
    same = f"{identical} of {counted(total, 'pair')} of runs are identical"
    if outcome == "different":
        shown = [test for test in tests if test.p_holm <= ALPHA]
        return f"Differs: {same}, and a difference is shown for {_sized(shown, comparison, unit)}."
    largest = max(tests, key=lambda test: abs(test.difference.mean))
    size = f"the largest mean difference of an arm is that of {_sized([largest], comparison, unit)}"
    if outcome == "undecided":
        few = f"so few {unit_noun(comparison.first.study)}s"
        return f"Undecided: {same}, and with {few} no difference could be shown, however large; {size}."
    return (
        f"Agrees within sampling error: {same}, and no paired difference is shown for any arm after Holm over "
        f"{counted(len(tests), 'test')}; {size}."
    )


def _sized(tests: Sequence[ArmTest], comparison: Comparison, unit: Unit) -> str:
    """Name arms with difference and p, e.g. "A (+0.4 [−0.1, +0.9] percentage points, p = 0.2 after Holm, n = 8)"."""
    labels = {arm.name: arm.label for arm in comparison.first.study.arms}
    texts = []
    for test in tests:
        p = f", p = {p_text(test.p_holm)} after Holm" if math.isfinite(test.p_holm) else ""
        size = f"{estimate_text(test.difference, unit, sign=True)}{unit.difference}"
        texts.append(f"{labels[test.arm]} ({size}{p}, n = {test.difference.n})")
    return listed(texts)


def _remarks(comparison: Comparison, num_differing: int) -> list[str]:
    """Say what the verdict leaves out: single conditions, runs without a counterpart, and another set-up."""
    remarks = []
    apart = [g for g in comparison.groups if g.difference.low > 0 or g.difference.high < 0]
    if apart:
        study = comparison.first.study
        labels = {arm.name: arm.label for arm in study.arms}
        places = [
            labels[g.arm] + (f" at {condition_text(g.condition, study.factors)}" if g.condition else "") for g in apart
        ]
        named = "; ".join(places) if len(places) <= MOST_NAMED else f"{len(places)} of {len(comparison.groups)} rows"
        remarks.append(
            f"As an indication only, single 95 % intervals, not corrected for their number, exclude zero for {named}."
        )
    if comparison.only_first or comparison.only_second:
        remarks.append(
            f"Not covered: {counted(len(comparison.only_first), 'run')} only in A and "
            f"{counted(len(comparison.only_second), 'run')} only in B."
        )
    if lost := sum(pair.first["status"] != pair.second["status"] for pair in comparison.pairs):
        remarks.append(f"{counted(lost, 'pair')} ended differently: one of the two failed or diverged.")
    changed = sum(pair.first["config_digest"] != pair.second["config_digest"] for pair in comparison.pairs)
    if changed:
        remarks.append(
            f"The configuration differs in {changed} of {counted(len(comparison.pairs), 'pair')}: these runs were not "
            "asked to be the same."
        )
    if num_differing:
        entries = "1 entry" if num_differing == 1 else f"{num_differing} entries"
        remarks.append(f"What differs in plan, configuration and environment is listed below ({entries}).")
    return remarks


def _certainty(comparison: Comparison) -> list[str]:
    pairs = comparison.pairs
    items = [f"{counted(len(pairs), 'pair')} of runs, by arm, levels, split seed and model seed."]
    known = [p for p in pairs if p.first["labeled_digest"] and p.second["labeled_digest"]]
    for column, what in (("labeled_digest", "labeled images"), ("test_digest", "test images")):
        equal = sum(p.first[column] == p.second[column] for p in known)
        items.append(f"The same {what} (SHA-256) in {equal} of {counted(len(known), 'pair')}.")
    if comparison.tests:
        noun = unit_noun(comparison.first.study)
        averaged = " runs of one split are averaged first;" if noun == "split" else ""
        items.append(
            "One test per arm, on its difference averaged over all conditions: "
            f"n = {range_text([test.difference.n for test in comparison.tests])} {noun}s;{averaged} the exact "
            f"sign-flip test, after Holm over {counted(len(comparison.tests), 'test')}, cannot give a p below "
            f"{p_text(comparison.smallest_p)}. "
            "Differences that cancel over the conditions escape it; the second table describes each condition."
        )
        items.append("No difference shown does not mean that there is none; the intervals say how large it may be.")
    items.append(
        "Runs of one commit on one machine are identical bit for bit on a CPU. Another processor, device or version of "
        "PyTorch sums in another order, and training then drifts apart: that is no error."
    )
    return items


def draw_pairs(comparison: Comparison) -> Drawing:
    """Draw the metric of every run in B against the same run in A; equal runs are on the diagonal."""
    study, unit = comparison.first.study, unit_of(comparison.first)
    style = looks([arm.name for arm in study.arms])
    metric = study.metric
    present = [arm for arm in study.arms if any(group.arm == arm.name for group in comparison.groups)]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=3.6 + legend_height([arm.label for arm in present]))
        values = []
        for arm in present:
            own = [(p.first[metric], p.second[metric]) for p in comparison.pairs if p.arm == arm.name]
            x, y = ([unit.scale * pair[side] for pair in own if not math.isnan(sum(pair))] for side in (0, 1))
            axes.plot(x, y, style[arm.name].marker, color=style[arm.name].color, ms=4, alpha=0.7, mew=0)
            values += [*x, *y]
        limits = padded(min(values), max(values), floor=0.0)
        axes.plot(limits, limits, color="#222222", linewidth=0.9, zorder=1)
        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        axes.set_xlabel(f"A: {unit.axis}")
        axes.set_ylabel(f"B: {unit.axis}")
        add_legend(figure, [(arm.label, style[arm.name]) for arm in present], marker=True)
    return figure
