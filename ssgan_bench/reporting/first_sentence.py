"""The sentence that a report begins with: the best arm, the baseline, and whether the difference is shown."""

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.frames import Comparison, Condition, Mean, conditions, single_seed
from ssgan_bench.reporting.wording import condition_text, number, p_text


def first_sentence(analysis: Analysis) -> tuple[str, ...]:
    """Write one paragraph of one or two sentences, or nothing where no arm is tested against the baseline.

    It is about the first condition of the family at which an arm is shown to be better, and there about the arm with
    the lowest mean; about the first condition and the lowest mean of all where none is.
    """
    study = analysis.evidence.study
    rows = [row for row in analysis.family if row.difference.n]
    if single_seed(study) or not rows:
        return ()
    found = {(mean.arm, mean.condition): mean for mean in analysis.means}
    candidates = [row for row in rows if row.verdict == "better"] or rows
    there = {row.condition for row in candidates}
    condition = next(condition for condition in conditions(study) if condition in there)
    here = [row for row in candidates if row.condition == condition]
    best = min(here, key=lambda row: found[row.arm, condition].estimate.mean)
    return (" ".join([_against_baseline(best, found, analysis), *_against_yardstick(condition, found, analysis)]),)


def _against_baseline(best: Comparison, found: dict[tuple[str, Condition], Mean], analysis: Analysis) -> str:
    study = analysis.evidence.study
    arm, baseline = (_value(found[name, best.condition], analysis) for name in (best.arm, study.baseline))
    where = f"At {condition_text(best.condition, study.factors)}: " if study.factors else ""
    shown = f"shown (p = {p_text(best.decisive_p_holm)})"
    grades = {"better": shown, "worse": f"{shown} to be worse"}
    grade = grades.get(best.verdict, analysis.verdict_text(best.verdict))
    return (
        f"{where}{analysis.label(best.arm)} has {arm} {analysis.unit.name}, {analysis.label(study.baseline)} "
        f"{baseline}: {grade}."
    )


def _against_yardstick(condition: Condition, found: dict[tuple[str, Condition], Mean], analysis: Analysis) -> list[str]:
    there = [found[name, condition] for name in analysis.evidence.study.yardsticks if found[name, condition].runs]
    if not there:
        return []
    best = min(there, key=lambda mean: mean.estimate.mean)
    return [f"The best yardstick, {analysis.label(best.arm)}, has {_value(best, analysis)}."]


def _value(mean: Mean, analysis: Analysis) -> str:
    return f"{number(analysis.unit.scale * mean.estimate.mean, analysis.unit.decimals)}{analysis.unit.suffix}"
