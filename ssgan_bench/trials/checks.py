"""Find out before anything runs whether every cell can: data set readable, budgets and batches possible."""

from pathlib import Path

import torch

from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.data.splits import Splits
from ssgan_bench.methods.base import Method
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.search_schema import SearchPlan
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.trials.sample_quality import refuse_too_few_images


def check_cells(plan: StudyPlan, data_root: Path, store: RecordStore | None) -> None:
    """Load and verify the data and derive the splits and batches of every cell of the first seed.

    Args:
        plan: the cells.
        data_root: where the data sets lie.
        store: stored runs to be continued, which must have used the same data; None if there are none.

    Raises:
        ConfigError: the data set is damaged or not the one that stored runs were made with, or a request is impossible
            for it.
    """
    loaded: dict[tuple[str, int], DeviceData] = {}
    for cell in plan.cells:
        config = RunConfig.model_validate(cell.config)
        key = (config.data.dataset, config.data.image_size)
        if key not in loaded:
            images = load(config.data.dataset, data_root, image_size=config.data.image_size)
            loaded[key] = DeviceData.from_images(images, torch.device("cpu"))
        data = loaded[key].told_apart(config.data)
        record = None if store is None else store.record(cell.cell_id)
        if store and record and record.provenance and record.provenance.dataset_sha256 != data.sha256:
            raise _changed_data(config.data.dataset, store.folder)
        if cell.split_seed == cell.model_seed == plan.seeds[0]:
            splits = _refuse_impossible(config, data)
            if plan.sample_quality:
                if config.data.classes is not None:
                    raise ConfigError(
                        "sample_quality = true: its reference classifier knows all classes, so it cannot measure "
                        "samples of data.classes alone; leave one of the two out"
                    )
                evaluated, _ = data.evaluated_set(splits, config.data)
                refuse_too_few_images(config.data, len(evaluated), len(data.images_outside(splits, config.data)))


def check_search(plan: SearchPlan, data_root: Path, store: SearchStore | None) -> None:
    """Do the same for a search: every arm's own configuration with the first tuning seed.

    Raises:
        ConfigError: as `check_cells`.
    """
    for arm in plan.arms:
        seed = plan.tuning_seeds[0]
        config = RunConfig.model_validate(arm.config | {"split_seed": seed, "model_seed": seed})
        images = load(config.data.dataset, data_root, image_size=config.data.image_size)
        data = DeviceData.from_images(images, torch.device("cpu")).told_apart(config.data)
        for record in store.records() if store else []:
            if store and record.provenance and record.provenance.dataset_sha256 != data.sha256:
                raise _changed_data(config.data.dataset, store.folder)
        _refuse_impossible(config, data)


def _refuse_impossible(config: RunConfig, data: DeviceData) -> Splits:
    """Derive splits and batches, which refuse what cannot be done."""
    method = Method.by_config[type(config.method)]
    splits = data.splits(config)
    method.check(config, Batches(data.images, data.labels, splits, config, uses_unlabeled=method.uses_unlabeled))
    return splits


def _changed_data(dataset: str, folder: Path) -> ConfigError:
    return ConfigError(
        f"data set {dataset!r}: its images or labels changed since the runs in {folder} were "
        "made; use --out DIR to keep both, or --fresh to set the old runs aside"
    )
