"""What a report says, in order: sections of text, tables and figures built from the analysis."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from matplotlib.figure import Figure as Drawing

from ssgan_bench.reporting import (
    figures,
    label_efficiency,
    label_sections,
    metric_tables,
    published,
    run_tables,
    sample_sections,
    tables,
    variance_components,
    yardsticks,
)
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.answer import answer, effect_of_losses
from ssgan_bench.reporting.certainty import certainty
from ssgan_bench.reporting.document import (
    Block,
    Bullets,
    Document,
    Figure,
    Figures,
    Folded,
    Links,
    Sample,
    Samples,
    Section,
    Text,
)
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.first_sentence import first_sentence
from ssgan_bench.reporting.frames import (
    ALPHA,
    Condition,
    condition_of,
    conditions,
    curve_means,
    panels,
    single_seed,
    values,
)
from ssgan_bench.reporting.search_evidence import SEARCH_FILES, has_search
from ssgan_bench.reporting.search_sections import search_section
from ssgan_bench.reporting.wording import (
    condition_text,
    counted,
    level_text,
    listed,
    number,
    range_text,
)


@dataclass
class Parts:
    """Files that the sections refer to, by path relative to the report."""

    csv: dict[str, str] = field(default_factory=dict)
    drawings: dict[str, Callable[[], Drawing]] = field(default_factory=dict)
    """By figure name; drawn when called, since most of the time goes there and not every reader wants them."""


def build(analysis: Analysis) -> tuple[Document, Parts]:
    """Build the report's document and the files it links to."""
    study, parts = analysis.evidence.study, Parts()
    makers: Sequence[Callable[[Analysis, Parts], Section]] = (
        lambda analysis, _: certainty(analysis),
        _main,
        _differences,
        *_designed(analysis),
        *([search_section] if has_search(analysis.evidence.folder) else []),
        *([label_sections.labels_used] if label_sections.varies_label_protocol(analysis) else []),
        _curves,
        _samples,
        *([sample_sections.sample_quality] if len(analysis.evidence.sample_quality) else []),
        _timing,
        _problems,
        _protocol,
        _configuration,
        _files,
    )
    document = Document(
        title=study.study,
        subtitle=f"Preset {study.preset}, protocol {study.protocol_version}",
        question=study.question,
        expectation=study.expectation,
        answer=(*first_sentence(analysis), *answer(analysis)),
        sections=tuple(make(analysis, parts) for make in makers),
    )
    return document, parts


def _designed(analysis: Analysis) -> list[Callable[[Analysis, Parts], Section]]:
    """List the sections that only some designs have."""
    study = analysis.evidence.study
    makers: list[Callable[[Analysis, Parts], Section]] = []
    if study.published:
        makers.append(lambda analysis, parts: published.section(analysis, parts.csv))
    if study.yardsticks and not single_seed(study):
        makers.append(lambda analysis, parts: yardsticks.section(analysis, parts.csv))
    if analysis.efficiency and not single_seed(study):
        makers.append(lambda analysis, parts: label_efficiency.section(analysis, parts.csv, parts.drawings))
    if analysis.spreads:
        makers.append(lambda analysis, parts: variance_components.section(analysis, parts.csv, parts.drawings))
    return makers


def _panel_name(prefix: str, i: int, count: int) -> str:
    return prefix if count == 1 else f"{prefix}_{i + 1}"


def _main(analysis: Analysis, parts: Parts) -> Section:
    study, unit = analysis.evidence.study, analysis.unit
    parts.csv["tables/main.csv"] = tables.main_csv(analysis)
    found = values(analysis.evidence)
    reached = [value for runs in found.values() for value in runs.values()]
    reached += [bound for m in analysis.means for bound in (m.estimate.low, m.estimate.high) if not math.isnan(bound)]
    table = tables.main_table(analysis)
    if not reached:
        return Section("results", "Results", (Text("No run has a result yet."), table))
    limits = (min(reached), max(reached))
    dots = not study.factors or len(study.factors[0].levels) == 1
    places: list[Condition] = conditions(study) if dots else panels(study)
    shown = []
    for i, place in enumerate(places):
        name = _panel_name("main", i, len(places))
        if dots:
            parts.drawings[name] = partial(figures.draw_dots, analysis, found, place)
            where = condition_text(place, study.factors)
        else:
            parts.drawings[name] = partial(figures.draw_main, analysis, found, place, limits)
            where = condition_text(place, study.factors[1:])
        over = "by arm" if dots else f"against {study.factors[0].label}, by arm"
        shown.append(Figure(name, f"{unit.name} {over}{f'; {where}' if where else ''}"))
    n = range_text([m.estimate.n for m in analysis.means])
    interval = (
        "no intervals: one seed" if single_seed(study) else f"bars: 95 % t interval, n = {n} {analysis.unit_noun}s"
    )
    single = "" if single_seed(study) else "; faint: single runs"
    large = "Marker: mean" if not single_seed(study) else "Marker: the one value"
    is_possible = unit.limits[0] <= limits[0] and limits[1] <= unit.limits[1]
    cut = "" if is_possible else " Intervals that leave the possible range are cut off there; the CSV has them whole."
    caption = f"{unit.axis[0].upper()}{unit.axis[1:]}. {large}; {interval}{single}. Lower is better.{cut}"
    metrics, parts.csv[metric_tables.PATH] = metric_tables.metrics_table(analysis)
    return Section("results", "Results", (Figures(tuple(shown), caption, "tables/main.csv"), table, metrics))


def _differences(analysis: Analysis, parts: Parts) -> Section:
    study, title = analysis.evidence.study, "Differences from the baseline"
    if not analysis.comparisons:
        return Section("differences", title, (Text("The study has one arm, so there is nothing to compare."),))
    baseline = analysis.label(study.baseline)
    if single_seed(study):
        text = f"One seed: differences from {baseline} would say nothing about chance and are not listed."
        return Section("differences", title, (Text(text),))
    parts.csv["tables/differences.csv"] = tables.differences_csv(analysis)
    table = tables.differences_table(analysis)
    if not any(row.difference.n for row in analysis.comparisons):
        return Section("differences", title, (Text("No pair of runs is complete yet."), table))
    parts.drawings["differences"] = partial(figures.draw_forest, analysis)
    n = range_text([row.difference.n for row in analysis.comparisons])
    caption = (
        f"Each arm minus {baseline}, paired by {analysis.unit_noun}; line: 95 % t interval, n = {n} pairs, not "
        f"corrected; filled: shown at {100 * ALPHA:g} % after Holm over {analysis.family_text}, hollow: not shown."
        + (" Pale: outside the family, described only." if analysis.described else "")
        + (f" Shaded: differences below the margin of {analysis.margin_text}." if study.margin is not None else "")
    )
    panel = Figure("differences", f"Paired differences in {analysis.unit.name} from {baseline}")
    robust = Folded("Summaries and tests that single runs move less", tables.robust_table(analysis))
    return Section("differences", title, (Figures((panel,), caption, "tables/differences.csv"), table, robust))


AXIS_LABELS = {"error_rate": "validation error (%)", "nll": "validation NLL (nats)", "ece": "validation ECE"}


def _curves(analysis: Analysis, parts: Parts) -> Section:
    study, title = analysis.evidence.study, "Training curves"
    frame = curve_means(analysis.evidence)
    if frame[frame["kind"] != "labels"].empty:  # the labels used have a section of their own, where a study varies them
        return Section("curves", title, (Text("No complete run has curves."),))
    keys = [factor.key for factor in study.factors]
    columns = ["arm", *keys, "kind", "name", "step", "epoch", "mean", "low", "high", "n"]
    rows = ({**row, **dict(zip(keys, row["condition"], strict=True))} for row in frame.to_dict("records"))
    parts.csv["tables/curves.csv"] = csv_text(columns, rows)
    limits = {
        str(name): (float(own[["mean", "low"]].min().min()), float(own[["mean", "high"]].max().max()))
        for name, own in frame.groupby("name")
    }
    validation = [name for name in ("error_rate",) if name in set(frame.loc[frame["kind"] == "validation", "name"])]
    losses = list(dict.fromkeys(frame.loc[frame["kind"] == "loss", "name"]))
    groups = (
        ("validation", 4, [("validation", name, AXIS_LABELS[name]) for name in validation]),
        ("losses", 2, [("loss", name, name.replace("real_fake", "real/fake").replace("_", " ")) for name in losses]),
    )
    n = range_text(frame["n"].tolist())
    interval = f"95 % t interval, n = {n} {analysis.unit_noun}s"
    spread = "" if single_seed(study) else f" Line: mean over complete runs; band: {interval}."
    blocks: list[Block] = []
    for prefix, most, names in groups:
        chosen = figures.spread(conditions(study), most)
        shown = []
        for i, condition in enumerate(chosen if names else []):
            own = frame[[c == condition for c in frame["condition"]]]
            name = _panel_name(prefix, i, len(chosen))
            where = condition_text(condition, study.factors)
            parts.drawings[name] = partial(figures.draw_curves, analysis, own, names, limits, where)
            what = listed([label for _, _, label in names])
            shown.append(Figure(name, f"{what} during training{f'; {where}' if where else ''}"))
        left_out = len(conditions(study)) - len(chosen)
        note = f" {counted(left_out, 'further condition')} only in the CSV." if left_out else ""
        terms = "Weighted loss terms (cross-entropies in nats)."
        what = "Validation error during training." if prefix == "validation" else terms
        if names and not frame.loc[(frame["kind"] == names[0][0]) & (frame["step"] == 0)].empty:
            what += " Horizontal: a method without training steps."
        if shown:
            blocks.append(Figures(tuple(shown), f"{what}{spread}{note}", "tables/curves.csv"))
    return Section("curves", title, tuple(blocks))


MOST_GRIDS = 7
"""Sample grids of one arm that fit one line of the page."""


def _samples(analysis: Analysis, parts: Parts) -> Section:
    study, title = analysis.evidence.study, "Generated samples"
    cells = {cell.cell_id: cell for cell in study.cells}
    blocks: list[Block] = []
    for arm in study.arms:
        names = [n for n in study.samples.get(arm.name, ()) if (analysis.evidence.folder / "samples" / n).is_file()]
        if not names:
            continue
        cell = cells[names[0].split("_")[0]]
        where = condition_text(condition_of(cell.levels, study.factors), study.factors)
        grids = tuple(Sample(f"evidence/samples/{n}", _step_text(n)) for n in figures.spread(names, MOST_GRIDS))
        blocks.append(Samples(f"{arm.label} ({where + ', ' if where else ''}model seed {cell.model_seed})", grids))
    if not blocks:
        return Section("samples", title, (Text("No arm of this study has stored samples."),))
    rule = (
        "Chosen by rule, not by looks: lowest model seed, largest level, evenly spaced evaluations; "
        "the last one is large."
    )
    return Section("samples", title, (Text(rule), *blocks))


def _step_text(name: str) -> str:
    stem = name.removesuffix(".png").split("_", 2)[2]
    digits = "".join(c for c in stem if c.isdigit())
    return f"step {int(digits):,}" if digits else stem


def _timing(analysis: Analysis, parts: Parts) -> Section:
    table, parts.csv["tables/timing.csv"] = run_tables.timing(analysis)
    blocks: tuple[Block, ...] = (table,) if table.rows else (Text("No complete run has a timing."),)
    return Section("time", "Time per run", blocks)


def _problems(analysis: Analysis, parts: Parts) -> Section:
    table, parts.csv["tables/problems.csv"] = run_tables.problems(analysis)
    title = "Failed, diverged and missing runs"
    if not table.rows:
        return Section("problems", title, (Text("None: every planned run has a result."),))
    summary = listed([f"{n} {s}" for s, n in analysis.statuses.items() if s != "complete"])
    blocks: list[Block] = [Text(f"{summary} of {len(analysis.evidence.study.cells)} planned runs."), table]
    if analysis.pessimistic and not single_seed(analysis.evidence.study):
        unit = analysis.unit
        worst = f"{number(unit.scale * analysis.worst_case, unit.decimals)}{unit.suffix}"
        effect = effect_of_losses(analysis)
        blocks.append(Text(f"Counting each failed or diverged run as {worst} instead of dropping it {effect}."))
        readings = tables.readings_table(analysis)
        if readings.rows:
            blocks.append(readings)
    return Section("problems", title, tuple(blocks))


def _protocol(analysis: Analysis, parts: Parts) -> Section:
    study, runs = analysis.evidence.study, analysis.evidence.runs
    known = runs[runs["labeled_digest"] != ""]
    items = [f"Protocol version {study.protocol_version}; evidence schema version {study.schema_version}."]
    sets: dict[tuple[Condition, int], set[str]] = {}
    cells = {cell.cell_id: cell for cell in study.cells}
    for cell_id, digest in zip(known["cell_id"], known["labeled_digest"], strict=True):
        cell = cells[cell_id]
        sets.setdefault((condition_of(cell.levels, study.factors), cell.split_seed), set()).add(digest)
    if sets and len(study.arms) > 1:
        split = sum(len(digests) > 1 for digests in sets.values())
        items.append(
            f"The arms do NOT share their labeled images in {split} of {len(sets)} conditions and seeds."
            if split
            else "All arms had the same labeled images (equal SHA-256 for every condition and split seed)."
        )
    machines = {
        (device, name, platform)
        for device, name, platform in zip(known["device"], known["device_name"], known["platform"], strict=True)
    }
    items.append(f"The runs come from {counted(len(machines), 'distinct machine type')} (device and platform).")
    commits = sorted({commit or "unknown" for commit in known["commit"]})
    if len(commits) > 1:
        items.append(f"The runs come from {len(commits)} commits: {listed(commits)}.")
    if any(commit.endswith("+dirty") for commit in commits):
        items.append("Some runs were made from a checkout with uncommitted changes (+dirty).")
    starts = sorted(start for start in runs["started_at"] if start)
    if starts:
        first, last = (
            re.sub(r"^(.{10})T(.{5}).*(Z|\+00:00)$", r"\1 \2 UTC", start) for start in (starts[0], starts[-1])
        )
        items.append(f"First run started {first}, last run {last}.")
    split_table, parts.csv["tables/splits.csv"] = run_tables.splits(analysis)
    environment, parts.csv["tables/environment.csv"] = run_tables.environment(analysis)
    return Section("protocol", "Protocol and environment", (Bullets(tuple(items)), split_table, environment))


def _configuration(analysis: Analysis, parts: Parts) -> Section:
    differing, shared, parts.csv["tables/config.csv"] = run_tables.configuration(analysis)
    factors = [
        f"{factor.label} ({factor.key}): {listed([level_text(level) for level in factor.levels])}"
        for factor in analysis.evidence.study.factors
    ]
    blocks: list[Block] = [Bullets(tuple(factors))] if factors else []
    blocks.append(differing if differing.rows else Text("The arms do not differ in any key."))
    if shared.rows:
        blocks.append(Folded(f"{counted(len(shared.rows), 'key')} shared by all arms", shared))
    return Section("configuration", "Configuration", tuple(blocks))


def _files(analysis: Analysis, parts: Parts) -> Section:
    links = (
        ("evidence/runs.csv", "one row per planned run"),
        ("evidence/curves.csv", "every point of every curve"),
        ("evidence/study.json", "the plan"),
        *((f"evidence/{n}", text) for n, text in SEARCH_FILES.items() if (analysis.evidence.folder / n).is_file()),
        *([("evidence/sample_quality.csv", "measured samples")] if len(analysis.evidence.sample_quality) else []),
        *((path, "numbers behind tables and figures, rates in [0, 1]") for path in parts.csv),
        *([("evidence/looks.csv", "earlier looks at this question")] if analysis.evidence.looks else []),
        ("report.md", "this report as Markdown"),
    )
    text = "This page is made from the evidence folder alone and can be made again from it."
    return Section("files", "Evidence", (Text(text), Links(links)))
