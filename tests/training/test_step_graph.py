"""What surrounds a CUDA graph: with a recording that runs on a CPU, training is bit for bit what it is without one."""

import copy
import gc
import weakref

import pytest
import torch
from tiny_runs import networks_of, tiny_config, tiny_trainer

from ssgan_bench.training.optimizer import make_optimizer
from ssgan_bench.training.step_graph import EAGER_STEPS, CudaRecorder, StepGraph

METHODS = [
    {"name": "supervised"},
    {"preset": "article"},
    {"preset": "improved_gan", "reuse_real_features": True, "reuse_generated_images": True},
    {"preset": "improved_gan", "consistency_weight": 1.0},
    {"preset": "improved_gan", "generator_batch": "fresh"},
]
TRAIN = {"epochs": 2, "weight_average": 0.9}


class Recorder:
    """Stands for CUDA's: a replay runs the recorded step on the tensors it was recorded with, into the same losses."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def run(self, step):
        return step()

    def record(self, step):
        self.recorded += 1
        losses = {}

        def replay():
            self.replayed += 1
            for name, loss in step().items():
                losses.setdefault(name, torch.empty(())).copy_(loss)

        return replay, losses


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_replayed_steps_read_the_batch_z_seed_and_average_of_their_own_step(method):
    config = tiny_config(method=method, train=TRAIN, optimizer={"decay_fraction": 0.5})
    plain, fast = tiny_trainer(config), tiny_trainer(config)
    recorder = Recorder()
    fast._graph = StepGraph(recorder)
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
    assert tiny_trainer(config)._graph is None
    assert config.digest() != tiny_config().digest()
    assert "cuda_graph" not in tiny_config().model_dump()["train"]


def test_what_a_graph_reads_and_writes_of_an_optimizer_stays_where_it_is():
    """The recorded kernels hold the addresses."""
    network = torch.nn.Linear(2, 1)
    optimizer, other = (
        make_optimizer(network, tiny_config().optimizer, 0.0, in_graph=in_graph) for in_graph in (True, False)
    )
    network(torch.ones(1, 2)).sum().backward()
    other.step()
    tensors = [optimizer.rate, *(tensor for kind in optimizer.state().values() for tensor in kind)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    optimizer.set_rate(0.25)
    optimizer.load(copy.deepcopy(other.state()))  # saved without a graph
    optimizer.step()
    assert optimizer.rate.item() == 0.25
    assert [steps.item() for steps in optimizer.state()["steps"]] == [2.0, 2.0]
    now = [optimizer.rate, *(tensor for kind in optimizer.state().values() for tensor in kind)]
    assert [tensor.data_ptr() for tensor in now] == addresses


def test_a_trainer_is_freed_with_its_last_name():
    """Networks, optimizers and a graph of the run before must not stay beside those of the next."""
    trainer = tiny_trainer(tiny_config(train=TRAIN))
    for step in range(2):
        trainer.step(step)
    seen = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert seen() is None
    finally:
        gc.enable()


def test_no_two_living_recorders_share_a_stream_and_a_stream_is_used_again(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    device = torch.device("cuda", 7)
    first, second = CudaRecorder(device), CudaRecorder(device)
    of_first, of_second = first._stream, second._stream
    assert of_first is not of_second
    del first
    third, fourth = CudaRecorder(device), CudaRecorder(device)
    assert third._stream is of_first
    assert len({id(stream) for stream in (of_first, of_second, fourth._stream)}) == 3
