"""Time of a training step at the sizes of the quick presets in studies/: `pytest --benchmark-only`.

Every timed call does 20 steps and then waits for the device; warm-up calls come before and are not timed. Compare
numbers of one machine only, and note `device_name`, `torch`, `num_threads` and `commit`, which are saved with them.
"""

import math
from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from tiny_runs import tiny_config

from ssgan_bench.data.batches import Batches
from ssgan_bench.data.splits import make_splits
from ssgan_bench.methods.base import Method
from ssgan_bench.records.provenance import cpu_name, git_commit
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import Trainer

STEPS = 20
"""Per timed call."""
CALLS = 5
NUM_IMAGES, NUM_CLASSES = 1797, 10

METHODS = {
    "supervised": {"name": "supervised"},
    "article": {"preset": "article"},
    "improved_gan": {"preset": "improved_gan"},
}
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"), id="cuda")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def make_trainer(method: str, device: str) -> Trainer:
    """Make a trainer like that of a quick cell with 100 labels, on noise images of the digits' number and size."""
    config = tiny_config(
        method=METHODS[method],
        data={"num_labels": 100, "num_validation": 200, "num_test": 397},
        network={"width": 8, "latent_dim": 100, "norm_momentum": 0.1},
        optimizer={"learning_rate": 3e-3, "decay_fraction": 0.33},
        train={"epochs": 1000, "batch_size": 64, "labeled_batch_size": 16, "num_threads": 1},
    )
    make_deterministic(config.train.num_threads)
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (NUM_IMAGES, 1, 16, 16), generator=stream, dtype=torch.uint8).to(device)
    labels = torch.arange(NUM_IMAGES) % NUM_CLASSES
    splits = make_splits(labels.numpy(), NUM_CLASSES, config.data, config.split_seed)
    uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
    batches = Batches(images, labels.to(device), splits, config, uses_unlabeled=uses_unlabeled)
    trainer = Trainer(config, batches, NUM_CLASSES)
    trainer.set_training(True)
    return trainer


@pytest.mark.parametrize("device", [pytest.param("cpu", id="cpu"), CUDA])
@pytest.mark.parametrize("method", METHODS)
def test_training_step(benchmark: BenchmarkFixture, method: str, device: str) -> None:
    trainer = make_trainer(method, device)
    steps = iter(range(trainer.total_steps))
    losses: dict[str, torch.Tensor] = {}

    def many_steps() -> None:
        for _ in range(STEPS):
            losses.update(trainer.step(next(steps)))
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"{STEPS} training steps on {device}"
    benchmark.extra_info |= {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "torch": torch.__version__,
        "num_threads": torch.get_num_threads(),
        "commit": git_commit(),
        "steps_per_call": STEPS,
    }
    benchmark.pedantic(many_steps, rounds=CALLS, iterations=1, warmup_rounds=1)
    if benchmark.stats is not None:  # None under --benchmark-disable
        step_seconds = benchmark.stats.stats.median / STEPS
        benchmark.extra_info["step_time_ms"] = step_seconds * 1e3
        benchmark.extra_info["images_per_second"] = trainer.batches.images_per_step / step_seconds
    assert all(math.isfinite(term.item()) for term in losses.values())
