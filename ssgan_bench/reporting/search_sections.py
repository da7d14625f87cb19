"""The report's section on the search that a tuned study began with. Its scores are never given as results."""

from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from ssgan_bench.records.search_schema import Dimension
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Block, Bullets, Figure, Figures, Section, Table
from ssgan_bench.reporting.drawing import STYLE, add_legend, legend_height, line_style, new_panel, padded
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.palette import looks
from ssgan_bench.reporting.search_evidence import SearchEvidence, read_search
from ssgan_bench.reporting.search_stats import best_of_k, value_of_pruned
from ssgan_bench.reporting.wording import NONE, counted, level_text, listed, number, range_text

if TYPE_CHECKING:
    from ssgan_bench.reporting.sections import Parts

NO_RESULT = "Search scores, from tuning seeds and validation images; no result."


def search_section(analysis: Analysis, parts: "Parts") -> Section:
    """Say how the arms were tuned: effort, best-of-k curves, winners with their values, importance of each key."""
    search = read_search(analysis.evidence.folder)
    plan = search.plan
    runs, images = len(plan.tuning_seeds), plan.num_validation
    items = [
        f"Every arm was tuned with equal effort before the study: {counted(plan.num_trials, 'trial')} (TPE) over "
        f"{counted(len(plan.arms[0].space), 'searched key')}, each trial up to {counted(runs, 'run')} on tuning seeds "
        f"{plan.tuning_seeds[0]} to {plan.tuning_seeds[-1]}, which no result above uses.",
        f"A trial's score is the mean validation error of its runs, on {counted(images, 'validation image')} each, no "
        f"more than there are labels ({plan.num_labels}). The test set was not read.",
        "The scores chose the configurations and say nothing more: the best of many noisy scores looks better than it "
        "is. Only the winners' new runs, in the sections above, are results.",
    ]
    without_default = [arm.label for arm in plan.arms if arm.default is None]
    items.append(
        "Trial 0 of every arm was its own, untuned configuration."
        if not without_default
        else f"Trial 0 was the arm's own configuration, but not for {listed(without_default)}, where that lies outside "
        "the searched space."
    )
    blocks: list[Block] = [Bullets(tuple(items)), _counts(search)]
    curves = best_of_k_curves(search)
    if curves:
        rows = ({"arm": arm, "k": k, "expected_best": y} for arm, ys in curves.items() for k, y in enumerate(ys, 1))
        parts.csv["tables/best_of_k.csv"] = csv_text(["arm", "k", "expected_best"], rows)
        parts.drawings["best_of_k"] = partial(draw_best_of_k, search, curves)
        caption = (
            f"{NO_RESULT} Expected best validation error (%) among k of an arm's n = "
            f"{range_text([len(ys) for ys in curves.values()])} trials, over all subsets of size k "
            "(Dodge et al. 2019, in the unbiased form). A curve that still falls at its right end asks for more "
            "trials. A pruned trial counts as the winner plus their mean difference on the seeds that both ran, and "
            "never as better than the winner. TPE's later trials learn from the earlier ones, so a search of k trials "
            "would rather have done worse than shown."
        )
        alt = "expected best validation error against the number of trials, by arm; search scores, no result"
        blocks.append(Figures((Figure("best_of_k", alt),), caption, "tables/best_of_k.csv"))
    blocks.append(_winners(search))
    return Section("search", "How the arms were tuned", tuple(blocks))


def best_of_k_curves(search: SearchEvidence) -> dict[str, list[float]]:
    """Expected best error rate among k trials, k = 1 to n, by arm; arms without a complete trial have none."""
    curves = {}
    for arm in search.plan.arms:
        winner = search.winner(arm.name)
        if winner is None:
            continue
        values = [
            trial.mean if trial.status == "complete" else value_of_pruned(trial.scores, winner.scores)
            for trial in search.of_arm(arm.name)
            if trial.status in ("complete", "pruned")
        ]
        curves[arm.name] = best_of_k(values).tolist()
    return curves


def draw_best_of_k(search: SearchEvidence, curves: dict[str, list[float]]) -> Drawing:
    """Draw the expected best validation error against the number of trials, one line per arm."""
    style = looks([arm.name for arm in search.plan.arms])
    arms = [arm for arm in search.plan.arms if arm.name in curves]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_panel(height=2.9 + legend_height([arm.label for arm in arms]))
        for arm in arms:
            percent = [100 * value for value in curves[arm.name]]
            look = style[arm.name]
            axes.plot(range(1, len(percent) + 1), percent, **line_style(look), marker=look.marker, markersize=3.5)
        reached = [100 * value for values in curves.values() for value in values]
        axes.set_ylim(*padded(min(reached), max(reached), floor=0.0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trials k")
        axes.set_ylabel("expected best validation error (%)")
        add_legend(figure, [(arm.label, style[arm.name]) for arm in arms], marker=True)
    return figure


def _counts(search: SearchEvidence) -> Table:
    rows = []
    for arm in search.plan.arms:
        trials, winner = search.of_arm(arm.name), search.winner(arm.name)
        states = [sum(trial.status == status for trial in trials) for status in ("complete", "pruned")]
        lost = sum(trial.status in ("failed", "missing") for trial in trials)
        failures = sum(trial.num_failures for trial in trials)
        runs = sum(len(trial.scores) for trial in trials)
        diverged = sum(trial.num_diverged for trial in trials)
        counts = (len(trials), *states, lost, failures, runs, diverged)
        rows.append((arm.label, *map(str, counts), NONE if winner is None else str(winner.number)))
    heads = (
        "trials",
        "complete",
        "pruned",
        "without a score",
        "failed tries",
        "runs",
        "diverged runs",
        "winning trial",
    )
    caption = (
        "Effort per arm. Pruned: ended early, worse than the best trial so far by a Wilcoxon test over the same seeds "
        "(p < 0.1, after at least four); a pruned trial cannot win. Failed try: raised an exception, was repeated with "
        "other values. A diverged run scores the chance level."
    )
    return Table(("arm", *heads), tuple(rows), caption, "evidence/search.csv")


def _winners(search: SearchEvidence) -> Table:
    rows = []
    for arm in search.plan.arms:
        winner, shares = search.winner(arm.name), search.importances[arm.name]
        for key, dimension in arm.space.items():
            own = NONE if arm.default is None else level_text(arm.default[key])
            won = NONE if winner is None else _value_text(winner.params[key])
            share = number(shares[key], 2) if key in shares else NONE
            rows.append((arm.label, key, _space_text(dimension), own, won, share))
    caption = (
        "What was searched, the arm's own value, the winner's, and the key's importance: its share of the variance of "
        "the search scores of complete trials (functional ANOVA of a random forest), 0 to 1; with this few trials a "
        "rough guide. No result."
    )
    return Table(
        ("arm", "key", "searched", "own value", "winner's", "importance"),
        tuple(rows),
        caption,
        "evidence/search.csv",
        3,
    )


def _value_text(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text.lower() if text in ("True", "False") else text


def _space_text(dimension: Dimension) -> str:
    if dimension.choices is not None:
        return listed([level_text(choice) for choice in dimension.choices])
    low, high = (level_text(end) for end in dimension.ends())
    return f"{low} to {high}{', log' * dimension.log}"
