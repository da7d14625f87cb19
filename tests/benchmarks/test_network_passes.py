"""Time of one pass through the discriminator and the generator, forward alone and with its backward pass."""

from collections.abc import Callable

import pytest
import torch
from measurement import PeakMemory, as_parameters, count_flop, save, synchronized, timed_seconds
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from workloads import NETWORKS, Workload, make_trainer


def passes(workload: Workload, network_name: str, backward: bool) -> Callable[[], Tensor]:
    """Prepare one pass of a network in training mode; returns what it computes (a scalar with the backward pass)."""
    trainer = make_trainer(workload)
    stream = torch.Generator().manual_seed(0)
    network: nn.Module | None
    if network_name == "discriminator":
        network = trainer.method.discriminator
        shape: tuple[int, ...] = (workload.batch_size, 1, workload.image_size, workload.image_size)
    else:
        network = trainer.method.generator
        shape = (workload.batch_size, trainer.config.network.latent_dim)
    assert network is not None
    inputs = torch.randn(shape, generator=stream).to(workload.device)
    parameters = list(network.parameters())

    def forward() -> Tensor:
        output = network(inputs)
        return output[1] if network_name == "discriminator" else output

    def forward_only() -> Tensor:
        with torch.no_grad():
            return forward()

    def forward_and_backward() -> Tensor:
        loss = forward().square().mean()
        network.zero_grad()
        torch.autograd.backward(loss, inputs=parameters)
        return loss.detach()

    return forward_and_backward if backward else forward_only


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("network", ["discriminator", "generator"])
@pytest.mark.parametrize("workload", as_parameters(NETWORKS))
def test_network_pass(benchmark: BenchmarkFixture, workload: Workload, network: str, backward: bool) -> None:
    one_pass = passes(workload, network, backward)
    count, outputs, device_ms = workload.steps_per_call, [], []

    def many() -> None:
        outputs[:] = [one_pass() for _ in range(count)][-1:]

    first_step_ms = timed_seconds(one_pass, workload.device) * 1e3
    for _ in range(workload.warmup_steps):
        one_pass()
    memory = PeakMemory(workload.device)
    timed = synchronized(many, workload.device, device_ms)
    benchmark.pedantic(timed, rounds=3, iterations=1)
    peak_memory_mib = memory.mib()
    assert outputs[0].isfinite().all()
    save(
        benchmark,
        "network pass",
        count,
        device=workload.device,
        images=workload.batch_size,
        flop=count_flop(one_pass),
        device_ms=device_ms,
        first_step_ms=first_step_ms,
        peak_memory_mib=peak_memory_mib,
        part=f"{network}, {'forward and backward' if backward else 'forward'}",
        **workload.sizes,
    )
