"""What is kept of a study (`StudyPlan`) and of one run (`RunRecord`): plain data, versioned, units in the names.

Rates are in [0, 1]; percent appears only in rendered tables. A quantity that was not measured is None, never a number.
"""

from collections import Counter
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from ssgan_bench.config import Frozen, Kind, digest

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


def _in_range(metrics: dict[str, float]) -> dict[str, float]:
    """Refuse a metric that cannot be: all are at least 0, and all but the negative log-likelihood at most 1."""
    for name, value in metrics.items():
        if value < 0 or (value > 1 and name != "nll"):
            raise ValueError(f"{name} = {value}: outside its range")
    return metrics


Metrics: TypeAlias = Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], AfterValidator(_in_range)]


class ArmInfo(Frozen):
    """One named variant of a study."""

    name: str
    label: str
    """Human-readable name for tables and legends."""
    kind: Kind = "semi_supervised"
    """Of its method; where it is "classical" options of networks, optimizer and steps are without meaning."""
    has_generator: bool = False
    """Whether its method is a GAN."""


class Cell(Frozen):
    """One fully resolved configuration with its seeds: what a worker runs."""

    arm: str
    levels: dict[str, int | float | str | bool]
    """Value of every factor, by dotted key, e.g. {"data.num_labels": 20}."""
    split_seed: int
    model_seed: int
    config: dict[str, Any]
    """The RunConfig as JSON data."""
    cell_id: str
    """First 16 hex digits of the digest of configuration and protocol version; names the record's file."""

    @property
    def seed_text(self) -> str:
        """Its seeds in words: one number where the two are equal, as they are unless a study crosses them."""
        if self.split_seed == self.model_seed:
            return f"seed {self.model_seed}"
        return f"split seed {self.split_seed}, model seed {self.model_seed}"


class FactorInfo(Frozen):
    """One varied quantity."""

    key: str
    """Dotted configuration key, e.g. "data.num_labels"."""
    label: str
    """Axis label."""
    levels: tuple[int | float | str | bool, ...]


class PublishedValue(Frozen):
    """What others have published for one arm at one condition; in the unit of the study's metric."""

    arm: str
    levels: dict[str, int | float | str | bool]
    """Value of every factor, by dotted key."""
    mean: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sd: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Standard deviation over the repetitions."""
    n: Annotated[int, Field(ge=2)]
    """Repetitions."""
    source: Annotated[str, Field(min_length=1, max_length=200)]


class StudyPlan(Frozen):
    """A study resolved for one preset: what was asked and which cells answer it. Stored beside the records."""

    schema_version: Literal[1] = 1
    protocol_version: str
    study: str
    preset: str
    question: str
    expectation: str
    """What the authors expected before running it."""
    metric: str
    """Name of the test metric that answers the question, lower is better, e.g. "error_rate"."""
    baseline: str
    """Arm that the others are compared with."""
    arms: tuple[ArmInfo, ...]
    factors: tuple[FactorInfo, ...]
    """The first one is the x axis."""
    family: tuple[int | float | str | bool, ...]
    """Levels of the first factor whose comparisons with the baseline are the declared family of tests (Holm); the
    comparisons at other levels, and of yardsticks, are descriptive."""
    yardsticks: tuple[str, ...] = ()
    """Arms that a user would pick instead of what is studied, e.g. classical methods: what the others must beat."""
    margin: float | None = None
    """Largest difference in the metric that does not matter; None: the study cannot state that arms are equivalent."""
    seeds: tuple[int, ...]
    """Every number that is a split seed or a model seed of some cell."""
    sample_quality: bool = False
    """Whether generated images are measured (`SampleQuality`)."""
    published: tuple[PublishedValue, ...] = ()
    """What the means are held against."""
    cells: tuple[Cell, ...]

    def fingerprint(self) -> str:
        """Digest of everything that must agree for records to be mixed, or a question to stay the same.

        All but the texts, the seeds and the published values: also the metric, baseline, family, yardsticks and margin,
        so that what was declared before the first run stays as it was.
        """
        cells = {digest({"arm": c.arm, **c.config, "split_seed": 0, "model_seed": 0}) for c in self.cells}
        return digest(
            {
                "protocol": self.protocol_version,
                "study": self.study,
                "preset": self.preset,
                "arms": [a.name for a in self.arms],
                "metric": self.metric,
                "baseline": self.baseline,
                "family": sorted(map(str, self.family)),
                "yardsticks": sorted(self.yardsticks),
                "margin": self.margin,
                "sample_quality": self.sample_quality,
                "cells": sorted(cells),
            }
        )


class CurvePoint(Frozen):
    """One evaluation during training."""

    step: int
    """Steps done; 0 for a method without steps, which has one point."""
    epoch: float
    labels_used: int
    """Distinct images whose labels the steps so far have used."""
    losses: dict[str, float]
    """Mean of each weighted loss term over the steps since the last point, e.g. {"supervised_loss": ...}."""
    validation: Metrics
    """error_rate, nll, ece on the validation set; empty when there is none."""


class SplitInfo(Frozen):
    """Sizes and SHA-256 digests (of the sorted image indices) of the index sets."""

    num_classes: int
    num_labels: int
    labeled_rate: float
    num_unlabeled: int
    num_validation: int
    num_test: int
    evaluated_on: Literal["test", "validation"] = "test"
    """The set that the record's metrics are of; validation: settings were being chosen, the test set was not read."""
    labeled_digest: str
    unlabeled_digest: str
    validation_digest: str
    test_digest: str

    @property
    def num_evaluated(self) -> int:
        """Images that the record's metrics are of."""
        return self.num_validation if self.evaluated_on == "validation" else self.num_test


class Timing(Frozen):
    """Wall-clock parts of a run."""

    setup_seconds: float
    """Building splits, networks, batches."""
    warmup_seconds: float
    """The first step, or the first four with a CUDA graph, kept apart from steady state."""
    train_seconds: float
    """All further steps; of a method without steps, the whole fit."""
    evaluation_seconds: float
    step_time_ms: float | None
    """train_seconds per step after the warm-up; None without such steps."""
    images_per_second: float | None
    """Real images per second in steady state; None where step_time_ms is."""
    cpu_seconds: float | None = Field(default=None, ge=0)
    """Processor time of all threads of the process during the run. Of a graph method with the graph's, even where an
    earlier run had made it, but without that of evaluated images whose neighbors an earlier run had searched."""
    peak_memory_mib: float | None
    """Most memory during the run: allocated on the device on a GPU; resident on a CPU, with what the process held when
    the run began (libraries, the data set) but not the peaks of runs before it. None where the system cannot tell
    (macOS): never the peak of the process."""


class SampleDistances(Frozen):
    """How far one set of images is from the images that the run is evaluated on; see evaluation/sample_distances.py."""

    frechet: float
    """Squared Frechet distance between feature Gaussians; biased upwards at small num_images."""
    kernel: float
    """Unbiased squared kernel distance; may be below zero."""
    precision: float
    recall: float
    class_tv: float
    """Total variation between predicted classes and the test set's class frequencies."""


class SampleQuality(Frozen):
    """What the final generator draws, in the features of a classifier trained on all labels of the data set."""

    reference_classifier: str
    """Data set and first 8 hex digits of the SHA-256 of its weights, e.g. "digits_1a2b3c4d"; distances of different
    ones do not compare."""
    reference_error_rate: float
    """Of that classifier on the real images evaluated; it has seen them unless they are the data set's own test set."""
    num_images: int
    """Generated images, and real ones on the other side."""
    generated: SampleDistances
    floor: SampleDistances
    """The same of as many real images that are no test images: what a perfect generator would reach."""


class Misclassified(Frozen):
    """The evaluated images that the final snapshot misclassified: three lists of equal length, in its order."""

    index: tuple[Count, ...]
    """Ascending; into the data set's own test images where these were evaluated, else into its training images."""
    predicted: tuple[Count, ...]
    """Class."""
    confidence: tuple[Share, ...]
    """Probability that the prediction gave it, rounded to 4 digits."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if not len(self.index) == len(self.predicted) == len(self.confidence):
            raise ValueError("misclassified: its lists differ in length")
        if any(a >= b for a, b in zip(self.index, self.index[1:], strict=False)):
            raise ValueError("misclassified: indices are not ascending")
        return self


class TrainingSigns(Frozen):
    """How training ended, from the run alone; the rules are in evaluation/training_signs.py."""

    training_error_rate: Share
    """Of the final snapshot on the labeled images, neither augmented nor with dropout; on 2,000 evenly spaced ones
    where there are more."""
    still_falling: bool | None
    """Whether the validation error was still falling at the end; None with fewer than 4 evaluations."""
    at_chance: bool
    """Whether the test error is not below that of always guessing the most frequent class, at the 1 % level."""
    collapsed: bool | None
    """Whether the validation error ended far above its own best; None with fewer than 2 evaluations. A report also
    calls a run collapsed whose error is far above that of its siblings."""


class Provenance(Frozen):
    """Where and with what a run was made."""

    device: str
    """e.g. "cpu" or "cuda:0"."""
    device_name: str
    """Processor or GPU model."""
    num_threads: int
    python: str
    torch: str
    torchvision: str
    optuna: str
    ssgan_bench: str
    platform: str
    commit: str | None
    """Git commit of the package's checkout, with "+dirty" when files differ; None outside one."""
    dataset_sha256: str


class RunRecord(Frozen):
    """The result of one run; written once, atomically, with a digest of its content (see store.py)."""

    schema_version: Literal[3] = 3
    protocol_version: str
    study: str
    preset: str
    cell: Cell
    config_digest: str
    status: Literal["complete", "diverged", "failed"]
    diverged_step: int | None = None
    """Step at which a loss stopped being finite; only for status "diverged"."""
    error: str | None = None
    """Last line of the exception; only for status "failed"."""
    metrics: Metrics = Field(default_factory=dict)
    """error_rate, nll, ece at the final snapshot on the set that `splits.evaluated_on` names; empty unless complete, as
    what follows is None."""
    confusion: tuple[tuple[Count, ...], ...] | None = None
    """(K, K) evaluated images by true class (rows) and predicted class (columns)."""
    misclassified: Misclassified | None = None
    unreached_share: Share | None = None
    """Share of the evaluated images that no label reached; None for a method that is not a graph's."""
    chosen: dict[str, float] = Field(default_factory=dict)
    """Options that the fit chose itself, e.g. {"alpha": 0.99}."""
    training: TrainingSigns | None = None
    curves: tuple[CurvePoint, ...] = ()
    splits: SplitInfo | None = None
    timing: Timing | None = None
    sample_quality: SampleQuality | None = None
    """None unless the study asks for it, the run is complete and has a generator whose images are finite."""
    provenance: Provenance | None = None
    started_at: str
    """UTC, ISO 8601."""
    sample_files: tuple[str, ...] = ()
    """5x5 sample grids (PNG), relative to the records' folder, one per evaluation, oldest first."""

    @model_validator(mode="after")
    def _predictions_agree(self) -> Self:
        """Refuse counts that contradict each other, the error rate or the size of the evaluated set."""
        if (self.confusion is None) != (self.misclassified is None):
            raise ValueError("confusion and misclassified: one of them is missing")
        if self.confusion is None or self.misclassified is None:
            return self
        classes = range(len(self.confusion))
        if any(len(row) != len(classes) for row in self.confusion):
            raise ValueError("confusion: not square")
        total = sum(map(sum, self.confusion))
        wrong = {p: sum(self.confusion[t][p] for t in classes if t != p) for p in classes}
        if Counter(self.misclassified.predicted) != Counter(wrong):
            raise ValueError("misclassified: predicted classes differ from the counts in confusion")
        if abs(self.metrics.get("error_rate", -1.0) * total - sum(wrong.values())) > 1e-6 * total:
            raise ValueError("error_rate: not the share of misclassified images")
        if self.splits is not None and (self.splits.num_evaluated, self.splits.num_classes) != (total, len(classes)):
            raise ValueError("confusion: not of the size of the evaluated set or of its classes")
        return self

    @property
    def is_finished(self) -> bool:
        """Whether the cell need not run again: a diverged run would diverge again, a failed one may not fail again."""
        return self.status in ("complete", "diverged")

    @property
    def record_id(self) -> str:
        """Name of the record's file."""
        return self.cell.cell_id
