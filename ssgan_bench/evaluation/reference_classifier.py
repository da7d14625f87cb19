"""The yardstick of sample quality: a small classifier trained on all labels of a data set; its features are compared.

It sees the label of every training image and no test image. Only a folder without test/ gives
it all its images: which of them are a run's test images depends on the run's `split_seed`, and distances compare
between seeds only in one feature space. It measures samples and nothing else; no run is trained, selected or scored
with it.
"""

import hashlib
import io
import pickle
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssgan_bench.data.batches import scale_images
from ssgan_bench.data.pinning import tensor_digests

NUM_FEATURES = 64
EPOCHS = 20
MIN_STEPS, MAX_STEPS = 300, 1200
"""Bounds of the number of steps whatever the size of the data set: seconds for digits, under a minute for MNIST."""
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
LEAKY_SLOPE = 0.2
"""Not zero: features that are zero for every image would be dimensions without any information."""
SEED = 1
RECIPE = 1
"""Version of network and training, for the names of files: weights of an older recipe are not taken for this one's."""

# What reading damaged files raises in PyTorch, zipfile and pickle.
_READ_ERRORS = (
    OSError,
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
)


class DamagedError(ValueError):
    """Stored weights cannot be read, or are not those that were stored."""


class _Network(nn.Module):
    """Three strided convolutions and a dense layer."""

    feature_scale: Tensor

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 64, kernel_size=3, stride=2, padding=1)
        self.dense = nn.Linear(64 * 4, NUM_FEATURES)
        self.head = nn.Linear(NUM_FEATURES, num_classes)
        self.register_buffer("feature_scale", torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations (B, D) of images (B, C, H, W) in [-1, 1]."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.leaky_relu(conv(x), LEAKY_SLOPE)
        return F.leaky_relu(self.dense(F.adaptive_avg_pool2d(x, 2).flatten(1)), LEAKY_SLOPE)


class ReferenceClassifier:
    """A trained network, by name and digest; read-only."""

    def __init__(self, network: _Network):
        self._network = network.eval().requires_grad_(False)
        self.digest = _digest(network.state_dict())
        """SHA-256 (hex) of the weights."""

    def to(self, device: torch.device) -> "ReferenceClassifier":
        """Move the network to a device."""
        self._network.to(device)
        return self

    @torch.no_grad()
    def __call__(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute features and predicted classes.

        Args:
            batches: images (B, C, H, W) in [-1, 1] on the network's device.

        Returns:
            Features (N, D) float64, scaled such that |x|^2 / D averages 1 over the training images, and classes (N,)
            int64; both on the CPU.
        """
        all_features, all_classes = [], []
        for images in batches:
            features = self._network.features(images)
            all_features.append((features * self._network.feature_scale).double().cpu())
            all_classes.append(self._network.head(features).argmax(dim=1).cpu())
        return torch.cat(all_features), torch.cat(all_classes)

    def to_bytes(self) -> bytes:
        """Write weights and digest as a file's content."""
        state = {name: tensor.cpu() for name, tensor in self._network.state_dict().items()}
        buffer = io.BytesIO()
        torch.save({"digest": self.digest, "state": state}, buffer)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(content: bytes) -> "ReferenceClassifier":
        """Read what `to_bytes` wrote.

        Raises:
            DamagedError: it is something else, or the weights do not have the stored digest.
        """
        try:
            stored = torch.load(io.BytesIO(content), weights_only=True)
            digest, state = stored["digest"], stored["state"]
            with torch.device("meta"):  # no default initialization: it would read the global generator
                network = _Network(state["conv1.weight"].shape[1], len(state["head.bias"]))
            network.load_state_dict(state, assign=True)
        except _READ_ERRORS as error:
            raise DamagedError(f"not the weights of a reference classifier ({type(error).__name__})") from error
        classifier = ReferenceClassifier(network)
        if classifier.digest != digest:
            raise DamagedError(f"weights have SHA-256 {classifier.digest[:12]}..., expected {str(digest)[:12]}...")
        return classifier


def _digest(state: dict[str, Tensor]) -> str:
    digests = tensor_digests({name: tensor.cpu() for name, tensor in state.items()})
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()


def train_reference(images: Tensor, labels: Tensor, num_classes: int, image_size: int) -> ReferenceClassifier:
    """Train on all images given: Adam, `EPOCHS` epochs within the bounds above, learning rate falling linearly to zero.

    Deterministic: one thread of the CPU and a seed of its own; the global generators are neither read nor changed.
    Other processors and PyTorch versions may give other weights, which the digest in every record shows.

    Args:
        images: (N, C, h, w) uint8 on the CPU.
        labels: (N,) int64 in [0, K).
        num_classes: K.
        image_size: side in pixels that images are scaled to.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad():
            network = _train(images, labels, num_classes, image_size)
    finally:
        torch.set_num_threads(threads)
    return ReferenceClassifier(network)


def _train(images: Tensor, labels: Tensor, num_classes: int, image_size: int) -> _Network:
    stream = torch.Generator().manual_seed(SEED)
    with torch.device("meta"):
        network = _Network(images.shape[1], num_classes)
    network.to_empty(device="cpu")
    for layer in network.children():
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert layer.bias is not None
        nn.init.kaiming_normal_(layer.weight, LEAKY_SLOPE, generator=stream)
        nn.init.zeros_(layer.bias)
    nn.init.ones_(network.feature_scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    order = torch.empty(0, dtype=torch.int64)
    steps = min(max(EPOCHS * len(images) // BATCH_SIZE, MIN_STEPS), MAX_STEPS)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        while len(order) < BATCH_SIZE:
            order = torch.cat([order, torch.randperm(len(images), generator=stream)])
        index, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        logits = network.head(network.features(scale_images(images[index], image_size)))
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[index]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        sample = torch.randperm(len(images), generator=stream)[:2000]
        squares = network.features(scale_images(images[sample], image_size)).square().mean()
        network.feature_scale.copy_(squares.rsqrt())
    return network
