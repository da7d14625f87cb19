"""A configuration and data so small that a training takes a fraction of a second.

Every image of the data is constant and its pixel value is its index, so that a batch tells what was drawn.
"""

import hashlib

import torch

import ssgan_bench.methods  # noqa: F401  (makes the methods known to RunConfig)
from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.splits import make_splits
from ssgan_bench.methods.base import Method
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import Trainer, train

NUM_IMAGES = 60
NUM_CLASSES = 3
DEFAULTS = {
    "data": {"num_labels": 10, "num_validation": 5, "num_test": 5},
    "network": {"width": 4, "latent_dim": 6},
    "method": {"preset": "article"},
    "optimizer": {"learning_rate": 1e-3},
    "train": {"epochs": 1, "batch_size": 8, "labeled_batch_size": 4, "evaluations": 2},
}
"""Of the 60 images 50 are for training: 6 steps per epoch."""


def tiny_config(**changes):
    """Merge e.g. train={"epochs": 2} into the defaults; `method` and seeds are replaced as a whole."""
    values = dict(DEFAULTS)
    for key, value in changes.items():
        values[key] = {**values[key], **value} if key in values and key != "method" else value
    if values["network"].get("family") == "mlp":  # whose sizes are fixed
        values["network"] = {"family": "mlp", "latent_dim": values["network"]["latent_dim"]}
    return RunConfig.model_validate(values)


def tiny_images():
    """(60, 1, 16, 16) uint8; image i has the value i everywhere."""
    return torch.arange(NUM_IMAGES, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 16, 16).clone()


def drawn(images):
    """Indices of the data that scaled images (B, C, H, W) were drawn from."""
    return images[:, 0, 0, 0].add(1).mul(127.5).round().int().tolist()


def tiny_labels():
    """(60,) int64, equally many of each class."""
    return torch.arange(NUM_IMAGES) % NUM_CLASSES


def tiny_splits(config):
    return make_splits(tiny_labels().numpy(), NUM_CLASSES, config.data, config.split_seed)


def tiny_batches(config, *, images=None, labels=None, device="cpu"):
    """Batches of the tiny data, or of other images or labels with the tiny data's index sets."""
    images = tiny_images() if images is None else images
    labels = tiny_labels() if labels is None else labels
    uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
    splits = tiny_splits(config)
    return Batches(images.to(device), labels.to(device), splits, config, uses_unlabeled=uses_unlabeled)


def textured_images():
    """(60, 1, 16, 16) uint8 noise, for tests in which batch norm should see some variance."""
    stream = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (NUM_IMAGES, 1, 16, 16), generator=stream, dtype=torch.uint8)


def tiny_trainer(config, **data):
    """Make a trainer in training mode."""
    make_deterministic(num_threads=1)
    trainer = Trainer(config, tiny_batches(config, **{"images": textured_images(), **data}), NUM_CLASSES)
    trainer.set_training(True)
    return trainer


def networks_of(trainer):
    """Discriminator, generator and averaged discriminator, where they exist."""
    networks = [trainer.method.discriminator, trainer.method.generator]
    networks += [trainer.average.network] if trainer.average else []
    return [network for network in networks if network is not None]


def weights_digest(trainer):
    """SHA-256 of all weights and running statistics, bit for bit."""
    hashed = hashlib.sha256()
    for network in networks_of(trainer):
        for name, tensor in sorted(network.state_dict().items()):
            hashed.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def train_tiny(config, *, evaluate=True, **data):
    """Train to the end; returns the losses of every snapshot, a digest of all weights, and what evaluation saw.

    Returns:
        ([{term: mean}], hex digest, [logits of all images at every snapshot])
    """
    make_deterministic(num_threads=1)
    batches = tiny_batches(config, **{"images": textured_images(), **data})
    losses, logits = [], []
    for snapshot in train(config, batches, NUM_CLASSES):
        losses.append(snapshot.losses)
        if evaluate:
            logits.append(snapshot.classify(batches.images.float() / 127.5 - 1))
            if snapshot.sample is not None:
                snapshot.sample(4)
    # The loop keeps its trainer to itself; the bound method is a way to it that changes nothing.
    return losses, weights_digest(snapshot.classify.__self__), logits
