"""What surrounds a CUDA graph: with a recording that runs on a CPU, training is bit for bit what it is without one."""

import pytest
import torch
from tiny_runs import networks_of, tiny_config, tiny_trainer

from ssgan_bench.training.step_graph import EAGER_STEPS, StepGraph

METHODS = [
    {"name": "supervised"},
    {"preset": "article"},
    {"preset": "improved_gan", "reuse_real_features": True},
    {"preset": "improved_gan", "consistency_weight": 1.0},
]
TRAIN = {"epochs": 2, "weight_average": 0.9}


class Recorder:
    """Stands for a graph: a replay runs the recorded step on the tensors it was recorded with, into the same losses."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, step):
        self.recorded += 1
        losses = {}

        def replay():
            self.replayed += 1
            for name, loss in step().items():
                losses.setdefault(name, torch.empty(())).copy_(loss)

        return replay, losses


def graphed(trainer):
    recorder = Recorder()
    trainer._update = StepGraph(trainer._update_networks, record=recorder)
    return recorder


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_replayed_steps_read_the_batch_z_seed_and_average_of_their_own_step(method):
    config = tiny_config(method=method, train=TRAIN, optimizer={"decay_fraction": 0.5})
    plain, fast = tiny_trainer(config), tiny_trainer(config)
    recorder = graphed(fast)
    history = [(plain.step(step), fast.step(step)) for step in range(8)]
    for expected, found in history:  # read at the end: a replay must not overwrite what an earlier one gave
        assert found.keys() == expected.keys()
        for name, loss in expected.items():
            assert torch.equal(found[name], loss)
    for ours, theirs in zip(networks_of(fast), networks_of(plain), strict=True):
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name
    assert (recorder.recorded, recorder.replayed) == (1, 8 - EAGER_STEPS)


def test_option_has_no_effect_on_a_cpu_and_leaves_the_digest_of_others_alone():
    config = tiny_config(train={"cuda_graph": True})
    assert not isinstance(tiny_trainer(config)._update, StepGraph)
    assert config.digest() != tiny_config().digest()
    assert "cuda_graph" not in tiny_config().model_dump()["train"]
