"""Time of evaluating a test set and of drawing a set of samples; 100 images of the article's networks on a CPU."""

import pytest
import torch
from measurement import PeakMemory, as_parameters, count_flop, save, synchronized, timed_seconds
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import NETWORKS, Workload, make_trainer

from ssgan_bench.evaluation.classification import classification_metrics, predict


def num_images(workload: Workload) -> int:
    """Images of a set: few of the article's networks on a CPU."""
    return 100 if workload.network == "article" and workload.device == "cpu" else 1000


@pytest.mark.parametrize("workload", as_parameters(NETWORKS))
def test_evaluation_of_a_test_set(benchmark: BenchmarkFixture, workload: Workload) -> None:
    trainer = make_trainer(workload)
    trainer.set_training(False)
    count = num_images(workload)
    images, labels = trainer.batches.images[:count], trainer.batches.labels[:count]
    metrics: dict[str, float] = {}
    device_ms: list[float] = []

    def evaluate() -> None:
        metrics.update(classification_metrics(predict(trainer.classify, images, workload.image_size), labels))

    first_step_ms = timed_seconds(evaluate, workload.device) * 1e3
    memory = PeakMemory(workload.device)
    timed = synchronized(evaluate, workload.device, device_ms)
    benchmark.pedantic(timed, rounds=3, iterations=1)
    peak_memory_mib = memory.mib()
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    save(
        benchmark,
        "evaluation of a test set",
        1,
        device=workload.device,
        images=count,
        flop=count_flop(evaluate),
        device_ms=device_ms,
        first_step_ms=first_step_ms,
        peak_memory_mib=peak_memory_mib,
        part=f"{count} images",
        **workload.sizes | {"batch_size": None},
    )


@pytest.mark.parametrize("workload", as_parameters(NETWORKS))
def test_sampling(benchmark: BenchmarkFixture, workload: Workload) -> None:
    trainer = make_trainer(workload)
    trainer.set_training(False)
    count = num_images(workload)
    samples: list[torch.Tensor] = []
    device_ms: list[float] = []

    def sample() -> None:
        samples[:] = [trainer.sample(count)]

    first_step_ms = timed_seconds(sample, workload.device) * 1e3
    memory = PeakMemory(workload.device)
    timed = synchronized(sample, workload.device, device_ms)
    benchmark.pedantic(timed, rounds=3, iterations=1)
    peak_memory_mib = memory.mib()
    assert samples[0].shape == (count, 1, workload.image_size, workload.image_size)
    assert samples[0].abs().max() <= 1.0
    save(
        benchmark,
        "set of samples",
        1,
        device=workload.device,
        images=count,
        flop=count_flop(sample),
        device_ms=device_ms,
        first_step_ms=first_step_ms,
        peak_memory_mib=peak_memory_mib,
        part=f"{count} images",
        **workload.sizes | {"batch_size": None},
    )
