"""What a run brings forth, from its snapshots to the parts of its record."""

import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from ssgan_bench.data.splits import Splits
from ssgan_bench.evaluation.classification import classification_metrics, predict
from ssgan_bench.records.schema import CurvePoint, SampleQuality, SplitInfo, Timing
from ssgan_bench.training.loop import DivergedError, Snapshot, State


class Outcome:
    """What a run has produced so far; a checkpoint keeps it."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.metrics: dict[str, float] = {}
        self.curves: list[CurvePoint] = []
        self.splits: SplitInfo | None = None
        self.timing: Timing | None = None
        self.sample_quality: SampleQuality | None = None
        self.sample_files: list[str] = []
        self.evaluation_seconds = 0.0

    def to_save(self, training: Callable[[], State]) -> dict[str, Any]:
        """What a checkpoint keeps: plain data, and the tensors of the state of training."""
        return {
            "started_at": self.started_at,
            "curves": [point.model_dump(mode="json") for point in self.curves],
            "sample_files": list(self.sample_files),
            "evaluation_seconds": self.evaluation_seconds,
            "training": training(),
        }

    def restore(self, saved: dict[str, Any] | None) -> State | None:
        """Take over what a checkpoint kept, if there is one, and return the state of training to go on from."""
        if saved is None:
            return None
        self.started_at = saved["started_at"]
        self.curves = [CurvePoint.model_validate(point) for point in saved["curves"]]
        self.sample_files = list(saved["sample_files"])
        self.evaluation_seconds = saved["evaluation_seconds"]
        state: State = saved["training"]
        return state


def split_info(splits: Splits, num_classes: int) -> SplitInfo:
    """Describe the index sets of a run."""
    digests = splits.digests()
    return SplitInfo(
        num_classes=num_classes,
        num_labels=splits.num_labels,
        labeled_rate=splits.num_labels / splits.num_train,
        num_unlabeled=len(splits.unlabeled),
        num_validation=len(splits.validation),
        num_test=len(splits.test),
        **{f"{name}_digest": value for name, value in digests.items()},
    )


def metrics_of(snapshot: Snapshot, images: Tensor, labels: Tensor, image_size: int) -> dict[str, float]:
    """Evaluate a snapshot; weights can be broken by the last update although all losses were finite."""
    logits = predict(snapshot.classify, images, image_size)
    if not torch.isfinite(logits).all():
        raise DivergedError(snapshot.step, "the networks predict NaN or infinity")
    return dict(classification_metrics(logits, labels))


def timing_of(
    snapshot: Snapshot,
    images_per_step: int,
    split_seconds: float,
    evaluation_seconds: float,
    device: torch.device,
) -> Timing:
    """Put together the seconds of a run so far; its peak memory is that of the device or the process."""
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
        peak_memory_mib=peak_memory_mib(device),
    )


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory: of the GPU since its last reset, or resident memory of this process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
