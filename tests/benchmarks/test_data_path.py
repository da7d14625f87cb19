"""Time of what a step does besides its networks' arithmetic: drawing a batch, resizing, masks of labels and dropout."""

from collections.abc import Callable

import pytest
import torch
from measurement import PeakMemory, as_parameters, save, synchronized
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import NETWORKS, Workload, make_batches

from ssgan_bench.data.batches import scale_images
from ssgan_bench.networks.layers import Dropout

COUNT = 20
NUM_LABELS = 300
"""So many that the article's mask keeps at least one label in a batch of 8."""


def draw_batch(workload: Workload) -> Callable[[int], torch.Tensor]:
    """Draw and resize labeled and unlabeled images."""
    batches = make_batches(workload)
    return lambda step: batches(step).images


def draw_masked_batch(workload: Workload) -> Callable[[int], torch.Tensor]:
    """Draw and resize images, and choose by the article's mask which of them are labeled."""
    batches = make_batches(workload, label_protocol="resampled", num_labels=NUM_LABELS)
    return lambda step: batches(step).images


def resize(workload: Workload) -> Callable[[int], torch.Tensor]:
    """Scale and resize the images of a batch."""
    images = make_batches(workload).images[: workload.batch_size]
    return lambda step: scale_images(images, workload.image_size)


def dropout_mask(workload: Workload) -> Callable[[int], torch.Tensor]:
    """Drop out the outputs of the discriminator's first convolution."""
    make_batches(workload)  # sets the number of threads
    side = workload.image_size // 2
    outputs = torch.ones(workload.batch_size, workload.width, side, side, device=workload.device)
    dropout = Dropout(0.3)
    return lambda step: dropout(outputs)


PARTS = {
    "batch, resized": draw_batch,
    "batch with label mask, resized": draw_masked_batch,
    "resize": resize,
    "dropout after the first convolution": dropout_mask,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("workload", as_parameters(NETWORKS))
def test_data_path(benchmark: BenchmarkFixture, workload: Workload, part: str) -> None:
    work = PARTS[part](workload)
    steps = iter(range(1_000_000))
    device_ms: list[float] = []

    def many() -> None:
        for _ in range(COUNT):
            work(next(steps))

    memory = PeakMemory(workload.device)
    timed = synchronized(many, workload.device, device_ms)
    benchmark.pedantic(timed, rounds=5, iterations=1, warmup_rounds=1)
    peak_memory_mib = memory.mib()
    result = work(0)
    assert result.isfinite().all()
    save(
        benchmark,
        "part of the data path",
        COUNT,
        device=workload.device,
        images=len(result),
        device_ms=device_ms,
        peak_memory_mib=peak_memory_mib,
        part=part,
        **workload.sizes,
    )
