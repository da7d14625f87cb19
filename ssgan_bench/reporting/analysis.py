"""What all sections of a report draw on, computed once: means, comparisons, and how to name them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ssgan_bench.reporting.evidence import Evidence
from ssgan_bench.reporting.frames import Comparison, Mean, comparisons, has_result, means, worst_case
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

    @property
    def family(self) -> list[Comparison]:
        """The comparisons that the study declared as tests: what a verdict may rest on."""
        return [row for row in self.comparisons if row.in_family]

    @property
    def described(self) -> list[Comparison]:
        """The comparisons outside the declared family: no verdict."""
        return [row for row in self.comparisons if not row.in_family]

    @property
    def family_text(self) -> str:
        """Name the declared family, e.g. "the declared family of 6 comparisons (Labels = 20 and 50)"."""
        size = counted(len(self.family), "comparison")
        if not self.described:
            return f"all {size}" if len(self.family) > 1 else f"the {size}"
        return f"the declared family of {size} ({self.first_levels(self.family)})"

    def first_levels(self, rows: Sequence[Comparison]) -> str:
        """Name the levels of the first factor at which some comparisons are, e.g. "Labels = 20 and 50"."""
        factor = self.evidence.study.factors[0]
        present = {row.condition[0] for row in rows}
        return conditions_text([(level,) for level in factor.levels if level in present], [factor])

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
