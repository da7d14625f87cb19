"""Time of a training step when several runs take turns in one process, as `--runs-at-once` lets them.

On a CPU it must stay what it is; on a GPU steps of small networks may run side by side. The runs are equal, so each
must have the losses of a run that nobody timed.
"""

import math
from dataclasses import replace

import pytest
import torch
from measurement import as_parameters, count_flop, save, synchronize
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import FAST_ARTICLE, FULLY_CONNECTED, NARROW, QUICK, Workload, make_trainer, on_cuda

from ssgan_bench.methods.base import Losses
from ssgan_bench.training.lanes import make_lanes

ON_CPU = replace(QUICK, has_plain=False, calls=2)
ON_CUDA = [
    *(on_cuda(replace(w, has_plain=False, cuda_graph=True)) for w in (FULLY_CONNECTED, QUICK, NARROW)),
    on_cuda(replace(FAST_ARTICLE, has_plain=False, batch_size=128, cuda_graph=True)),
]


@pytest.mark.parametrize("number", [1, 4])
def test_runs_at_once_on_a_cpu(benchmark: BenchmarkFixture, number: int) -> None:
    time_runs(benchmark, ON_CPU, number)


@pytest.mark.parametrize("number", [1, 4, 8])
@pytest.mark.parametrize("workload", as_parameters(ON_CUDA))
def test_runs_at_once(benchmark: BenchmarkFixture, workload: Workload, number: int) -> None:
    time_runs(benchmark, workload, number)


def time_runs(benchmark: BenchmarkFixture, workload: Workload, number: int) -> None:
    count, untimed = workload.steps_per_call, make_trainer(workload)
    runs = []
    for lane in make_lanes(workload.device, number):
        with lane():
            runs.append((lane, make_trainer(workload), list[Losses]()))

    def steps(rounds: int = count) -> None:
        for _ in range(rounds):
            for lane, trainer, history in runs:
                with lane():
                    history.append(trainer.step(len(history)))
        synchronize(workload.device)

    steps(workload.warmup_steps)  # first steps, recording of graphs
    benchmark.pedantic(steps, rounds=workload.calls, iterations=1)
    expected = [untimed.step(step) for step in range(count)]
    tolerance = 0.0 if workload.device == "cpu" else 1e-3
    for _, _, history in runs:
        assert all(math.isfinite(loss.item()) for loss in history[-1].values())
        for found, wanted in zip(history[:count], expected, strict=True):
            for name, loss in wanted.items():
                torch.testing.assert_close(found[name], loss, rtol=tolerance, atol=tolerance)
    eager = make_trainer(replace(workload, cuda_graph=False))
    save(
        benchmark,
        "training step, runs in turns",
        count * number,
        device=workload.device,
        precision=workload.precision,
        part=f"{number} at once",
        images=untimed.batches.images_per_step,
        flop=count_flop(lambda: eager.step(0)),
        **workload.sizes,
    )
