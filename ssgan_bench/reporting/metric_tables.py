"""The table of all test metrics and signs of one arm at one condition: what the main table leaves out."""

from dataclasses import replace
from typing import Any

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Table
from ssgan_bench.reporting.evidence import Evidence, csv_text
from ssgan_bench.reporting.evidence_columns import METRICS
from ssgan_bench.reporting.frames import Condition, Mean, means
from ssgan_bench.reporting.signs import Signs, signs
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import NONE, PERCENT, Unit, estimate_text, number, unit_of

PATH = "tables/metrics.csv"
COUNTS = ("collapsed", "fell_back", "at_chance", "still_falling")


def _measured_in(metric: str, evidence: Evidence) -> Evidence:
    """The same runs, read as if this metric were the study's."""
    return replace(evidence, study=evidence.study.model_copy(update={"metric": metric}))


def metric_means(evidence: Evidence) -> dict[str, dict[tuple[str, Condition], Mean]]:
    """Summarize each metric by arm and condition, as `means` does the study's."""
    return {
        metric: {(mean.arm, mean.condition): mean for mean in means(_measured_in(metric, evidence))}
        for metric in METRICS
    }


def metrics_table(analysis: Analysis) -> tuple[Table, str]:
    """Error, negative log-likelihood, calibration error and signs, and the same as CSV."""
    evidence = analysis.evidence
    found = metric_means(evidence)
    units = {metric: unit_of(_measured_in(metric, evidence)) for metric in METRICS}
    rows = [_row(group, found, units, analysis) for group in signs(evidence)]
    labels = tuple(factor.label for factor in evidence.study.factors)
    heads = ("error (%)", "NLL (nats)", "ECE", "training error (%)", "collapsed", "fell back", "at chance")
    caption = (
        f"Mean over runs with 95 % t interval of the {evidence.study.evaluated_on} error, the negative log-likelihood "
        "and the expected calibration error; mean error on the labeled images. Runs that collapsed against the others "
        "of their arm, ended far above their own best, are at chance, or were still falling at the end."
    )
    table = Table(
        ("arm", *labels, *heads, "still falling"), tuple(row for row, _ in rows), caption, PATH, left=1 + len(labels)
    )
    sizes = ("mean", "low", "high", "n")
    columns = ["arm", *keys_of(analysis), *(f"{metric}_{size}" for metric in METRICS for size in sizes)]
    columns += ["training_error_rate", "unreached_share", *(f"{c}{of}" for c in COUNTS for of in ("", "_of"))]
    return table, csv_text(columns, (record for _, record in rows))


def _row(
    group: Signs,
    found: dict[str, dict[tuple[str, Condition], Mean]],
    units: dict[str, Unit],
    analysis: Analysis,
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """One row as texts and as numbers."""
    estimates = {metric: found[metric][group.arm, group.condition].estimate for metric in METRICS}
    counts = {name: getattr(group, name) for name in COUNTS}
    texts = (
        analysis.label(group.arm),
        *texts_of(group.condition),
        *(estimate_text(estimate, units[metric]) for metric, estimate in estimates.items()),
        number(PERCENT * group.training_error, 1),
        *(count.text or ("0" if count.of else NONE) for count in counts.values()),
    )
    record = {"arm": group.arm, **levels_of(group.condition, analysis)}
    record |= {f"{m}_{size}": getattr(e, size) for m, e in estimates.items() for size in ("mean", "low", "high", "n")}
    record |= {"training_error_rate": group.training_error, "unreached_share": group.unreached}
    record |= {name: count.runs if count.of else None for name, count in counts.items()}
    record |= {f"{name}_of": count.of for name, count in counts.items()}
    return texts, record
