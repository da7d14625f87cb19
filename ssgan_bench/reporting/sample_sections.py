"""The section on sample quality: how good the generators are, and whether better classifiers have worse ones."""

import math
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import pandas as pd

from ssgan_bench.reporting import figures
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Block, Figure, Figures, Folded, Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.evidence_columns import DISTANCES
from ssgan_bench.reporting.frames import single_seed
from ssgan_bench.reporting.sample_figures import draw_error_against_frechet
from ssgan_bench.reporting.sample_frames import (
    LEAST_RANKED,
    Correlation,
    SampleMeans,
    correlations,
    measured_arms,
    measured_conditions,
    references,
    sample_means,
    sample_runs,
)
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import Unit, condition_text, counted, estimate_text, listed, number, range_text

if TYPE_CHECKING:
    from ssgan_bench.reporting.sections import Parts

TITLE = "Sample quality"
HEADS = {"frechet": "Frechet", "kernel": "kernel", "precision": "precision", "recall": "recall", "class_tv": "class TV"}
DECIMALS = {"frechet": 2, "kernel": 3, "precision": 2, "recall": 2, "class_tv": 2}
FLOOR = "Real images (floor)"
RANKED = {"seed": "runs", "split": "splits"}
CLEAR = 0.5
"""Rank correlation from which on the sentence speaks of an order; a manner of speaking, not a test."""
MOST_PANELS = 4


def sample_quality(analysis: Analysis, parts: "Parts") -> Section:
    """Build the section; call it where there are measured runs."""
    evidence, study = analysis.evidence, analysis.evidence.study
    error = f"{study.evaluated_on} error"
    runs = sample_runs(evidence)
    shown = measured_conditions(evidence, runs)
    if not shown:
        return Section("quality", TITLE, (Text("No complete run has measured samples."),))
    if mixed := sorted({name for c in shown if len(names := references(runs, c)) > 1 for name in names}):
        text = (
            f"The runs of one condition were measured in the features of {len(mixed)} classifiers ({listed(mixed)}). "
            "Distances in different feature spaces do not compare, so none are shown."
        )
        return Section("quality", TITLE, (Text(text),))
    means, ranks = sample_means(evidence, runs), correlations(evidence, runs)
    parts.csv["tables/sample_quality.csv"] = _means_csv(means, analysis)
    parts.csv["tables/sample_correlations.csv"] = _correlations_csv(ranks, analysis)
    chosen = figures.spread(shown, MOST_PANELS)
    everywhere = runs[[c in chosen for c in runs["condition"]]]
    panels = []
    for i, condition in enumerate(chosen):
        name = "error_against_frechet" if len(chosen) == 1 else f"error_against_frechet_{i + 1}"
        where = condition_text(condition, study.factors)
        here = runs[[c == condition for c in runs["condition"]]]
        parts.drawings[name] = partial(draw_error_against_frechet, analysis, here, everywhere, where)
        panels.append(Figure(name, f"{error} against Frechet distance, by arm{f'; {where}' if where else ''}"))
    not_drawn = len(shown) - len(chosen)
    left_out = f" {counted(not_drawn, 'further condition')} not drawn." if not_drawn else ""
    n = range_text([row.estimates["frechet"].n for row in means if row.arm is not None])
    interval = "" if single_seed(study) else " (the table has the intervals)"
    caption = (
        f"{error.capitalize()} against the Frechet distance of generated from real images. Faint: single runs; large: "
        f"mean of n = {n} {analysis.unit_noun}s{interval}; dashed line or arrow: real against real images. Left and "
        f"low is better.{left_out}"
    )
    blocks: list[Block] = [
        Text(dai_sentence(ranks, analysis)),
        Figures(tuple(panels), caption, "evidence/sample_quality.csv"),
        _means_table(means, runs, analysis),
    ]
    if lost := _unmeasured(runs, analysis):
        blocks.append(Text(f"In {counted(lost, 'complete run')} the generator drew NaN; the table leaves these out."))
    if not single_seed(study):
        blocks.append(Folded(f"Rank correlations of Frechet distance and {error}", _ranks_table(ranks, analysis)))
    return Section("quality", TITLE, tuple(blocks))


def dai_sentence(ranks: list[Correlation], analysis: Analysis) -> str:
    """Answer "does a better classifier go with a worse generator?" as far as these runs show an order."""
    factors = analysis.evidence.study.factors
    between = [row for row in ranks if row.arm is None and row.rho == row.rho]
    within = [row for row in ranks if row.arm is not None and row.rho == row.rho]
    question = "Does a better classifier go with a worse generator, as Dai et al. (2017) argue?"
    error = f"{analysis.evidence.study.evaluated_on} error"
    meaning = f"Spearman rank correlation ρ of Frechet distance and {error}; below zero means yes"
    if not between and not within:
        least = f"{LEAST_RANKED} arms, or {analysis.unit_noun}s"
        return f"{question} That takes at least {least}, with a generator; there are fewer."
    clauses = []
    if between:
        several = len({row.condition for row in ranks}) > 1
        values = [
            f"ρ = {number(row.rho, 2)}{f' at {condition_text(row.condition, factors)}' if several else ''}"
            for row in between
        ]
        if len(values) > MOST_PANELS:
            values = [f"ρ = {_span(between)} at {len(between)} conditions"]
        arms = range_text([row.n for row in between])
        clauses.append(f"between the means of n = {arms} arms {listed(values)}")
    if within:
        runs = range_text([row.n for row in within])
        groups = counted(len(within), "arm and condition") if len(within) == 1 else f"{len(within)} arms and conditions"
        clauses.append(
            f"within an arm, over n = {runs} {analysis.unit_noun}s, ρ = {_span(within)}"
            + (f", median {number(median(row.rho for row in within), 2)}" if len(within) > 1 else "")
            + f" ({groups})"
        )
    return (
        f"{question} {_reading(between)} {meaning}: {'; '.join(clauses)}. This describes these runs: no test was made, "
        "and an order is no cause."
    )


def _reading(between: list[Correlation]) -> str:
    """Read the correlations between arms, all conditions together."""
    if not between:
        return "There are too few arms to rank; within arms the runs say this."
    if all(row.rho <= -CLEAR for row in between):
        return "Yes, between these arms: those with the lower error tend to draw worse images."
    if all(row.rho >= CLEAR for row in between):
        return "No, between these arms it is the reverse: those with the lower error tend to draw better images."
    return "There is no such order that holds between these arms at every condition."


def _span(rows: list[Correlation]) -> str:
    low, high = (number(f(row.rho for row in rows), 2) for f in (min, max))
    return low if low == high else f"{low} to {high}"


def _unmeasured(runs: pd.DataFrame, analysis: Analysis) -> int:
    """Count the complete runs without measured samples, of arms that have a generator."""
    every = analysis.evidence.runs
    complete = every[(every["status"] == "complete") & every["arm"].isin(measured_arms(analysis.evidence, runs))]
    return len(set(complete["cell_id"]) - set(runs["cell_id"]))


def _means_table(means: list[SampleMeans], runs: pd.DataFrame, analysis: Analysis) -> Table:
    study = analysis.evidence.study
    units = {name: Unit(name, name, 1.0, "", "", DECIMALS[name], (-math.inf, math.inf)) for name in DISTANCES}
    rows = [
        (
            FLOOR if row.arm is None else analysis.label(row.arm),
            *texts_of(row.condition),
            *(estimate_text(row.estimates[name], units[name]) for name in DISTANCES),
            str(row.estimates["frechet"].n),
        )
        for row in means
    ]
    names = listed([f"frechet_{name}" for name in sorted(set(runs["reference_classifier"]))])
    error = range_text([100 * x for x in runs["reference_error_rate"]], 1)
    interval = "" if single_seed(study) else f" [95 % t interval] over {analysis.unit_noun}s"
    seen = f"including these {study.evaluated_on} images'"
    if study.evaluated_on == "test":
        seen += " where there is no official test set"
    caption = (
        f"Generated against real {study.evaluated_on} images, {range_text(list(runs['num_images']))} of each, in the "
        f"features of a classifier trained on all labels of the data set ({seen}; its error on them: {error} %): "
        f"mean{interval}. The Frechet distance is {names}: it compares with no other classifier's. Floor: as many "
        "other real images instead of generated ones. Frechet and kernel distance, and total variation of class "
        "frequencies (class TV): lower is better; precision and recall: higher is. The kernel distance is "
        "unbiased and may be below zero."
    )
    labels = tuple(factor.label for factor in study.factors)
    heads = ("arm", *labels, *(HEADS[name] for name in DISTANCES), "n")
    return Table(heads, tuple(rows), caption, "tables/sample_quality.csv", left=1)


def _means_csv(means: list[SampleMeans], analysis: Analysis) -> str:
    columns = ["arm", *keys_of(analysis), "metric", "mean", "low", "high", "sd", "n"]
    return csv_text(
        columns,
        (
            {"arm": row.arm or "floor", **levels_of(row.condition, analysis), "metric": f"{name}_{row.reference}"}
            | vars(row.estimates[name])
            for row in means
            for name in DISTANCES
        ),
    )


def _ranks_table(ranks: list[Correlation], analysis: Analysis) -> Table:
    rows = [
        (
            "means of the arms" if row.arm is None else f"{RANKED[analysis.unit_noun]} of {analysis.label(row.arm)}",
            *texts_of(row.condition),
            number(row.rho, 2),
            str(row.n),
        )
        for row in ranks
    ]
    labels = tuple(factor.label for factor in analysis.evidence.study.factors)
    caption = f"Spearman's ρ; below zero: the better classifier has the worse generator. None below n = {LEAST_RANKED}."
    return Table(("ranked", *labels, "ρ", "n"), tuple(rows), caption, "tables/sample_correlations.csv")


def _correlations_csv(ranks: list[Correlation], analysis: Analysis) -> str:
    rows = ({**vars(row), "arm": row.arm or "between arms", **levels_of(row.condition, analysis)} for row in ranks)
    return csv_text(["arm", *keys_of(analysis), "rho", "n"], rows)
