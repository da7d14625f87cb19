"""The table of docs/results.md: what the committed reports have measured on MNIST, beside published values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssgan_bench.config import ConfigError
from ssgan_bench.records.schema import PublishedValue
from ssgan_bench.reporting.evidence import Evidence, read_evidence
from ssgan_bench.reporting.frames import Level, has_result, means
from ssgan_bench.reporting.markdown import escape
from ssgan_bench.reporting.published import published_text
from ssgan_bench.reporting.wording import PERCENT, estimate_text, level_text, unit_of

BEGIN = "<!-- headline: written by `python -m ssgan_bench.evidence --headline`, not by hand -->"
END = "<!-- end of headline -->"
COLUMNS = (
    "method",
    "labels",
    "test error in % [95 % interval]",
    "n",
    "published, in %",
    "source",
    "hardware",
    "commit",
)
FACTOR = "data.num_labels"


@dataclass(frozen=True)
class Row:
    """One line: which cells of which report."""

    method: str
    study: str
    preset: str
    arm: str
    num_labels: int


SMALL = "MNIST 32x32, networks of 8 to 64 channels, 859 steps"
ARTICLE = "MNIST 64x64, the article's networks, 7 epochs"
ARMS = {
    "supervised": "supervised",
    "supervised_augmented": "supervised, augmentation",
    "article_augmented": "SSGAN, article's losses, augmentation",
    "improved_gan": "SSGAN, Improved GAN's losses",
    "improved_gan_augmented": "SSGAN, Improved GAN's losses, augmentation",
    "improved_gan_consistency": "SSGAN, Improved GAN's losses, augmentation, consistency",
}
YARDSTICKS = {"label_spreading": "label spreading (no network)", "poisson_learning": "Poisson learning (no network)"}
"""They see images of at most 32 pixels a side, whatever the preset."""

ROWS = (
    *(
        Row(
            f"Improved GAN's fully connected pair, {recipe}; MNIST 28x28, 300 epochs",
            "improved_gan_mnist100",
            preset,
            "improved_gan",
            num_labels,
        )
        for preset, recipe in (("paper", "the paper's recipe"), ("head", "the later program's recipe"))
        for num_labels in (20, 50, 100, 200)
    ),
    Row(
        "Improved GAN's fully connected pair, the paper's recipe; MNIST 28x28, 75 of the 300 epochs",
        "improved_gan_mnist100",
        "standard",
        "improved_gan",
        100,
    ),
    *(Row(f"{method}; {ARTICLE}", "labeled_rate", "full", arm, 100) for arm, method in ARMS.items()),
    *(Row(f"{method}; {SMALL}", "labeled_rate", "standard", arm, 100) for arm, method in ARMS.items()),
    *(Row(f"{method}; MNIST 32x32", "labeled_rate", "standard", arm, 100) for arm, method in YARDSTICKS.items()),
)


def headline(reports: Path, published: Mapping[tuple[str, str], Sequence[PublishedValue]]) -> str:
    """Write the table from the evidence in `reports/STUDY/PRESET/evidence`; what was not measured has no row.

    Args:
        reports: holds the committed reports.
        published: test error rates that study files give, by study and preset.

    Raises:
        ConfigError: an evidence folder is damaged.
    """
    read: dict[Path, Evidence | None] = {}
    lines = ["| " + " | ".join(COLUMNS) + " |", "|:--|--:|--:|--:|--:|:--|:--|:--|"]
    for row in ROWS:
        folder = reports / row.study / row.preset / "evidence"
        if folder not in read:
            read[folder] = read_evidence(folder) if folder.exists() else None
        measured = ("", "", "", "")
        evidence = read[folder]
        if evidence is not None:
            measured = _measured(evidence, row.arm, row.num_labels)
        error, n, hardware, commit = measured
        if not n:
            continue
        theirs, source = _published(row, published.get((row.study, row.preset), ()))
        cells = (row.method, level_text(row.num_labels), error, n, theirs, source, hardware, commit)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _published(row: Row, values: Sequence[PublishedValue]) -> tuple[str, str]:
    for value in values:
        if value.arm == row.arm and value.levels == {FACTOR: row.num_labels}:
            return published_text(value, PERCENT), escape(value.source)
    return "", ""


def _measured(evidence: Evidence, arm: str, num_labels: Level) -> tuple[str, str, str, str]:
    """Test error with its interval, number of seeds, hardware and commit; all blank without a complete run."""
    if [factor.key for factor in evidence.study.factors] != [FACTOR] or evidence.study.evaluated_on != "test":
        return "", "", "", ""
    found = [mean for mean in means(evidence) if mean.arm == arm and mean.condition == (num_labels,)]
    if not found or not found[0].runs:
        return "", "", "", ""
    runs = evidence.runs
    chosen = runs[(runs["arm"] == arm) & (runs[FACTOR] == num_labels) & has_result(runs, evidence.study.metric)]
    (mean,) = found
    n = str(mean.estimate.n) if mean.runs == mean.planned else f"{mean.estimate.n} of {mean.planned}"
    devices = sorted(set(chosen["device_name"].dropna()))
    precision = evidence.study.arm_configs[arm].get("train.precision", "fp32")
    hardware = ", ".join([*devices, *([precision] if precision != "fp32" else [])])
    commits = ", ".join(sorted({_short(commit) for commit in chosen["commit"].dropna()}))
    return estimate_text(mean.estimate, unit_of(evidence)), n, escape(hardware), commits


def _short(commit: str) -> str:
    digits, plus, dirty = commit.partition("+")
    return digits[:7] + plus + dirty


def with_headline(text: str, table: str) -> str:
    """Put the table between the two marker comments of a document.

    Raises:
        ConfigError: the document lacks them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"no place for the headline table: it stands between the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
