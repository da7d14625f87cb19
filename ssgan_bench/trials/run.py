"""Run one task: the only place where training, evaluation and records meet. It computes; the coordinator writes."""

import functools
import time
import traceback
from typing import Any

import torch

import ssgan_bench.methods  # noqa: F401  (makes the methods known to RunConfig)
from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.evaluation.samples import sample_grid_png
from ssgan_bench.methods.base import Method
from ssgan_bench.records.provenance import collect, cpu_name
from ssgan_bench.records.schema import Cell, CurvePoint, Provenance, RunRecord
from ssgan_bench.records.search_schema import SeedScore
from ssgan_bench.records.store import sample_path
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import DivergedError, train
from ssgan_bench.trials.checkpoint import Checkpoint
from ssgan_bench.trials.checkpoint_place import CheckpointPlace
from ssgan_bench.trials.outcome import RunSoFar, final_fields, metrics_of, split_info, timing_of
from ssgan_bench.trials.run_cost import RunCost
from ssgan_bench.trials.sample_quality import SampleMeter
from ssgan_bench.trials.task import CellResult, Result, RunnerSpec, ScoreResult, Task

NUM_SAMPLES = 25
LONGEST_ERROR = 2000
"""Characters that are kept of what an exception said."""


class CellRunner:
    """Runs tasks of one study in this process, keeping the data set on the device between them."""

    def __init__(self, spec: RunnerSpec, checkpoints: CheckpointPlace | None = None):
        self._spec, self._checkpoints = spec, checkpoints
        self._device = torch.device(spec.device)
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(self._device)  # graphs and pinned memory belong to the current one
        self._device_name = torch.cuda.get_device_name(self._device) if on_gpu else cpu_name()
        self._loaded: tuple[tuple[str, int], DeviceData, SampleMeter | None] | None = None

    def __call__(self, task: Task) -> Result:
        """Run a cell, or find the validation error of a configuration.

        Raises:
            ConfigError: the data set is missing or damaged, which concerns every task.
            OSError: the machine does not work, likewise.
        """
        return self.run(task.work) if isinstance(task.work, Cell) else self.score(task.work)

    def run(self, cell: Cell) -> CellResult:
        """Train and evaluate one cell. Every outcome is a record, whatever goes wrong inside the run.

        A run that was stopped continues from its checkpoint if it has one.

        Raises:
            ConfigError, OSError: as `__call__`.
        """
        config = RunConfig.model_validate(cell.config)
        make_deterministic(config.train.num_threads)
        data, meter = self._data(config)
        result, trace = RunSoFar(), ""

        def record(status: str, **fields: Any) -> RunRecord:
            return RunRecord(
                protocol_version=PROTOCOL_VERSION,
                study=self._spec.study,
                preset=self._spec.preset,
                cell=cell,
                config_digest=config.digest(),
                status=status,  # type: ignore[arg-type]
                curves=tuple(result.curves),
                splits=result.splits,
                timing=result.timing,
                provenance=self._provenance(config, data),
                started_at=result.started_at,
                sample_files=tuple(sample_path(cell.cell_id, name) for name in result.samples),
                **fields,
            )

        try:
            self._train_and_evaluate(config, data, meter, cell.cell_id, result)
            made = record("complete", **result.final)  # which checks that what was measured agrees with itself
        except DivergedError as divergence:
            made = record("diverged", diverged_step=divergence.step)
        except OSError:
            raise
        except Exception as failure:  # noqa: BLE001  (a failed run is a row of the report, not the end of the study)
            made, trace = record("failed", error=_describe(failure)), traceback.format_exc()
        return CellResult(made, result.samples, trace)

    def score(self, content: dict[str, Any]) -> ScoreResult:
        """Find the validation error of one configuration, given as JSON data; whatever is raised inside is its result.

        Raises:
            ConfigError, OSError: as `__call__`.
        """
        start = time.perf_counter()
        provenance = None
        try:
            config = RunConfig.model_validate(content)
            provenance = self._provenance(config, self._data(config)[0])
            error_rate, diverged_step = self.validation_error(config)
        except (ConfigError, OSError):
            raise
        except Exception as failure:  # noqa: BLE001  (a failed trial is a row of the report, not the end of the search)
            seconds = time.perf_counter() - start
            return ScoreResult(None, provenance, seconds, _describe(failure), traceback.format_exc())
        score = SeedScore(seed=config.model_seed, error_rate=error_rate, diverged_step=diverged_step)
        return ScoreResult(score, provenance, time.perf_counter() - start)

    def validation_error(self, config: RunConfig) -> tuple[float, int | None]:
        """Train one configuration and evaluate its final snapshot on the validation set; the test set is not read.

        Returns:
            (error rate, None), or (the chance level 1 - 1/K, step) where the run diverged: a search needs a number.

        Raises:
            ConfigError, OSError: as `__call__`.
        """
        make_deterministic(config.train.num_threads)
        data, _ = self._data(config)
        splits = data.splits(config)
        uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
        batches = Batches(data.images, data.labels, splits, config, uses_unlabeled=uses_unlabeled)
        try:
            for snapshot in train(config, batches, data.num_classes):
                if snapshot.is_final:
                    metrics = metrics_of(snapshot, *data.validation_set(splits), config.data.image_size)
        except DivergedError as divergence:
            return 1 - 1 / data.num_classes, divergence.step
        return metrics["error_rate"], None

    def _provenance(self, config: RunConfig, data: DeviceData) -> Provenance:
        return collect(str(self._device), self._device_name, config.train.num_threads, self._spec.commit, data.sha256)

    def _data(self, config: RunConfig) -> tuple[DeviceData, SampleMeter | None]:
        """The data set of a run, and what measures its generated images if the study wants that."""
        key = (config.data.dataset, config.data.image_size)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free the old one first
            images = load(config.data.dataset, self._spec.data_root, image_size=config.data.image_size)
            data, meter = DeviceData.from_images(images, self._device), None
            if (reference := self._spec.references.get(key)) is not None:
                meter = SampleMeter.load(reference, config.data, self._device)
            self._loaded = (key, data, meter)
        _, data, meter = self._loaded
        return data.told_apart(config.data), meter

    def _train_and_evaluate(
        self, config: RunConfig, data: DeviceData, meter: SampleMeter | None, cell_id: str, result: RunSoFar
    ) -> None:
        checkpoint = saved = None
        if self._checkpoints is not None:
            checkpoint = Checkpoint(self._checkpoints, cell_id, config, data.sha256, self._device_name)
            saved = checkpoint.load()
        cost = RunCost(self._device, cpu_seconds=0.0 if saved is None else saved["cpu_seconds"])
        size = config.data.image_size
        start = time.perf_counter()
        splits = data.splits(config)
        result.splits = split_info(splits, data.num_classes, config.data)
        uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
        batches = Batches(data.images, data.labels, splits, config, uses_unlabeled=uses_unlabeled)
        validation_images, validation_labels = data.validation_set(splits)
        split_seconds = time.perf_counter() - start
        training_state = None if saved is None else result.restore(saved)
        for snapshot in train(config, batches, data.num_classes, training_state):
            start = time.perf_counter()
            validation: dict[str, float] = {}
            if len(validation_labels):
                validation = metrics_of(snapshot, validation_images, validation_labels, size)
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
                result.samples[f"{snapshot.step:07d}"] = sample_grid_png(snapshot.sample(NUM_SAMPLES))
            if snapshot.is_final:
                result.final = final_fields(snapshot, data, splits, config, result.curves)
                if meter is not None and snapshot.sample is not None:
                    others = data.images_outside(splits, config.data)
                    real = meter.real_images(config.split_seed, *data.evaluated_set(splits, config.data), others)
                    result.final["sample_quality"] = meter.measure(snapshot.sample, real)
            result.evaluation_seconds += time.perf_counter() - start
            result.timing = timing_of(snapshot, batches.images_per_step, split_seconds, result.evaluation_seconds, cost)
            if checkpoint is not None and not snapshot.is_final and snapshot.state is not None:
                checkpoint.save_if_due(functools.partial(result.to_save, snapshot.state, cost))


def _describe(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"[:LONGEST_ERROR]
