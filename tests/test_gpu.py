"""What must also hold on a CUDA device; skipped where there is none."""

import pytest
import torch
from tiny_runs import (
    NUM_CLASSES,
    networks_of,
    textured_images,
    tiny_batches,
    tiny_config,
    tiny_labels,
    tiny_splits,
    tiny_trainer,
    train_tiny,
)

from ssgan_bench.evaluation.classification import classification_metrics, predict
from ssgan_bench.training.loop import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
METHODS = pytest.mark.parametrize(
    "method", [{"name": "supervised"}, {"preset": "article"}, {"preset": "improved_gan"}], ids=str
)


def test_batches_are_the_same_on_both_devices():
    config = tiny_config(data={"image_size": 32})
    on_cpu, on_gpu = (tiny_batches(config, images=textured_images(), device=device) for device in ("cpu", "cuda"))
    for step in range(8):
        expected, actual = on_cpu(step), on_gpu(step)
        assert actual.images.is_cuda
        torch.testing.assert_close(actual.images.cpu(), expected.images, atol=1e-6, rtol=0)
        assert torch.equal(actual.labels.cpu(), expected.labels)
        assert torch.equal(actual.labeled_mask.cpu(), expected.labeled_mask)


@METHODS
def test_training_starts_from_the_same_weights_on_both_devices(method):
    on_cpu, on_gpu = (tiny_trainer(tiny_config(method=method), device=device) for device in ("cpu", "cuda"))
    for expected, actual in zip(networks_of(on_cpu), networks_of(on_gpu), strict=True):
        for name, tensor in actual.state_dict().items():
            assert tensor.is_cuda
            assert torch.equal(tensor.cpu(), expected.state_dict()[name])


@METHODS
def test_the_same_seeds_give_the_same_bits_twice_on_the_device(method):
    config = tiny_config(method=method, train={"epochs": 2})
    first, second = (train_tiny(config, device="cuda", evaluate=evaluate) for evaluate in (True, False))
    assert first[:2] == second[:2]


def test_without_dropout_and_noise_both_devices_train_alike():
    config = tiny_config(method={"name": "supervised"}, network={"dropout": 0.0})
    (on_cpu, *_), (on_gpu, *_) = (train_tiny(config, device=device) for device in ("cpu", "cuda"))
    for expected, actual in zip(on_cpu, on_gpu, strict=True):
        assert actual == pytest.approx(expected, rel=1e-2)  # convolutions may use TF32


def test_labels_outside_the_labeled_set_are_never_read_on_the_device():
    config = tiny_config()
    garbage = torch.full_like(tiny_labels(), -1)
    labeled = torch.from_numpy(tiny_splits(config).labeled)
    garbage[labeled] = tiny_labels()[labeled]
    assert train_tiny(config, device="cuda")[:2] == train_tiny(config, device="cuda", labels=garbage)[:2]


GRAPH_METHODS = [
    {"name": "supervised"},
    {"preset": "article"},
    {"preset": "improved_gan", "reuse_real_features": True, "reuse_generated_images": True},
    {"preset": "improved_gan", "consistency_weight": 1.0},
    {"preset": "improved_gan", "generator_batch": "fresh"},
]
FULLY_CONNECTED = {"family": "mlp"}
GRAPH_RUNS = pytest.mark.parametrize(
    ("method", "network"),
    [
        *((method, {}) for method in GRAPH_METHODS),
        ({"preset": "improved_gan", "real_and_fake": "joint"}, FULLY_CONNECTED),
    ],
    ids=str,
)
AVERAGED = {"epochs": 3, "weight_average": 0.9}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@GRAPH_RUNS
def test_replayed_graph_trains_as_the_eager_steps_do(method, network, precision):
    train = {**AVERAGED, "precision": precision, "cuda_graph": True}
    config = tiny_config(method=method, network=network, optimizer={"decay_fraction": 0.5}, train=train)
    eager, graph = (tiny_trainer(config, device="cuda") for _ in range(2))
    recorder = eager._graph._recorder
    eager._graph = lambda update, real, z: recorder.run(lambda: update(real, z))  # the same optimizers, no replay
    for step in range(10):
        expected, found = eager.step(step), graph.step(step)
        for name, loss in expected.items():
            torch.testing.assert_close(found[name], loss, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(networks_of(graph), networks_of(eager), strict=True):
        for name, tensor in ours.state_dict().items():
            torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_run_continues_from_its_checkpoint_with_and_without_a_graph(cuda_graph, tmp_path):
    config = tiny_config(train={**AVERAGED, "cuda_graph": cuda_graph})
    first = tiny_trainer(config, device="cuda")
    for step in range(5):
        first.step(step)
    torch.save(first.state(), tmp_path / "state.pt")
    second = tiny_trainer(config, device="cuda")
    second.load(torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True))
    for step in range(5, 10):
        expected, found = first.step(step), second.step(step)
        for name, loss in expected.items():
            torch.testing.assert_close(found[name], loss, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("protocol", ["fixed", "resampled"])
@pytest.mark.parametrize("cuda_graph", [False, True])
@GRAPH_RUNS
def test_no_step_waits_for_the_device(method, network, cuda_graph, protocol):
    data = {"num_labels": 20, "label_protocol": protocol}
    config = tiny_config(method=method, network=network, data=data, train={**AVERAGED, "cuda_graph": cuda_graph})
    trainer = tiny_trainer(config, device="cuda")
    for step in range(5):
        trainer.step(step)
    try:
        torch.cuda.set_sync_debug_mode("error")
        for step in range(5, 15):  # over the end of an epoch
            trainer.step(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_evaluation_brings_logits_back_to_the_cpu():
    config = tiny_config()
    batches = tiny_batches(config, images=textured_images(), device="cuda")
    *_, final = train(config, batches, NUM_CLASSES)
    logits = predict(final.classify, batches.images, config.data.image_size)
    assert logits.device.type == "cpu"
    assert 0 <= dict(classification_metrics(logits, batches.labels))["error_rate"] <= 1
