"""Run one cell: the only place where training, evaluation and records meet."""

import functools
import resource
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ssgan_bench.methods  # noqa: F401  (makes the methods known to RunConfig)
from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import DataConfig, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import ImageData, load
from ssgan_bench.data.splits import Splits, make_splits, renumber
from ssgan_bench.evaluation.classification import classification_metrics, predict
from ssgan_bench.evaluation.samples import sample_grid_png
from ssgan_bench.methods.base import Method
from ssgan_bench.records.provenance import collect, cpu_name
from ssgan_bench.records.schema import (
    Cell,
    CurvePoint,
    Provenance,
    RunRecord,
    SampleQuality,
    SplitInfo,
    StudyPlan,
    Timing,
)
from ssgan_bench.records.search_schema import SearchPlan
from ssgan_bench.records.store import RecordStore, write_atomically
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import DivergedError, Snapshot, State, train, train_in_turns
from ssgan_bench.trials.checkpoint import Checkpoint, discard_checkpoint
from ssgan_bench.trials.sample_quality import SampleMeter

NUM_SAMPLES = 25


@dataclass(frozen=True)
class DeviceData:
    """A data set on the training device; extra unlabeled images follow the labeled training images."""

    images: Tensor
    """(N + E, C, h, w) uint8."""
    labels: Tensor
    """(N + E,) int64, foreign classes from num_classes on; 0 for the E images without a label, which no loss reads."""
    test_images: Tensor | None
    test_labels: Tensor | None
    num_labeled_images: int
    """N."""
    num_classes: int
    """Classes that are told apart."""
    sha256: str

    @classmethod
    def from_images(cls, data: ImageData, device: torch.device) -> "DeviceData":
        """Copy a loaded data set to the device."""
        images, labels = data.train_images, data.train_labels
        if data.unlabeled_images is not None:
            images = torch.cat([images, data.unlabeled_images])
            labels = torch.cat([labels, labels.new_zeros(len(data.unlabeled_images))])
        return cls(
            images=images.to(device),
            labels=labels.to(device),
            test_images=None if data.test_images is None else data.test_images.to(device),
            test_labels=None if data.test_labels is None else data.test_labels.to(device),
            num_labeled_images=len(data.train_images),
            num_classes=len(data.class_names),
            sha256=data.sha256,
        )

    def told_apart(self, config: DataConfig) -> "DeviceData":
        """The same images with the labels that `config.classes` asks for."""
        if config.classes is None:
            return self
        table = torch.from_numpy(renumber(config.classes, self.num_classes, config.dataset)).to(self.labels.device)
        return replace(
            self,
            labels=table[self.labels],
            test_labels=None if self.test_labels is None else table[self.test_labels],
            num_classes=len(config.classes),
        )

    def splits(self, config: RunConfig) -> Splits:
        """Derive the index sets of one run; `told_apart` must have been asked for its classes before."""
        return make_splits(
            self.labels[: self.num_labeled_images].cpu().numpy(),
            self.num_classes,
            config.data,
            config.split_seed,
            num_extra_unlabeled=len(self.images) - self.num_labeled_images,
            official_test_labels=None if self.test_labels is None else self.test_labels.cpu().numpy(),
        )

    def test_set(self, splits: Splits) -> tuple[Tensor, Tensor]:
        """Images and labels that `splits.test` points to."""
        if self.test_images is not None and self.test_labels is not None:
            index = torch.from_numpy(splits.test).to(self.test_images.device)
            return self.test_images[index], self.test_labels[index]
        return self._subset(splits.test)

    def validation_set(self, splits: Splits) -> tuple[Tensor, Tensor]:
        """Images and labels that `splits.validation` points to."""
        return self._subset(splits.validation)

    def evaluated_set(self, splits: Splits, config: DataConfig) -> tuple[Tensor, Tensor]:
        """Images and labels that the final metrics are of: the test set, or the validation set while choosing."""
        return self.validation_set(splits) if config.evaluation_set == "validation" else self.test_set(splits)

    def images_outside(self, splits: Splits, config: DataConfig) -> Tensor:
        """All real images with a label that are not evaluated and no test images, for the floor of sample quality."""
        index = np.arange(self.num_labeled_images)
        if self.test_images is None:
            index = np.setdiff1d(index, splits.test)
        if config.evaluation_set == "validation":
            index = np.setdiff1d(index, splits.validation)
        return self.images[torch.from_numpy(index).to(self.images.device)]

    def _subset(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        on_device = torch.from_numpy(index).to(self.images.device)
        return self.images[on_device], self.labels[on_device]


class CellRunner:
    """Runs cells of one study in this process, keeping the data set on the device between them."""

    def __init__(
        self,
        plan: StudyPlan | SearchPlan,
        store: RecordStore,
        data_root: Path,
        device: str,
        commit: str | None,
        runs_at_once: int = 1,
    ):
        self.store = store
        self._plan = plan
        self._data_root = data_root
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(self._device)  # graphs and pinned memory belong to the current one
        self._device_name = torch.cuda.get_device_name(self._device) if on_gpu else cpu_name()
        self._commit = commit
        self._shares_gpu = on_gpu and runs_at_once > 1
        self._loaded: tuple[tuple[str, int], DeviceData, SampleMeter | None] | None = None

    def finished_record(self, cell_id: str) -> RunRecord | None:
        """Read the record of a cell that need not run again: complete or diverged."""
        record = self.store.record(cell_id)
        return record if record is not None and record.is_finished else None

    def run(self, cell: Cell) -> RunRecord:
        """Run one cell as `run_in_turns`, without a break."""
        turns = self.run_in_turns(cell)
        while True:
            try:
                next(turns)
            except StopIteration as end:
                record: RunRecord = end.value
                return record

    def run_in_turns(self, cell: Cell) -> Generator[None, None, RunRecord]:
        """Train and evaluate one cell, with a yield after each step, in which other cells may take theirs.

        Every outcome is a record, whatever goes wrong inside the run.

        A run that was stopped continues from its checkpoint if it has one; `keep` deletes it.

        Raises:
            ConfigError: the data set is missing or damaged, which concerns every cell.
            OSError: the disk does not take a file, likewise.
        """
        config = RunConfig.model_validate(cell.config)
        make_deterministic(config.train.num_threads)
        data, meter = self._data(config)
        result = _Result()
        status, error, diverged_step = "complete", None, None
        try:
            yield from self._train_and_evaluate(config, data, meter, cell.cell_id, result)
        except DivergedError as divergence:
            status, diverged_step = "diverged", divergence.step
        except OSError:
            raise
        except Exception as failure:  # noqa: BLE001  (a failed run is a row of the report, not the end of the study)
            status, error = "failed", f"{type(failure).__name__}: {failure}"[:2000]
            trace = traceback.format_exc().encode()
            write_atomically(self.store.folder / "failures" / f"{cell.cell_id}.txt", trace)
            result.metrics, result.sample_quality = {}, None
        return RunRecord(
            protocol_version=PROTOCOL_VERSION,
            study=self._plan.study,
            preset=self._plan.preset,
            cell=cell,
            config_digest=config.digest(),
            status=status,  # type: ignore[arg-type]
            diverged_step=diverged_step,
            error=error,
            metrics=result.metrics,
            curves=tuple(result.curves),
            splits=result.splits,
            timing=result.timing,
            sample_quality=result.sample_quality,
            provenance=self._provenance(config, data),
            started_at=result.started_at,
            sample_files=tuple(result.sample_files),
        )

    def keep(self, record: RunRecord) -> None:
        """Store the record of a run, which ends the use of its checkpoint."""
        self.store.write_record(record)
        discard_checkpoint(self.store.folder, record.cell.cell_id)

    def validation_error(self, config: RunConfig) -> tuple[float, int | None]:
        """Train one configuration and evaluate its final snapshot on the validation set; the test set is not read.

        Returns:
            (error rate, None), or (the chance level 1 - 1/K, step) where the run diverged: a search needs a number.

        Raises:
            ConfigError, OSError: as `run`.
        """
        make_deterministic(config.train.num_threads)
        data, _ = self._data(config)
        splits = data.splits(config)
        uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
        batches = Batches(data.images, data.labels, splits, config, uses_unlabeled=uses_unlabeled)
        try:
            for snapshot in train(config, batches, data.num_classes):
                if snapshot.is_final:
                    metrics = _metrics(snapshot, *data.validation_set(splits), config.data.image_size)
        except DivergedError as divergence:
            return 1 - 1 / data.num_classes, divergence.step
        return metrics["error_rate"], None

    def provenance(self, config: RunConfig) -> Provenance:
        """Say where and with what this process runs a configuration."""
        data, _ = self._data(config)
        return self._provenance(config, data)

    def _provenance(self, config: RunConfig, data: DeviceData) -> Provenance:
        return collect(str(self._device), self._device_name, config.train.num_threads, self._commit, data.sha256)

    def _data(self, config: RunConfig) -> tuple[DeviceData, SampleMeter | None]:
        """The data set of a run, and what measures its generated images if the study wants that."""
        key = (config.data.dataset, config.data.image_size)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free the old one first
            images = load(config.data.dataset, self._data_root, image_size=config.data.image_size)
            data, meter = DeviceData.from_images(images, self._device), None
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # the runs that use it may be on other streams
            if isinstance(self._plan, StudyPlan) and self._plan.sample_quality:
                meter = SampleMeter.load(self.store.folder, config.data, images.sha256, self._device)
            self._loaded = (key, data, meter)
        _, data, meter = self._loaded
        return data.told_apart(config.data), meter

    def _train_and_evaluate(
        self, config: RunConfig, data: DeviceData, meter: SampleMeter | None, cell_id: str, result: "_Result"
    ) -> Iterator[None]:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        size = config.data.image_size
        start = time.perf_counter()
        splits = data.splits(config)
        result.splits = _split_info(splits, data.num_classes, config.data)
        uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
        batches = Batches(data.images, data.labels, splits, config, uses_unlabeled=uses_unlabeled)
        validation_images, validation_labels = data.validation_set(splits)
        split_seconds = time.perf_counter() - start
        checkpoint = Checkpoint(self.store.folder, cell_id, config, data.sha256, self._device_name)
        training_state = result.restore(checkpoint.load())
        for snapshot in train_in_turns(config, batches, data.num_classes, training_state):
            if snapshot is None:
                yield
                if torch.get_num_threads() != config.train.num_threads:  # another arm's turn
                    torch.set_num_threads(config.train.num_threads)
                continue
            start = time.perf_counter()
            validation: dict[str, float] = {}
            if len(validation_labels):
                validation = _metrics(snapshot, validation_images, validation_labels, size)
            result.curves.append(
                CurvePoint(
                    step=snapshot.step,
                    epoch=snapshot.epoch,
                    labels_used=batches.labels_used(snapshot.step) if snapshot.step else len(splits.labeled),
                    losses=snapshot.losses,
                    validation=validation,
                )
            )
            if snapshot.sample is not None:
                png = sample_grid_png(snapshot.sample(NUM_SAMPLES))
                result.sample_files.append(self.store.write_sample(cell_id, f"{snapshot.step:07d}", png))
            if snapshot.is_final:
                images, labels = data.evaluated_set(splits, config.data)
                result.metrics = _metrics(snapshot, images, labels, size)
                if meter is not None and snapshot.sample is not None:
                    others = data.images_outside(splits, config.data)
                    real = meter.real_images(config.split_seed, images, labels, others)
                    result.sample_quality = meter.measure(snapshot.sample, real)
            result.evaluation_seconds += time.perf_counter() - start
            result.timing = _timing(
                snapshot, batches.images_per_step, split_seconds, result.evaluation_seconds, self._device
            )
            if self._shares_gpu:  # neither can be told apart from what the other runs do
                nothing = dict.fromkeys(("step_time_ms", "images_per_second", "peak_memory_mib"))
                result.timing = result.timing.model_copy(update=nothing)
            if not snapshot.is_final and snapshot.state is not None:
                checkpoint.save_if_due(functools.partial(result.to_save, snapshot.state))


class _Result:
    """What a run has produced so far."""

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


def _split_info(splits: Splits, num_classes: int, config: DataConfig) -> SplitInfo:
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


def _metrics(snapshot: Snapshot, images: Tensor, labels: Tensor, image_size: int) -> dict[str, float]:
    """Evaluate a snapshot; weights can be broken by the last update although all losses were finite."""
    logits = predict(snapshot.classify, images, image_size)
    if not torch.isfinite(logits).all():
        raise DivergedError(snapshot.step, "the networks predict NaN or infinity")
    return dict(classification_metrics(logits, labels))


def _timing(
    snapshot: Snapshot,
    images_per_step: int,
    split_seconds: float,
    evaluation_seconds: float,
    device: torch.device,
) -> Timing:
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
