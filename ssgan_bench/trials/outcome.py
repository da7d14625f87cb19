"""What a run brings forth, from its snapshots to the parts of its record."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from ssgan_bench.config import DataConfig, RunConfig
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.data.splits import Splits
from ssgan_bench.evaluation.classification import classification_metrics, confusion, predict, wrong_predictions
from ssgan_bench.evaluation.training_signs import has_collapsed, is_at_chance, is_still_falling
from ssgan_bench.records.schema import CurvePoint, Misclassified, SplitInfo, Timing, TrainingSigns
from ssgan_bench.training.loop import DivergedError, Snapshot, State
from ssgan_bench.trials.run_cost import RunCost

MOST_TRAINING_IMAGES = 2000
"""Labeled images that the training error is measured on; evenly spaced ones where there are more."""
CONFIDENCE_DIGITS = 4


class RunSoFar:
    """What a run has produced so far; a checkpoint keeps it."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.curves: list[CurvePoint] = []
        self.splits: SplitInfo | None = None
        self.timing: Timing | None = None
        self.samples: dict[str, bytes] = {}
        """Sample grids (PNG) by name."""
        self.evaluation_seconds = 0.0
        self.final: dict[str, Any] = {}
        """Fields of the record that only a complete run has."""

    def to_save(self, training: Callable[[], State], cost: RunCost) -> dict[str, Any]:
        """What a checkpoint keeps: plain data, and the tensors of the state of training."""
        return {
            "started_at": self.started_at,
            "curves": [point.model_dump(mode="json") for point in self.curves],
            "samples": dict(self.samples),
            "evaluation_seconds": self.evaluation_seconds,
            "cpu_seconds": cost.cpu_seconds,
            "training": training(),
        }

    def restore(self, saved: dict[str, Any]) -> State:
        """Take over what a checkpoint kept, and return the state of training to go on from."""
        self.started_at = saved["started_at"]
        self.curves = [CurvePoint.model_validate(point) for point in saved["curves"]]
        self.samples = dict(saved["samples"])
        self.evaluation_seconds = saved["evaluation_seconds"]
        state: State = saved["training"]
        return state


def split_info(splits: Splits, num_classes: int, config: DataConfig) -> SplitInfo:
    """Describe the index sets of a run."""
    digests = splits.digests()
    return SplitInfo(
        num_classes=num_classes,
        num_labels=splits.num_labels,
        labeled_rate=splits.num_labels / splits.num_train,
        num_unlabeled=len(splits.unlabeled),
        num_validation=len(splits.validation),
        num_test=len(splits.test),
        evaluated_on=config.evaluation_set,
        **{f"{name}_digest": value for name, value in digests.items()},
    )


def logits_of(snapshot: Snapshot, images: Tensor, image_size: int) -> Tensor:
    """Class logits (N, K) of a snapshot; weights can be broken by the last update although all losses were finite.

    Raises:
        DivergedError: a logit is NaN or infinite.
    """
    logits = predict(snapshot.classify, images, image_size)
    if not torch.isfinite(logits).all():
        raise DivergedError(snapshot.step, "the networks predict NaN or infinity")
    return logits


def metrics_of(snapshot: Snapshot, images: Tensor, labels: Tensor, image_size: int) -> dict[str, float]:
    """Evaluate a snapshot on some images.

    Raises:
        DivergedError: as `logits_of`.
    """
    return dict(classification_metrics(logits_of(snapshot, images, image_size), labels))


def final_fields(
    snapshot: Snapshot, data: DeviceData, splits: Splits, config: RunConfig, curves: Sequence[CurvePoint]
) -> dict[str, Any]:
    """Evaluate the final snapshot and say how training ended: fields of the record by name.

    Raises:
        DivergedError: as `logits_of`.
    """
    size = config.data.image_size
    images, labels = data.evaluated_set(splits, config.data)
    positions = splits.validation if config.data.evaluation_set == "validation" else splits.test
    logits = logits_of(snapshot, images, size)
    wrong, predicted, confidence = wrong_predictions(logits, labels)
    counts = confusion(logits, labels)
    validation = [point.validation["error_rate"] for point in curves if point.validation]
    return {
        "metrics": dict(classification_metrics(logits, labels)),
        "confusion": tuple(map(tuple, counts.tolist())),
        "misclassified": Misclassified(
            index=tuple(positions[wrong.numpy()].tolist()),
            predicted=tuple(predicted.tolist()),
            confidence=tuple(round(value, CONFIDENCE_DIGITS) for value in confidence.tolist()),
        ),
        "unreached_share": _unreached_share(snapshot, images, size),
        "chosen": snapshot.chosen,
        "training": TrainingSigns(
            training_error_rate=_training_error_rate(snapshot, data, splits, size),
            still_falling=is_still_falling(validation, len(splits.validation)),
            at_chance=is_at_chance(len(wrong), counts.sum(dim=1).tolist()),
            collapsed=has_collapsed(validation),
        ),
    }


def _unreached_share(snapshot: Snapshot, images: Tensor, image_size: int) -> float | None:
    if snapshot.reached is None:
        return None
    return 1.0 - predict(snapshot.reached, images, image_size).double().mean().item()


def _training_error_rate(snapshot: Snapshot, data: DeviceData, splits: Splits, image_size: int) -> float:
    every = -(-len(splits.labeled) // MOST_TRAINING_IMAGES)
    images, labels = data.labeled_set(splits, every)
    return metrics_of(snapshot, images, labels, image_size)["error_rate"]


def timing_of(
    snapshot: Snapshot, images_per_step: int, split_seconds: float, evaluation_seconds: float, cost: RunCost
) -> Timing:
    """Put together what a run has taken so far."""
    seconds: dict[str, Any] = snapshot.seconds
    steps = snapshot.step - snapshot.warmup_steps
    step_seconds = seconds["train"] / steps if steps > 0 else None
    return Timing(
        setup_seconds=seconds["setup"] + split_seconds,
        warmup_seconds=seconds["warmup"],
        train_seconds=seconds["train"],
        evaluation_seconds=evaluation_seconds,
        step_time_ms=None if step_seconds is None else step_seconds * 1e3,
        images_per_second=None if step_seconds is None else images_per_step / step_seconds,
        cpu_seconds=cost.cpu_seconds + snapshot.cpu_seconds_taken_over,
        peak_memory_mib=cost.peak_memory_mib(),
    )
