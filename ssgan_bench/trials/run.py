"""Run one cell: the only place where training, evaluation and records meet."""

import functools
import time
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path

import torch

import ssgan_bench.methods  # noqa: F401  (makes the methods known to RunConfig)
from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.evaluation.samples import sample_grid_png
from ssgan_bench.methods.base import Method
from ssgan_bench.records.provenance import collect, cpu_name
from ssgan_bench.records.schema import Cell, CurvePoint, Provenance, RunRecord, StudyPlan
from ssgan_bench.records.search_schema import SearchPlan
from ssgan_bench.records.store import RecordStore, write_atomically
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import DivergedError, train, train_in_turns
from ssgan_bench.trials.checkpoint import Checkpoint, discard_checkpoint
from ssgan_bench.trials.outcome import Outcome, final_fields, metrics_of, split_info, timing_of
from ssgan_bench.trials.run_cost import RunCost
from ssgan_bench.trials.sample_quality import SampleMeter

NUM_SAMPLES = 25


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
        self._takes_turns = runs_at_once > 1
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
        result = Outcome()
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
            result.final = {}
        return RunRecord(
            protocol_version=PROTOCOL_VERSION,
            study=self._plan.study,
            preset=self._plan.preset,
            cell=cell,
            config_digest=config.digest(),
            status=status,  # type: ignore[arg-type]
            diverged_step=diverged_step,
            error=error,
            curves=tuple(result.curves),
            splits=result.splits,
            timing=result.timing,
            provenance=self._provenance(config, data),
            started_at=result.started_at,
            sample_files=tuple(result.sample_files),
            **result.final,
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
                    metrics = metrics_of(snapshot, *data.validation_set(splits), config.data.image_size)
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
        self, config: RunConfig, data: DeviceData, meter: SampleMeter | None, cell_id: str, result: Outcome
    ) -> Iterator[None]:
        checkpoint = Checkpoint(self.store.folder, cell_id, config, data.sha256, self._device_name)
        saved = checkpoint.load()
        spent = 0.0 if saved is None else saved["cpu_seconds"]
        cost = RunCost(self._device, takes_turns=self._takes_turns, cpu_seconds=spent)
        size = config.data.image_size
        start = time.perf_counter()
        splits = data.splits(config)
        result.splits = split_info(splits, data.num_classes, config.data)
        uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
        batches = Batches(data.images, data.labels, splits, config, uses_unlabeled=uses_unlabeled)
        validation_images, validation_labels = data.validation_set(splits)
        split_seconds = time.perf_counter() - start
        training_state = None if saved is None else result.restore(saved)
        for snapshot in train_in_turns(config, batches, data.num_classes, training_state):
            if snapshot is None:
                cost.pause()
                yield
                cost.resume()
                if torch.get_num_threads() != config.train.num_threads:  # another arm's turn
                    torch.set_num_threads(config.train.num_threads)
                continue
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
                png = sample_grid_png(snapshot.sample(NUM_SAMPLES))
                result.sample_files.append(self.store.write_sample(cell_id, f"{snapshot.step:07d}", png))
            if snapshot.is_final:
                result.final = final_fields(snapshot, data, splits, config, result.curves)
                if meter is not None and snapshot.sample is not None:
                    others = data.images_outside(splits, config.data)
                    real = meter.real_images(config.split_seed, *data.evaluated_set(splits, config.data), others)
                    result.final["sample_quality"] = meter.measure(snapshot.sample, real)
            result.evaluation_seconds += time.perf_counter() - start
            result.timing = timing_of(snapshot, batches.images_per_step, split_seconds, result.evaluation_seconds, cost)
            if self._takes_turns and self._device.type == "cuda":  # not to be told apart from what the other runs do
                nothing = dict.fromkeys(("step_time_ms", "images_per_second"))
                result.timing = result.timing.model_copy(update=nothing)
            if not snapshot.is_final and snapshot.state is not None:
                checkpoint.save_if_due(functools.partial(result.to_save, snapshot.state, cost))
