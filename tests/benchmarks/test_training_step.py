"""Time of a training step, and how many times as fast it is as the plain reference.

A timed call does 20 steps of narrow networks, one of the article's on a CPU, and then waits for the device. The first
step and a quarter of a call come before and are saved apart. Calls of the plain reference alternate with the timed
ones; the ratio is the median over the pairs. A second trainer takes the same steps untimed and without a CUDA graph,
with the same losses.
"""

import gc
import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from measurement import PeakMemory, as_parameters, count_flop, save, synchronized, timed_seconds
from plain_reference import PlainTrainer
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import CPU_STEPS, CUDA_STEPS, NUM_CLASSES, Workload, make_config, make_data, make_trainer

from ssgan_bench.methods.base import Losses
from ssgan_bench.training.loop import Trainer


def warmed_up_plain(workload: Workload) -> Callable[[], float]:
    """Prepare the plain reference; each call of the result takes the steps of a timed call and returns its seconds."""
    config = make_config(workload)
    trainer = PlainTrainer(workload.method, config, *make_data(workload, config), NUM_CLASSES).to(workload.device)

    def steps() -> None:
        for _ in range(workload.steps_per_call):
            trainer.step()

    for _ in range(workload.warmup_steps):
        trainer.step()

    def call() -> float:
        gc.collect()
        gc.disable()  # as pytest-benchmark does around the timed calls
        try:
            return timed_seconds(steps, workload.device)
        finally:
            gc.enable()

    return call


def assert_as_untimed(history: list[Losses], untimed: Trainer) -> None:
    """The losses of the first steps are finite and those of a trainer that nobody timed: bit for bit on a CPU."""
    for step, losses in enumerate(history):
        expected = untimed.step(step)
        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            assert math.isfinite(loss.item()), f"{name} at step {step}"
            tolerance = 0.0 if untimed.device.type == "cpu" else 1e-3
            torch.testing.assert_close(loss, expected[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("workload", as_parameters([*CPU_STEPS, *CUDA_STEPS]))
def test_training_step(benchmark: BenchmarkFixture, workload: Workload) -> None:
    trainer = make_trainer(workload)
    device, count, warmup_steps = workload.device, workload.steps_per_call, workload.warmup_steps
    history: list[Losses] = []
    device_ms: list[float] = []
    plain_seconds: list[float] = []
    plain: Callable[[], float] | None = None

    def step() -> None:
        history.append(trainer.step(len(history)))

    def many_steps(number: int = count) -> None:
        for _ in range(number):
            step()

    def before_each_call() -> None:
        if plain is not None:
            plain_seconds.append(plain())

    memory = PeakMemory(device)
    first_step_ms = timed_seconds(step, device) * 1e3
    warmup_ms = timed_seconds(lambda: many_steps(warmup_steps), device) / warmup_steps * 1e3
    peak_memory_mib = memory.mib()
    if workload.has_plain:  # not before: its memory is none of ours
        plain = warmed_up_plain(workload)
    timed = synchronized(many_steps, device, device_ms)
    benchmark.pedantic(timed, setup=before_each_call, rounds=workload.calls, iterations=1)
    untimed = make_trainer(replace(workload, cuda_graph=False))
    compared = history[: max(2 + warmup_steps, count)]
    assert_as_untimed(compared, untimed)
    assert all(math.isfinite(loss.item()) for loss in history[-1].values())
    flop = count_flop(lambda: untimed.step(len(compared)))
    speed = {}
    if plain_seconds and benchmark.stats is not None:
        rounds = benchmark.stats.stats.data
        plain_seconds = plain_seconds[-len(rounds) :]
        ratios = [slow / fast for slow, fast in zip(plain_seconds, rounds, strict=True)]
        speed = {
            "plain_step_time_ms": statistics.median(plain_seconds) / count * 1e3,
            "speedup_over_plain": statistics.median(ratios),
            "speedup_low": min(ratios),
            "speedup_high": max(ratios),
        }
    save(
        benchmark,
        "training step",
        count,
        device=device,
        precision=workload.precision,
        images=trainer.batches.images_per_step,
        flop=flop,
        device_ms=device_ms,
        first_step_ms=first_step_ms,
        warmup_ms=warmup_ms,
        peak_memory_mib=peak_memory_mib,
        **speed,
        **workload.sizes,
    )
