"""The answer in plain words, generated from the statistics: what is shown, what is not, on what it rests."""

from dataclasses import dataclass

from ssgan_bench.reporting.evidence import Evidence
from ssgan_bench.reporting.frames import (
    ALPHA,
    Comparison,
    Condition,
    Mean,
    comparisons,
    conditions,
    has_result,
    means,
    single_seed,
    smallest_p,
    worst_case,
)
from ssgan_bench.reporting.stats import pairs_needed
from ssgan_bench.reporting.wording import (
    Unit,
    condition_text,
    conditions_text,
    counted,
    estimate_text,
    level_text,
    listed,
    number,
    p_text,
    range_text,
    unit_of,
)

MOST_LISTED = 4
"""Differences given one by one in a sentence; more are summed up by their range."""
SEEDS_FOR_A_CLAIM = 8
"""Fewest seeds that PROTOCOL.md accepts for a claim."""


@dataclass(frozen=True)
class Analysis:
    """Everything that the sections of a report draw on, computed once."""

    evidence: Evidence
    unit: Unit
    means: list[Mean]
    comparisons: list[Comparison]
    """Failed and diverged runs left out."""
    pessimistic: list[Comparison]
    """Failed and diverged runs counted as `worst_case`; empty where no run failed or diverged."""
    worst_case: float

    def label(self, arm: str) -> str:
        """Human-readable name of an arm."""
        return next(a.label for a in self.evidence.study.arms if a.name == arm)

    @property
    def statuses(self) -> dict[str, int]:
        """Number of planned cells by status; a complete run without the metric is "unmeasured"."""
        runs = self.evidence.runs
        usable = has_result(runs, self.evidence.study.metric)
        status = runs["status"].where(usable | (runs["status"] != "complete"), "unmeasured")
        return {str(k): int(v) for k, v in status.value_counts(sort=False).sort_index().items()}


def analyze(evidence: Evidence) -> Analysis:
    """Compute means and comparisons of a study, in both readings where runs failed or diverged."""
    worst = worst_case(evidence)
    lost = evidence.runs["status"].isin(["failed", "diverged"]).any()
    pessimistic = comparisons(evidence, worst) if lost and worst == worst else []
    return Analysis(evidence, unit_of(evidence), means(evidence), comparisons(evidence), pessimistic, worst)


def answer(analysis: Analysis) -> str:
    """Answer the study's question in one paragraph."""
    study = analysis.evidence.study
    done = analysis.statuses.get("complete", 0)
    if done == 0:
        return f"There is no answer yet: none of the {counted(len(study.cells), 'planned run')} has a result."
    if single_seed(study):
        sentences = [_one_seed(analysis)]
    elif not analysis.comparisons:
        sentences = [_single_arm(analysis)]
    else:
        sentences = [*_verdicts(analysis), *_footing(analysis)]
    return " ".join([*sentences, *_losses(analysis)])


def _one_seed(analysis: Analysis) -> str:
    study, unit = analysis.evidence.study, analysis.unit
    values = [
        f"{analysis.label(m.arm)} {number(unit.scale * m.estimate.mean, unit.decimals)}{unit.suffix}"
        + (f" at {condition_text(m.condition, study.factors)}" if study.factors else "")
        for m in analysis.means
        if m.estimate.n
    ]
    shown = f"The {unit.name} was: {'; '.join(values)}." if len(values) <= 8 else "The values are in the main table."
    return (
        "One seed shows nothing: the study was run with a single seed, so a difference between arms cannot "
        f"be told from chance, and no interval and no p value is given. {shown}"
    )


def _single_arm(analysis: Analysis) -> str:
    study, unit = analysis.evidence.study, analysis.unit
    parts = [
        f"{estimate_text(m.estimate, unit)}{unit.suffix}"
        + (f" at {condition_text(m.condition, study.factors)}" if study.factors else "")
        for m in analysis.means
        if m.estimate.n
    ]
    n = range_text([m.estimate.n for m in analysis.means])
    return (
        f"Nothing is compared: the study has one arm. Mean {unit.name} [95 % t interval], n = {n} seeds: "
        f"{'; '.join(parts)}."
    )


def _at(found: list[Condition], analysis: Analysis) -> str:
    """Say where, e.g. " at Labels = 20"; nothing for a study of one condition."""
    study = analysis.evidence.study
    if len(conditions(study)) == 1:
        return ""
    return f" at {conditions_text(found, study.factors)}"


def _sized(rows: list[Comparison], analysis: Analysis) -> str:
    """List differences, e.g. "10: −3.1 [−5.0, −1.2], p = 0.03; 20: ..."; many by their range."""
    study, unit = analysis.evidence.study, analysis.unit
    if len(rows) > MOST_LISTED:
        means = sorted(unit.scale * row.difference.mean for row in rows)
        ends = [number(mean, unit.decimals, sign=True) for mean in (means[0], means[-1])]
        return f"{' to '.join(ends)}, each p at most {p_text(max(row.p_holm for row in rows))}"
    parts = []
    for row in rows:
        text = f"{estimate_text(row.difference, analysis.unit, sign=True)}, p = {p_text(row.p_holm)}"
        one = len(study.factors) == 1
        where = level_text(row.condition[0]) if one else condition_text(row.condition, study.factors)
        parts.append(text if len(conditions(study)) == 1 else f"{where}: {text}")
    return "; ".join(parts)


def _verdicts(analysis: Analysis) -> list[str]:
    """The summary first, then a sentence per arm that is shown to differ, then the arms that are not."""
    study, unit = analysis.evidence.study, analysis.unit
    baseline = analysis.label(study.baseline)
    arms = list(dict.fromkeys(row.arm for row in analysis.comparisons))
    if not smallest_p(analysis.comparisons)[1] <= ALPHA:
        return [f"No difference from {baseline} is shown, and with so few seeds none could be, however large."]
    helped = [a for a in arms if any(r.arm == a and r.verdict == "better" for r in analysis.comparisons)]
    if not helped:
        sentences = [f"No arm is shown to have a lower {unit.name} than {baseline}."]
    else:
        names = listed([analysis.label(a) for a in helped])
        sentences = [f"A lower {unit.name} than {baseline} is shown for {names}."]
    unclear = []
    for arm in arms:
        rows = [row for row in analysis.comparisons if row.arm == arm]
        if all(row.verdict == "no difference shown" for row in rows):
            unclear.append(analysis.label(arm))
        else:
            sentences.append(_arm_sentence(arm, rows, analysis))
    if unclear:
        count = len(conditions(study))
        where = f" at any of the {count} conditions" if count > 1 else ""
        they = "it is" if len(unclear) == 1 else "they are"
        sentences.append(f"For {listed(unclear)} no difference is shown{where}: {they} not shown to help.")
    return sentences


def _arm_sentence(arm: str, rows: list[Comparison], analysis: Analysis) -> str:
    in_unit = f" in{analysis.unit.difference}" if analysis.unit.difference else ""
    clauses = []
    for verdict in ("better", "worse"):
        if found := [row for row in rows if row.verdict == verdict]:
            where = _at([row.condition for row in found], analysis)
            clauses.append(f"is {verdict}{where} (difference{in_unit}: {_sized(found, analysis)})")
    if found := [row for row in rows if row.verdict == "no difference shown"]:
        clauses.append(f"shows no difference{_at([row.condition for row in found], analysis)}")
    helps = any(row.verdict == "better" for row in rows)
    return f"{analysis.label(arm)} {listed(clauses)}{'' if helps else ': it does not help'}."


def _footing(analysis: Analysis) -> list[str]:
    """What the verdicts rest on: n, the family, the p floor, and what could not have been shown."""
    rows = analysis.comparisons
    floor, floor_holm = smallest_p(rows)
    pairs = [row.difference.n for row in rows]
    tests = (
        f"n = {range_text(pairs)} paired seeds, exact sign-flip tests and Holm's correction over the "
        f"{counted(len(rows), 'comparison')} of the study at {100 * ALPHA:g} %"
    )
    floors = f"with n = {max(pairs)} the smallest possible p is {p_text(floor)}, after Holm {p_text(floor_holm)}"
    if not floor_holm <= ALPHA:
        needed = f"a verdict would take at least {pairs_needed(len(rows))} seeds"
        return [f"The study has {tests}; {floors}, and {needed}.", *_indications(analysis)]
    sentences = [f"The verdicts rest on {tests}; {floors}."]
    if max(pairs) < SEEDS_FOR_A_CLAIM:
        sentences.append(f"Below {SEEDS_FOR_A_CLAIM} seeds this is an indication, not a claim.")
    if any(row.verdict == "no difference shown" for row in rows):
        sentences.append("No difference shown does not mean that there is none.")
    return sentences


def _indications(analysis: Analysis) -> list[str]:
    """Name the intervals that exclude zero where no corrected test could have shown anything."""
    parts = []
    for arm in dict.fromkeys(row.arm for row in analysis.comparisons):
        for word, sign in (("lower", -1), ("higher", 1)):
            found = [
                row.condition
                for row in analysis.comparisons
                if row.arm == arm and sign * row.difference.low > 0 and sign * row.difference.high > 0
            ]
            if found:
                parts.append(f"{analysis.label(arm)} {word}{_at(found, analysis)}")
    if not parts:
        return ["No single 95 % interval excludes zero either."]
    return [
        "As an indication only, single 95 % intervals, not corrected for their number, exclude zero for: "
        f"{'; '.join(parts)}."
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
    text = f"Of the {counted(total, 'planned run')} these have no result and are left out: {listed(lost)}"
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
        f"{analysis.label(row.arm)}{_at([row.condition], analysis)}: from {row.verdict} to {worst.verdict}"
        for row, worst in changed
    ]
    return f"changes {counted(len(changed), 'verdict')} ({'; '.join(named)})"
