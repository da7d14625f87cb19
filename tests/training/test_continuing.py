"""Training that was stopped and continued from a saved state is the uninterrupted one, bit by bit."""

import io

import pytest
import torch
from tiny_runs import NUM_CLASSES, textured_images, tiny_batches, tiny_config, weights_digest

from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import train

CONFIGS = {
    "supervised": {"method": {"name": "supervised"}},
    "article": {"method": {"preset": "article"}},
    "consistency and averaging": {
        "method": {"preset": "improved_gan", "consistency_weight": 1.0},
        "train": {"epochs": 2, "evaluations": 4, "augmentation": 1.0, "weight_average": 0.9},
    },
    "fully connected": {
        "method": {"preset": "improved_gan"},
        "network": {"family": "mlp"},
        "train": {"epochs": 2, "evaluations": 4, "weight_average": 0.9},
    },
    "resampled labels": {"method": {"preset": "article"}, "data": {"label_protocol": "resampled"}},
}


def snapshots(config, state=None):
    """Step, losses and a classification at each snapshot, its saved state, and a digest of the weights after it."""
    make_deterministic(num_threads=1)
    batches = tiny_batches(config, images=textured_images())
    found = []
    for snapshot in train(config, batches, NUM_CLASSES, state):
        buffer = io.BytesIO()
        torch.save(snapshot.state(), buffer)
        logits = snapshot.classify(batches.images.float() / 127.5 - 1)
        weights = weights_digest(snapshot.classify.__self__)
        found.append(((snapshot.step, snapshot.losses, logits.tolist(), weights), buffer.getvalue()))
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_a_continued_training_is_the_uninterrupted_one(name):
    config = tiny_config(**{"train": {"epochs": 2, "evaluations": 4}, **CONFIGS[name]})
    whole = snapshots(config)
    assert len(whole) == 4
    for stop in (1, 3):
        torch.rand(5)  # another process has another global generator
        state = torch.load(io.BytesIO(whole[stop - 1][1]), weights_only=True)
        rest = snapshots(config, state)
        assert [result for result, _ in rest] == [result for result, _ in whole[stop:]]


def test_nothing_follows_the_final_snapshot():
    config = tiny_config()
    state = torch.load(io.BytesIO(snapshots(config)[-1][1]), weights_only=True)
    assert snapshots(config, state) == []


def test_seconds_are_those_of_all_parts():
    config = tiny_config(train={"epochs": 2, "evaluations": 2})
    batches = tiny_batches(config, images=textured_images())
    first = next(train(config, batches, NUM_CLASSES))
    (last,) = train(config, batches, NUM_CLASSES, first.state())
    assert last.seconds["warmup"] == first.seconds["warmup"]
    assert all(last.seconds[part] > first.seconds[part] for part in ("setup", "train"))


def test_the_state_of_another_configuration_is_refused():
    state = torch.load(io.BytesIO(snapshots(tiny_config())[0][1]), weights_only=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        snapshots(tiny_config(method={"name": "supervised"}), state)
