"""The answer in plain words, generated from the statistics: what is shown, what is not, on what it rests."""

from ssgan_bench.reporting import label_efficiency, label_leak, published, variance_components, yardsticks
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.frames import (
    ALPHA,
    SEEDS_FOR_A_CLAIM,
    Comparison,
    conditions,
    single_seed,
    smallest_p,
)
from ssgan_bench.reporting.stats import p_floor, pairs_needed
from ssgan_bench.reporting.wording import (
    condition_text,
    counted,
    estimate_text,
    level_text,
    listed,
    number,
    p_text,
    range_text,
)

MOST_LISTED = 4
"""Differences given one by one in a sentence; more are summed up by their range."""


def answer(analysis: Analysis) -> tuple[str, ...]:
    """Answer the study's question in a few short paragraphs, the first of which can stand alone."""
    study = analysis.evidence.study
    done = analysis.statuses.get("complete", 0)
    if done == 0:
        return (f"There is no answer yet: none of the {counted(len(study.cells), 'planned run')} has a result.",)
    if single_seed(study):
        paragraphs = [_one_seed(analysis)]
    elif not analysis.comparisons:
        paragraphs = [_single_arm(analysis)]
    else:
        first, *further = _verdicts(analysis)
        # Whoever could pick something simpler asks that first, and whoever varies the label protocol what it gains.
        first_of_all = [*yardsticks.sentences(analysis), *label_leak.sentences(analysis)]
        paragraphs = [[*first_of_all, first], further, _footing(analysis), _descriptions(analysis)]
        paragraphs += [label_efficiency.sentences(analysis), published.sentences(analysis)]
    if not single_seed(study):  # where seeds are crossed, which of them matters is asked first
        paragraphs[0] = [*variance_components.sentences(analysis), *paragraphs[0]]
    return tuple(" ".join(sentences) for sentences in [*paragraphs, _losses(analysis)] if sentences)


def _one_seed(analysis: Analysis) -> list[str]:
    study, unit = analysis.evidence.study, analysis.unit
    values = [
        f"{analysis.label(m.arm)} {number(unit.scale * m.estimate.mean, unit.decimals)}{unit.suffix}"
        + (f" at {condition_text(m.condition, study.factors)}" if study.factors else "")
        for m in analysis.means
        if m.estimate.n
    ]
    shown = f"The {unit.name} was: {'; '.join(values)}." if len(values) <= 8 else "The values are in the main table."
    return [
        "One seed shows nothing: the study was run with a single seed, so a difference between arms cannot "
        "be told from chance, and no interval and no p value is given.",
        shown,
    ]


def _single_arm(analysis: Analysis) -> list[str]:
    study, unit = analysis.evidence.study, analysis.unit
    against = published.sentences(analysis)
    if len(against) == len(analysis.means):  # a study file gives one value per arm and condition
        return against
    parts = [
        f"{estimate_text(m.estimate, unit)}{unit.suffix}"
        + (f" at {condition_text(m.condition, study.factors)}" if study.factors else "")
        for m in analysis.means
        if m.estimate.n
    ]
    n = range_text([m.estimate.n for m in analysis.means])
    return [
        *(against or ["Nothing is compared: the study has one arm."]),
        f"Mean {unit.name} [95 % t interval], n = {n} {analysis.unit_noun}s: {'; '.join(parts)}.",
    ]


def _sized(rows: list[Comparison], analysis: Analysis) -> str:
    """Say where differences are and how large, e.g. " at Labels = 10 (−3.1 [−5.0, −1.2], p = 0.03) and 20 (...)"."""
    study, unit = analysis.evidence.study, analysis.unit
    if len(rows) > MOST_LISTED:
        means = sorted(unit.scale * row.difference.mean for row in rows)
        ends = [number(mean, unit.decimals, sign=True) for mean in (means[0], means[-1])]
        most = p_text(max(row.decisive_p_holm for row in rows))
        return f"{analysis.at([row.condition for row in rows])} ({' to '.join(ends)}, each p at most {most})"
    sizes = [f"({estimate_text(r.difference, unit, sign=True)}, p = {p_text(r.decisive_p_holm)})" for r in rows]
    if len(conditions(study)) == 1:
        return f" {sizes[0]}"
    if len(study.factors) == 1:
        places = [level_text(row.condition[0]) for row in rows]
        return f" at {study.factors[0].label} = {listed([f'{a} {b}' for a, b in zip(places, sizes, strict=True)])}"
    places = [condition_text(row.condition, study.factors) for row in rows]
    return f" at {'; '.join(f'{a} {b}' for a, b in zip(places, sizes, strict=True))}"


def _verdicts(analysis: Analysis) -> list[str]:
    """The summary first, then a sentence per arm that is shown to differ, then the arms that are not."""
    study, unit = analysis.evidence.study, analysis.unit
    family, baseline = analysis.family, analysis.label(study.baseline)
    arms = list(dict.fromkeys(row.arm for row in family))
    equal = _named([row for row in family if row.verdict == "equivalent"], analysis)
    equivalence = [f"Equivalence with {baseline} within {analysis.margin_text} is shown for {equal}."] if equal else []
    claims = list(equivalence)
    too_few = not smallest_p(family)[1] <= ALPHA
    first = [f"No arm is shown to have a lower {unit.name} than {baseline}."]
    if too_few:
        first = [
            f"No difference from {baseline} is shown, and with so few {analysis.unit_noun}s none could be, however "
            "large."
        ]
    if worse := _named([row for row in family if row.verdict == "worse"], analysis):
        claims.insert(0, f"A higher one is shown for {worse}.")
    if better := _named([row for row in family if row.verdict == "better"], analysis):
        first, claims = [], [f"A lower {unit.name} than {baseline} is shown for {better}.", *claims]
    if claims:  # the first paragraph may be all that is read
        if max(row.difference.n for row in family) < SEEDS_FOR_A_CLAIM:
            few = f"{SEEDS_FOR_A_CLAIM} {analysis.unit_noun}s"
            # What could not have been shown is no indication: there the caveat stands before the equivalence.
            first.insert(1 if too_few else 0, f"Below {few} this is an indication, not a claim:")
        first += claims
        if any(dropped.verdict in ("better", "worse", "equivalent") for dropped, _ in changed_verdicts(analysis)):
            first.append("Counting lost runs as failures of their arm would change this; see below.")
    if observed := _named([row for row in family if row.verdict == "observed"], analysis):
        first.append(f"A difference is observed and not shown, for runs collapsed there: {observed}.")
    if too_few:
        return [" ".join(first)]
    details, unclear = [], []
    for arm in arms:
        rows = [row for row in family if row.arm == arm]
        if all(row.verdict == "no difference shown" for row in rows):
            unclear.append(analysis.label(arm))
        else:
            details.append(_arm_sentence(arm, rows, analysis))
    if details:
        differences = f"Differences in{unit.difference}" if unit.difference else "Differences"
        details = [f"{differences} [95 % t interval], p after Holm.", *details]
    if unclear:
        tested = list(dict.fromkeys(row.condition for row in family))
        many = len(tested) > MOST_LISTED
        where = f" at any of the {len(tested)} tested conditions" if many else analysis.at(tested)
        end = ": not shown to help" if _asks_for_help(analysis) else ""
        details.append(f"For {listed(unclear)} no difference is shown{where}{end}.")
    return [" ".join(first), *details]


def _named(rows: list[Comparison], analysis: Analysis) -> str:
    """Name arms with the conditions of some comparisons, e.g. "A at Labels = 20 and 50; B at Labels = 20".

    Many arms that are the whole family are not named one by one.
    """
    arms = dict.fromkeys(row.arm for row in rows)
    if len(arms) > MOST_LISTED and len(rows) == len(analysis.family):
        return f"all {len(arms)} tested arms{analysis.at(list(dict.fromkeys(row.condition for row in rows)))}"
    places = {arm: [row.condition for row in rows if row.arm == arm] for arm in arms}
    return "; ".join(f"{analysis.label(arm)}{analysis.at(found)}" for arm, found in places.items())


def _arm_sentence(arm: str, rows: list[Comparison], analysis: Analysis) -> str:
    """Say where an arm is better, worse and neither; no verb, for a label may be singular or plural."""
    clauses = []
    for verdict in ("better", "worse"):
        if found := [row for row in rows if row.verdict == verdict]:
            clauses.append(f"{verdict}{_sized(found, analysis)}")
    if found := [row for row in rows if row.verdict == "equivalent"]:
        clauses.append(f"{analysis.verdict_text('equivalent')}{analysis.at([row.condition for row in found])}")
    if found := [row for row in rows if row.verdict == "observed"]:
        clauses.append(f"observed, not shown{_sized(found, analysis)}")
    if found := [row for row in rows if row.verdict == "no difference shown"]:
        clauses.append(f"no difference shown{analysis.at([row.condition for row in found])}")
    verdicts = {row.verdict for row in rows}
    end = ""
    if _asks_for_help(analysis) and "better" not in verdicts:
        end = "; does not help" if verdicts == {"worse"} else "; not shown to help"
    if small := [row.condition for row in rows if row.equivalent and row.verdict in ("better", "worse")]:
        end += f"; the difference{analysis.at(small)} is shown to be below the margin of {analysis.margin_text}"
    return f"{analysis.label(arm)}: {', '.join(clauses)}{end}."


def _asks_for_help(analysis: Analysis) -> bool:
    """Whether the baseline is the labels alone: what differs from another one has its own word, such as "needed"."""
    study = analysis.evidence.study
    return any(arm.name == study.baseline and arm.kind == "supervised" for arm in study.arms)


def _footing(analysis: Analysis) -> list[str]:
    """What the verdicts rest on: n, the family, the p floor, and what could not have been shown."""
    rows = analysis.family
    floor, floor_holm = smallest_p(rows)
    pairs = [row.difference.n for row in rows]
    tests = (
        f"n = {range_text(pairs)} paired {analysis.unit_noun}s, exact sign-flip tests and Holm's correction over "
        f"{analysis.family_text} at {100 * ALPHA:g} %"
    )
    floors = f"with n = {max(pairs)} the smallest possible p is {p_text(floor)}, after Holm {p_text(floor_holm)}"
    if not floor_holm <= ALPHA:
        needed = f"a verdict would take at least {pairs_needed(len(rows))} {analysis.unit_noun}s"
        return [f"The study has {tests}; {floors}, and {needed}.", *_indications(analysis)]
    sentences = [f"The verdicts rest on {tests}; {floors}."]
    if fewer := [row for row in rows if row.difference.n < max(pairs)]:
        where = _named(fewer, analysis) if len(fewer) <= MOST_LISTED else counted(len(fewer), "comparison")
        least = min(pairs)
        floor_there = f"with {least} pairs p cannot go below {p_text(p_floor(least))}" if least else "some have none"
        sentences.append(f"Lost runs left fewer pairs for {where}; {floor_there}.")
    if torn := _named(
        [r for r in rows if r.decisive_p_holm <= ALPHA and r.difference.low <= 0 <= r.difference.high], analysis
    ):
        sentences.append(
            f"Test and interval disagree for {torn}: the t interval includes zero, for the differences vary strongly "
            "in size. Take that verdict with care."
        )
    if any(any(row.collapses) for row in rows):
        sentences.append(
            "Where runs collapsed, far above the others of their arm, a verdict also needs the exact sign test: sign "
            "flips assume symmetric differences. It then speaks of the typical pair, and collapses are counted apart."
        )
    if any(row.verdict == "equivalent" for row in rows):
        sentences.append(
            "Equivalence rests on two one-sided t tests, with Holm's correction over the same comparisons."
        )
    if any(row.verdict == "no difference shown" for row in rows):
        sentences.append("No difference shown does not mean that there is none.")
    return sentences


def _indications(analysis: Analysis) -> list[str]:
    """Name the intervals that exclude zero where no corrected test could have shown anything."""
    parts = []
    for arm in dict.fromkeys(row.arm for row in analysis.family):
        for word, sign in (("lower", -1), ("higher", 1)):
            found = [
                row.condition
                for row in analysis.family
                if row.arm == arm and sign * row.difference.low > 0 and sign * row.difference.high > 0
            ]
            if found:
                parts.append(f"{analysis.label(arm)} {word}{analysis.at(found)}")
    if not parts:
        return ["No single 95 % interval excludes zero either."]
    return [
        "As an indication only, single 95 % intervals, not corrected for their number, exclude zero for: "
        f"{'; '.join(parts)}."
    ]


def _descriptions(analysis: Analysis) -> list[str]:
    """Give the mean differences outside the family, which are no tests and claim nothing."""
    unit, rows = analysis.unit, analysis.outside
    if not any(row.difference.n for row in rows):
        return []
    parts = []
    for arm in dict.fromkeys(row.arm for row in rows):
        means = [unit.scale * row.difference.mean for row in rows if row.arm == arm]
        one_by_one = len(analysis.evidence.study.factors) == 1 and len(means) <= MOST_LISTED
        ends = sorted(mean for mean in means if mean == mean)
        texts = [number(mean, unit.decimals, sign=True) for mean in (means if one_by_one else ends[:1] + ends[-1:])]
        parts.append(f"{analysis.label(arm)} {listed(texts) if one_by_one else ' to '.join(texts)}")
    return [
        f"At {analysis.first_levels(rows)}, outside the family, nothing is claimed; the mean "
        f"differences{unit.in_difference} were: {'; '.join(parts)}."
    ]


def changed_verdicts(analysis: Analysis) -> list[tuple[Comparison, Comparison]]:
    """Pair up the comparisons whose verdict differs between the two readings."""
    both = zip(analysis.comparisons, analysis.pessimistic, strict=bool(analysis.pessimistic))
    return [(dropped, counted_) for dropped, counted_ in both if dropped.verdict != counted_.verdict]


def _losses(analysis: Analysis) -> list[str]:
    """Say how many planned runs have no result and whether that matters for the verdicts."""
    statuses = analysis.statuses
    lost = [f"{n} {status}" for status, n in statuses.items() if status != "complete"]
    if not lost:
        return []
    total = sum(statuses.values())
    count = total - statuses.get("complete", 0)
    text = f"Of the {counted(total, 'planned run')}, {count} gave no result and are left out ({listed(lost)})"
    if not analysis.pessimistic or single_seed(analysis.evidence.study):
        return [f"{text}."]
    unit = analysis.unit
    worst = f"{number(unit.scale * analysis.worst_case, unit.decimals)}{unit.suffix}"
    return [f"{text}; counting each failed or diverged run as {worst} instead {effect_of_losses(analysis)}."]


def effect_of_losses(analysis: Analysis) -> str:
    """Say which verdicts the pessimistic reading changes, e.g. "changes no verdict"."""
    changed = changed_verdicts(analysis)
    if not changed:
        return "changes no verdict"
    named = [
        f"{analysis.label(row.arm)}{analysis.at([row.condition])}: from "
        f"{analysis.verdict_text(row.verdict)} to {analysis.verdict_text(worst.verdict)}"
        for row, worst in changed
    ]
    return f"changes {counted(len(changed), 'verdict')} ({'; '.join(named)})"
