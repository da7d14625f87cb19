"""The optimizer is torch.optim.AdamW without what that class imports."""

import copy
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from tiny_runs import tiny_config

from ssgan_bench.training.optimizer import make_optimizer

FIRST_STEP = """
import sys
from tiny_runs import tiny_config, tiny_trainer
import ssgan_bench.engines.local, ssgan_bench.trials.run
trainer = tiny_trainer(tiny_config(method={"preset": "article"}))
trainer.step(0)
trainer.set_training(False)
trainer.sample(2)
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_updates_are_those_of_pytorchs_class(weight_decay):
    config = tiny_config(optimizer={"learning_rate": 0.02, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-4}).optimizer
    ours = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    theirs = copy.deepcopy(ours)
    optimizer = make_optimizer(ours, config, weight_decay)
    expected = torch.optim.AdamW(
        theirs.parameters(), lr=0.02, betas=(0.5, 0.9), eps=1e-4, weight_decay=weight_decay, fused=True
    )
    stream = torch.Generator().manual_seed(0)
    for step in range(5):
        optimizer.set_rate(0.02 / (step + 1))
        expected.param_groups[0]["lr"] = 0.02 / (step + 1)
        images = torch.randn(4, 1, 3, 3, generator=stream)
        for network, of_network in ((ours, optimizer), (theirs, expected)):
            of_network.zero_grad()
            network(images).square().sum().backward()
            of_network.step()
    for parameter, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(parameter, wanted)


def test_epsilon_root_stands_under_the_root():
    """The published program's formula, number by number in float64: v_hat / sqrt(mg_hat + 1e-8)."""
    settings = {"learning_rate": 0.003, "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-12, "epsilon_root": 1e-8}
    network = torch.nn.Linear(40, 1, bias=False)
    optimizer = make_optimizer(network, tiny_config(optimizer=settings).optimizer, 0.0)
    expected = network.weight.detach().double()
    v = mg = torch.zeros_like(expected)
    stream = torch.Generator().manual_seed(0)
    sizes = 10 ** torch.linspace(-7, -2, 40)  # of gradients: far below epsilon to far above
    for t in range(1, 8):
        gradient = torch.randn(1, 40, generator=stream) * sizes
        network.weight.grad = gradient.clone()
        optimizer.step()
        v = 0.5 * v + 0.5 * gradient.double()
        mg = 0.999 * mg + 0.001 * gradient.double().square()
        update = 0.003 * (v / (1 - 0.5**t)) / torch.sqrt(mg / (1 - 0.999**t) + 1e-8)
        expected = expected - update
        torch.testing.assert_close(network.weight.detach().double(), expected, rtol=0, atol=1e-7)
    assert float(update.abs().max()) > 1e-3


def test_epsilon_root_needs_a_mean_of_squares():
    with pytest.raises(ValidationError, match=r"epsilon_root = 1e-08 with optimizer.beta2 = 0: .*raise beta2"):
        tiny_config(optimizer={"epsilon_root": 1e-8, "beta2": 0.0})


def test_a_state_of_another_network_is_refused():
    config = tiny_config().optimizer
    small, large = (make_optimizer(torch.nn.Linear(2, size), config, 0.0) for size in (1, 3))
    with pytest.raises(ValueError, match=r"moments: \(1, 2\), and here \(3, 2\)"):
        large.load(small.state())
    with pytest.raises(ValueError, match="shorter"):
        small.load({name: tensors[:1] for name, tensors in small.state().items()})


def test_a_worker_starts_without_pytorchs_compiler():
    """Its 880 modules took half of the time until the first step."""
    command = [sys.executable, "-c", FIRST_STEP]
    assert subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, timeout=300).returncode == 0
