"""Estimate what a plan costs by timing a few steps, or a small fit, of each arm on made-up images of its shape."""

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssgan_bench.config import ConfigError, DataConfig, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.datasets import DatasetInfo, describe
from ssgan_bench.data.splits import TEST_SHARE, Splits
from ssgan_bench.evaluation.classification import predict
from ssgan_bench.methods import neighbor_graph
from ssgan_bench.methods.base import Method, NetworkMethod
from ssgan_bench.methods.classical import ClassicalMethod, pixels_of, rows_mib
from ssgan_bench.records.schema import Cell, StudyPlan
from ssgan_bench.seeding import generator, make_deterministic, numpy_generator
from ssgan_bench.training.allocator import keep_freed_memory
from ssgan_bench.training.loop import Trainer
from ssgan_bench.trials.run import NUM_SAMPLES

TIMED_SECONDS = 1.0
TIMED_IMAGES = 2000
"""Labeled, and unlabeled, images of a timed fit at most; the rest is reckoned from the method's work."""
TIMED_FITS = 3
"""After one that is not timed."""
START_SECONDS = 8.0
"""Start of the worker processes: importing torch, reading the data set."""
CELL_SECONDS = 0.02
"""What a cell costs besides its run: taking it from the queue, closing it, its record (docs/scaling.md)."""
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"
"""Program of a process that takes a core until its parent ends."""
LABEL_BUDGETS = ("data.num_labels", "data.labeled_rate")
UNLABELED_SETS = ("data.num_unlabeled", "data.foreign_share")
"""Of no influence on the cost where the number of steps is given."""
RECORD_KIB = 12.0
"""Typical size of a record."""


@dataclass(frozen=True)
class ArmCost:
    """Measured cost of one arm at the first level."""

    step_ms: float | None
    """None for a method without steps."""
    steps: int
    run_seconds: float
    """Steps (or the fit) and evaluations of one run, in a process of its own."""
    has_samples: bool
    fit_mib: float = 0.0
    """Memory for the images of a fit."""


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
    keep_freed_memory()  # as a worker does
    if device.type == "cuda":
        torch.cuda.set_device(device)
    costs: dict[str, ArmCost] = {}
    seconds, disk_kib = 0.0, 0.0
    for cell in plan.cells:
        config = RunConfig.model_validate(cell.config)
        name = _cost_name(cell)
        if name not in costs:
            with _company(num_workers - 1 if device.type == "cpu" else 0):
                costs[name] = _time_arm(config, device)
        seconds += costs[name].run_seconds + CELL_SECONDS
        grid_kib = NUM_SAMPLES * config.data.image_size**2 / 1024
        disk_kib += RECORD_KIB + (config.train.evaluations * grid_kib if costs[name].has_samples else 0.0)
    info = describe(config.data.dataset)
    pixels = info.channels * (info.native_size or config.data.image_size) ** 2
    data_mib = (info.num_train + info.num_extra_unlabeled + (info.num_test or 0)) * pixels / 2**20
    return Estimate(
        arms=costs,
        total_seconds=seconds / num_workers + START_SECONDS,
        memory_mib=_peak_memory_mib(device) + data_mib + max((cost.fit_mib for cost in costs.values()), default=0.0),
        disk_mib=disk_kib / 1024,
    )


@contextmanager
def _company(count: int) -> Iterator[None]:
    """Take as many cores as the other workers will: beside somebody else's work, each then gets its share only."""
    others = [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _cost_name(cell: Cell) -> str:
    """Cells of one name cost the same: the arm and all levels but those that only choose other images."""
    if not issubclass(Method.by_config[type(RunConfig.model_validate(cell.config).method)], NetworkMethod):
        free: tuple[str, ...] = ()  # a fit costs what its sets are large
    elif cell.config["train"]["steps"] is None:
        free = LABEL_BUDGETS
    else:
        free = (*LABEL_BUDGETS, *UNLABELED_SETS)
    levels = [f"{key} = {value}" for key, value in cell.levels.items() if key not in free]
    return ", ".join([cell.arm, *levels])


def _time_arm(config: RunConfig, device: torch.device) -> ArmCost:
    make_deterministic(config.train.num_threads)
    info = describe(config.data.dataset)
    method = Method.by_config[type(config.method)]
    if issubclass(method, ClassicalMethod):
        return _time_fit(method, config, info, device)
    num_classes = _num_classes(config.data, info)
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
    batches = Batches(images, labels, splits, config, uses_unlabeled=method.uses_unlabeled)
    trainer = Trainer(config, batches, num_classes)
    trainer.set_training(True)
    for step in range(trainer.warmup_steps):
        trainer.step(step)
    done, start = 0, _now(device)
    while (elapsed := _now(device) - start) < TIMED_SECONDS or done < 2:
        trainer.step(trainer.warmup_steps + done)
        done += 1
    step_seconds = elapsed / done
    trainer.set_training(False)
    start = _now(device)
    predict(trainer.classify, images, config.data.image_size)
    image_seconds = (_now(device) - start) / num_made_up
    evaluated = config.train.evaluations * (config.data.num_validation + NUM_SAMPLES) + _num_test(config.data, info)
    run_seconds = steps * step_seconds + evaluated * image_seconds
    return ArmCost(step_seconds * 1e3, steps, run_seconds, has_samples=trainer.method.generator is not None)


def _time_fit(method: type[ClassicalMethod], config: RunConfig, info: DatasetInfo, device: torch.device) -> ArmCost:
    """Time a fit to few images and reckon the whole one; on noise, so the iterations of a solver are assumed ones."""
    num_classes = _num_classes(config.data, info)
    num_labeled, num_others = _set_sizes(config.data, info)
    num_unlabeled = num_others if method.uses_unlabeled else 0
    timed = [min(count, TIMED_IMAGES) for count in (max(num_labeled, num_classes), max(0, num_unlabeled))]
    size = config.data.image_size
    images = (
        torch.rand((sum(timed), info.channels, size, size), generator=generator(0, "estimate")).mul(2).sub(1).to(device)
    )
    labels = torch.arange(timed[0], device=device) % num_classes
    neighbor_graph.forget()  # or images would be classified in no time that an earlier arm was timed with
    try:
        fit_seconds, shared_seconds = 0.0, 0.0
        for attempt in range(1 + TIMED_FITS):
            start = _now(device)
            fitted = method(config, info.channels, num_classes)
            classify = fitted.fit(images[: timed[0]], labels, images[timed[0] :]).classify
            if attempt > 0:  # the first imports scikit-learn, and makes what the others take over
                fit_seconds += (_now(device) - start) / TIMED_FITS
                shared_seconds = fitted.taken_over.seconds
    except RuntimeError as error:  # it does not converge
        raise ConfigError(f"{config.method.name}: {error}") from None
    shape = (TIMED_IMAGES, info.channels, *2 * (info.native_size or size,))
    tested = torch.from_numpy(numpy_generator(0, "estimate").integers(0, 256, shape, dtype=np.uint8)).to(device)
    start = _now(device)
    predict(classify, tested, size)
    image_seconds = (_now(device) - start) / TIMED_IMAGES
    pixels = pixels_of(config, info.channels)
    whole, part = method.work(num_labeled, num_unlabeled, pixels), method.work(timed[0], timed[1], pixels)
    fit_seconds *= whole.fit / (part.fit * fitted.iterations / part.iterations)
    if part.shared > 0:  # counted for every run, as its record does, though few will make it
        fit_seconds += shared_seconds * whole.shared / part.shared
    image_seconds *= whole.per_image / part.per_image
    run_seconds = fit_seconds + image_seconds * (config.data.num_validation + _num_test(config.data, info))
    fit_mib = rows_mib(num_labeled + num_unlabeled, pixels) if device.type == "cpu" else 0.0
    return ArmCost(None, 0, run_seconds, has_samples=False, fit_mib=fit_mib)


def _num_classes(config: DataConfig, info: DatasetInfo) -> int:
    return len(config.classes or info.class_names)


def _num_test(config: DataConfig, info: DatasetInfo) -> int:
    """Test images, if all classes were equally frequent."""
    if config.num_test is not None:
        return config.num_test
    found = round(TEST_SHARE * info.num_train) if info.num_test is None else info.num_test
    return found * _num_classes(config, info) // info.num_classes


def _set_sizes(config: DataConfig, info: DatasetInfo) -> tuple[int, int]:
    """Labeled images, and unlabeled ones besides them, if all classes were equally frequent."""
    num_classes = _num_classes(config, info)
    num_train = info.num_train * num_classes // info.num_classes
    num_train -= config.num_validation + (_num_test(config, info) if info.num_test is None else 0)
    num_labels = round(config.labeled_rate * num_train) if config.labeled_rate else config.num_labels or 0
    others = num_train - num_labels
    if config.num_unlabeled is not None:
        return num_labels, config.num_unlabeled
    if config.foreign_share is not None:
        return num_labels, others * min(num_classes, info.num_classes - num_classes) // num_classes
    return num_labels, others + info.num_extra_unlabeled


def _num_unlabeled(config: DataConfig, info: DatasetInfo) -> int:
    """Size of the unlabeled set."""
    num_labels, others = _set_sizes(config, info)
    return others + (num_labels if config.unlabeled_includes_labeled else 0)


def _peak_memory_mib(device: torch.device) -> float:
    """Peak memory: allocated on the GPU, or resident memory of this process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def free_disk_mib(folder: Path) -> float:
    """Free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**20
