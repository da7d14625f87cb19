"""The box "How sure is this?": what the verdicts rest on and what they could have shown, in plain words."""

import math
from statistics import median

from ssgan_bench.reporting import looks, signs
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Bullets, Section
from ssgan_bench.reporting.exact_power import detectable_effect_exact, exact_power, pairs_needed_exact
from ssgan_bench.reporting.frames import ALPHA, SEEDS_FOR_A_CLAIM, single_seed, smallest_p
from ssgan_bench.reporting.power import MOST_PAIRS, POWER
from ssgan_bench.reporting.stats import pairs_needed
from ssgan_bench.reporting.units import models_per_split, several_splits
from ssgan_bench.reporting.wording import counted, listed, number, p_text, range_text


def certainty(analysis: Analysis) -> Section:
    """Build the box; its bullets can be read without knowing the tests."""
    study, rows = analysis.evidence.study, analysis.comparisons
    total, done = sum(analysis.statuses.values()), analysis.statuses.get("complete", 0)
    items = [f"{done} of {counted(total, 'planned run')} complete; {seeds_text(analysis)} per arm and condition."]
    if single_seed(study):
        items.append("One seed: no interval, no p value, no verdict. Every number here may be chance.")
    elif rows:
        items += [*_tests(analysis), *_power(analysis), *_equivalence(analysis), *_intervals(analysis)]
    items += looks.sentences(analysis)
    items += signs.lines(analysis)
    if done < total:
        items.append(f"Runs without a result are listed under “Failed, diverged and missing runs” ({total - done}).")
    return Section("certainty", "How sure is this?", (Bullets(tuple(items)),))


def seeds_text(analysis: Analysis) -> str:
    """Count the seeds, e.g. "8 seeds", or "6 splits with up to 4 model seeds each"."""
    study = analysis.evidence.study
    models = models_per_split(study)
    if models == 1:
        return counted(len({(cell.split_seed, cell.model_seed) for cell in study.cells}), "seed")
    pairs = {(cell.split_seed, cell.model_seed) for cell in study.cells}
    splits = len({split for split, _ in pairs})
    return (
        f"{counted(splits, 'split')} with {'' if len(pairs) == splits * models else 'up to '}{models} model seeds each"
    )


def _tests(analysis: Analysis) -> list[str]:
    study, rows, tests = analysis.evidence.study, analysis.comparisons, analysis.family
    floor, floor_holm = smallest_p(tests)
    noun = analysis.unit_noun
    averaged = " Runs of one split are averaged first: they share their labeled images." if noun == "split" else ""
    items = [
        f"Every arm sees the same seeds, so arms are compared {noun} by {noun}: "
        f"n = {range_text([row.difference.n for row in rows])} pairs per comparison.{averaged}",
        f"The exact sign-flip test of that many pairs cannot give a p below {p_text(floor)}; after "
        f"Holm's correction over {analysis.family_text}, not below {p_text(floor_holm)}.",
    ]
    if analysis.outside:
        items.append(
            "The study declares the family of tests, and its runs cannot be reused under another one. The other "
            f"comparisons, at {analysis.first_levels(analysis.outside)}, are described only: nothing is claimed there."
        )
    if study.yardsticks:
        names = listed([analysis.label(name) for name in study.yardsticks])
        items.append(f"Comparisons with the yardsticks ({names}) are described, not tested.")
    if not floor_holm <= ALPHA:
        items.append(
            f"That is above {ALPHA:g}: this study can indicate a difference and cannot show one. "
            f"{pairs_needed(len(tests))} {noun}s would be the fewest that could."
        )
    if max(row.difference.n for row in tests) < SEEDS_FOR_A_CLAIM:
        items.append(f"The protocol asks for at least {SEEDS_FOR_A_CLAIM} {noun}s for a claim; these are fewer.")
    return items


def _power(analysis: Analysis) -> list[str]:
    """Say what the study could have shown, from the spread of the paired differences in the family."""
    unit, noun, tests = analysis.unit, analysis.unit_noun, analysis.family
    spreads = [row.difference.sd for row in tests if row.difference.sd > 0]
    pairs = max(row.difference.n for row in tests)
    if not spreads or pairs < 2:
        return []
    spread, effect = median(spreads), detectable_effect_exact(pairs, len(tests))

    def size(value: float) -> str:
        return f"{number(unit.scale * value, unit.decimals)}{unit.difference}"

    level = (
        "" if len(tests) == 1 else f", at the strictest step of Holm's correction ({100 * ALPHA:g} % / {len(tests)})"
    )
    seen = (
        f"with {pairs} {noun}s and the spread seen here (standard deviation of the paired differences "
        f"{size(spread)}{', median over the family' if len(tests) > 1 else ''})"
    )
    margin = analysis.evidence.study.margin
    if math.isinf(effect) and margin is None:
        return []  # the floor of p says it already
    target = spread * effect / 2 if margin is None else margin
    needed = pairs_needed_exact(target / spread, len(tests))
    seeds = f"more than {MOST_PAIRS:,} {noun}s" if math.isinf(needed) else f"{needed:,.0f} {noun}s"
    if margin is None:
        smaller = f"half of that, {size(target)},"
    else:
        chance = exact_power(margin / spread, pairs, len(tests))
        smaller = f"the margin, {analysis.margin_text} (probability {number(chance, 2)} here),"
    shown = (
        f"no difference, however large, could be shown{level}"
        if math.isinf(effect)
        else f"a true difference of {size(spread * effect)} would be shown with probability {POWER:g} by the exact "
        f"sign-flip test that decides{level}; simulated for normal differences"
    )
    return [f"Power: {seen} {shown}. To show {smaller} with probability {POWER:g} you need {seeds}."]


def _equivalence(analysis: Analysis) -> list[str]:
    if not analysis.margin_text:
        return [
            "The study declares no margin of what does not matter, so it cannot show that there is no effect: “no "
            "difference shown” leaves open every difference inside the interval."
        ]
    return [
        f"“Equivalent within {analysis.margin_number}” means: a true difference of {analysis.margin_text} or more, "
        "either way, is refuted (two one-sided t tests at 5 %, Holm over the same comparisons; the margin was declared "
        "before the first run). It does not mean equal; “no difference shown” without it leaves larger ones open. The "
        "5 % hold for each kind of statement, differences and equivalences, not for both together."
    ]


def _intervals(analysis: Analysis) -> list[str]:
    study = analysis.evidence.study
    if not several_splits(study):
        covered, beside = "initialization and data order", "other labeled images, data sets, networks or settings"
    elif analysis.unit_noun == "split":
        covered = "the choice of labeled images"
        beside = "model seeds other than these few, other data sets, networks or settings"
    else:
        covered = "the choice of labeled images, initialization and data order"
        beside = "other data sets, networks or settings"
    return [
        f"Intervals are 95 % t intervals over {analysis.unit_noun}s: they cover {covered}, not {beside}. "
        "They are not corrected for their number."
    ]
