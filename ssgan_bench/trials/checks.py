"""Find out before anything runs whether every cell can: data set readable, budgets and batches possible."""

from pathlib import Path

import torch

from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import load
from ssgan_bench.methods.base import Method
from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.trials.run import DeviceData


def check_cells(plan: StudyPlan, data_root: Path) -> None:
    """Load and verify the data and derive the splits and batches of every cell of the first seed.

    Raises:
        ConfigError: the data set is damaged or a request is impossible for it.
    """
    loaded: dict[tuple[str, int], DeviceData] = {}
    for cell in plan.cells:
        if cell.split_seed != plan.seeds[0]:
            continue
        config = RunConfig.model_validate(cell.config)
        key = (config.data.dataset, config.data.image_size)
        if key not in loaded:
            images = load(config.data.dataset, data_root, image_size=config.data.image_size)
            loaded[key] = DeviceData.from_images(images, torch.device("cpu"))
        data = loaded[key]
        uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
        Batches(data.images, data.labels, data.splits(config), config, uses_unlabeled=uses_unlabeled)
