"""What all sections of a report draw on, computed once: means, comparisons, and how to name them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ssgan_bench.reporting.evidence import Evidence
from ssgan_bench.reporting.findings import (
    AgainstYardstick,
    Efficiency,
    Leak,
    Spread,
    against_yardsticks,
    label_efficiency,
    label_leaks,
    spreads,
)
from ssgan_bench.reporting.frames import (
    Comparison,
    Condition,
    Mean,
    Verdict,
    comparisons,
    conditions,
    has_result,
    means,
    worst_case,
)
from ssgan_bench.reporting.units import unit_noun
from ssgan_bench.reporting.wording import Unit, conditions_text, counted, unit_of


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
    against_yardsticks: list[AgainstYardstick]
    """Failed and diverged runs left out."""
    pessimistic_yardsticks: list[AgainstYardstick]
    """Failed and diverged runs counted as `worst_case`; empty where no run failed or diverged."""
    efficiency: list[Efficiency]
    leaks: list[Leak]
    spreads: list[Spread]

    @property
    def family(self) -> list[Comparison]:
        """The comparisons that the study declared as tests: what a verdict may rest on."""
        return [row for row in self.comparisons if row.in_family]

    @property
    def described(self) -> list[Comparison]:
        """The comparisons outside the declared family, at other levels or of a yardstick: no verdict."""
        return [row for row in self.comparisons if not row.in_family]

    @property
    def outside(self) -> list[Comparison]:
        """The described comparisons of arms that are tested at other levels: those not of a yardstick."""
        return [row for row in self.described if row.arm not in self.evidence.study.yardsticks]

    @property
    def family_text(self) -> str:
        """Name the declared family, e.g. "the declared family of 6 comparisons (Labels = 20 and 50)"."""
        size = counted(len(self.family), "comparison")
        if not self.described:
            return f"all {size}" if len(self.family) > 1 else f"the {size}"
        without = "" if not self.evidence.study.yardsticks else ", without yardsticks"
        return f"the declared family of {size} ({self.first_levels(self.family)}{without})"

    @property
    def unit_noun(self) -> str:
        """What n counts: "seed", or "split" where each split is run with several model seeds."""
        return unit_noun(self.evidence.study)

    @property
    def margin_text(self) -> str:
        """Write the declared margin with its unit, e.g. "1 percentage point"; empty without one."""
        margin = self.evidence.study.margin
        if margin is None:
            return ""
        unit = self.unit.difference.removesuffix("s") if self.margin_number == "1" else self.unit.difference
        return f"{self.margin_number}{unit}"

    @property
    def margin_number(self) -> str:
        """Write the declared margin without its unit; empty without one."""
        margin = self.evidence.study.margin
        return "" if margin is None else f"{self.unit.scale * margin:g}"

    def verdict_text(self, verdict: Verdict) -> str:
        """Write a verdict; an equivalence with its margin in the unit of the differences."""
        if verdict == "observed":
            return "observed, not shown"
        return f"equivalent within {self.margin_number}" if verdict == "equivalent" else verdict

    def first_levels(self, rows: Sequence[Comparison]) -> str:
        """Name the levels of the first factor at which some comparisons are, e.g. "Labels = 20 and 50"."""
        factor = self.evidence.study.factors[0]
        present = {row.condition[0] for row in rows}
        return conditions_text([(level,) for level in factor.levels if level in present], [factor])

    def at(self, found: Sequence[Condition]) -> str:
        """Say where, e.g. " at Labels = 20"; nothing for a study of one condition."""
        study = self.evidence.study
        return f" at {conditions_text(found, study.factors)}" if len(conditions(study)) > 1 else ""

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
    counted_too = bool(lost and worst == worst)
    return Analysis(
        evidence=evidence,
        unit=unit_of(evidence),
        means=means(evidence),
        comparisons=comparisons(evidence),
        pessimistic=comparisons(evidence, worst) if counted_too else [],
        worst_case=worst,
        against_yardsticks=against_yardsticks(evidence),
        pessimistic_yardsticks=against_yardsticks(evidence, worst) if counted_too else [],
        efficiency=label_efficiency(evidence),
        leaks=label_leaks(evidence),
        spreads=spreads(evidence),
    )
