"""Estimate what a plan costs by timing a few steps of each arm on made-up images of the right shape."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssgan_bench.config import DataConfig, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import DatasetInfo, describe
from ssgan_bench.data.splits import Splits
from ssgan_bench.evaluation.classification import predict
from ssgan_bench.methods.base import Method
from ssgan_bench.records.schema import Cell, StudyPlan
from ssgan_bench.seeding import make_deterministic, numpy_generator
from ssgan_bench.training.loop import Trainer
from ssgan_bench.trials.run import NUM_SAMPLES, peak_memory_mib

TIMED_SECONDS = 1.0
START_SECONDS = 8.0
"""Start of the worker processes: importing torch, reading the data set."""
LABEL_BUDGETS = ("data.num_labels", "data.labeled_rate")
UNLABELED_SETS = ("data.num_unlabeled", "data.foreign_share")
"""Of no influence on the cost where the number of steps is given."""
RECORD_KIB = 12.0
"""Typical size of a record."""


@dataclass(frozen=True)
class ArmCost:
    """Measured cost of one arm at the first level."""

    step_ms: float
    steps: int
    run_seconds: float
    """Steps and evaluations of one run, in a process of its own."""


@dataclass(frozen=True)
class Estimate:
    """Cost of all cells of a plan."""

    arms: dict[str, ArmCost]
    """By arm, and by level where a factor varies that changes the cost."""
    total_seconds: float
    memory_mib: float
    """Per worker, on the training device."""
    disk_mib: float


def estimate(plan: StudyPlan, device: torch.device, num_workers: int) -> Estimate:
    """Time a run of each cost for about a second. Neither reads nor downloads the data set."""
    costs: dict[str, ArmCost] = {}
    seconds, disk_kib = 0.0, 0.0
    for cell in plan.cells:
        config = RunConfig.model_validate(cell.config)
        name = _cost_name(cell)
        if name not in costs:
            costs[name] = _time_arm(config, device)
        seconds += costs[name].run_seconds
        has_samples = Method.by_config[type(config.method)].uses_unlabeled
        grid_kib = NUM_SAMPLES * config.data.image_size**2 / 1024
        disk_kib += RECORD_KIB + (config.train.evaluations * grid_kib if has_samples else 0.0)
    info = describe(config.data.dataset)
    pixels = info.channels * (info.native_size or config.data.image_size) ** 2
    data_mib = (info.num_train + info.num_extra_unlabeled + (info.num_test or 0)) * pixels / 2**20
    return Estimate(
        arms=costs,
        total_seconds=seconds / num_workers + START_SECONDS,
        memory_mib=peak_memory_mib(device) + data_mib,
        disk_mib=disk_kib / 1024,
    )


def _cost_name(cell: Cell) -> str:
    """Cells of one name cost the same: the arm and all levels but those that only choose other images."""
    free = LABEL_BUDGETS if cell.config["train"]["steps"] is None else (*LABEL_BUDGETS, *UNLABELED_SETS)
    levels = [f"{key} = {value}" for key, value in cell.levels.items() if key not in free]
    return ", ".join([cell.arm, *levels])


def _time_arm(config: RunConfig, device: torch.device) -> ArmCost:
    make_deterministic(config.train.num_threads)
    info = describe(config.data.dataset)
    num_classes = len(config.data.classes or info.class_names)
    steps = config.train.total_steps(max(1, _num_unlabeled(config.data, info) // config.train.batch_size))
    num_made_up = 2 * config.train.batch_size
    rng = numpy_generator(0, "estimate")
    size = info.native_size or config.data.image_size
    shape = (num_made_up, info.channels, size, size)
    images = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)).to(device)
    labels = torch.from_numpy(rng.integers(0, num_classes, num_made_up)).to(device)
    everything = np.arange(num_made_up)
    splits = Splits(
        labeled=everything[:20],
        unlabeled=everything,
        validation=everything[:0],
        test=everything[:0],
        num_train=num_made_up,
        num_labels=20,
    )
    uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
    batches = Batches(images, labels, splits, config, uses_unlabeled=uses_unlabeled)
    trainer = Trainer(config, batches, num_classes)
    trainer.set_training(True)
    trainer.step(0)
    done, start = 0, _now(device)
    while (elapsed := _now(device) - start) < TIMED_SECONDS or done < 2:
        done += 1
        trainer.step(done)
    step_seconds = elapsed / done
    trainer.set_training(False)
    start = _now(device)
    predict(trainer.classify, images, config.data.image_size)
    image_seconds = (_now(device) - start) / num_made_up
    num_test = config.data.num_test if info.num_test is None else info.num_test * num_classes // info.num_classes
    evaluated = config.train.evaluations * (config.data.num_validation + NUM_SAMPLES) + num_test
    return ArmCost(step_seconds * 1e3, steps, steps * step_seconds + evaluated * image_seconds)


def _num_unlabeled(config: DataConfig, info: DatasetInfo) -> int:
    """Size of the unlabeled set, if all classes were equally frequent."""
    num_classes = len(config.classes or info.class_names)
    num_train = info.num_train * num_classes // info.num_classes
    num_train -= config.num_validation + (config.num_test if info.num_test is None else 0)
    num_labels = round(config.labeled_rate * num_train) if config.labeled_rate else config.num_labels or 0
    others = num_train - num_labels
    if config.num_unlabeled is not None:
        others = config.num_unlabeled
    elif config.foreign_share is not None:
        others = others * min(num_classes, info.num_classes - num_classes) // num_classes
    else:
        others += info.num_extra_unlabeled
    return others + (num_labels if config.unlabeled_includes_labeled else 0)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def free_disk_mib(folder: Path) -> float:
    """Free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**20
