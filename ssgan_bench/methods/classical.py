"""The kind of method that is fitted once: no network, no steps, no randomness; pixels in, probabilities out.

These are the yardsticks: what somebody with few labels would try first, because it takes no training of a network. They
see the same index sets as every other method, and the same scaled images, each flattened to a row of pixels; images of
more than 32 pixels a side are shrunk to that first, which changes distances between them little and the time much.
They run on the CPU whatever the training device, with `train.num_threads` threads. Options of networks, optimizer and
training steps do not concern them, nor do `data.unlabeled_includes_labeled` (every image counts once) and `model_seed`.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.methods.base import Method

Array: TypeAlias = NDArray[np.float64]

LARGEST_SIDE = 32
"""Side in pixels that larger images are shrunk to."""
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Smaller probabilities count as this one (1.2e-7), so that the negative log-likelihood of a class that a method rules
out is 16 nats, not infinity."""
MOST_MULTIPLICATIONS = 5e12
"""Of one fit; the graph of MNIST's 55,000 images and what is done on it are 3.9e12, which took 65 to 90 s of a busy
core. Ten minutes are the limit."""
MOST_MEMORY_MIB = 4096.0
"""Of the rows of pixels in one fit."""


class Work(NamedTuple):
    """Multiplications that a method needs, roughly: what its time grows with."""

    fit: float
    per_image: float
    """To classify one image."""
    iterations: float = 1.0
    """Repetitions that `fit` assumes, for images like those of the data sets."""
    shared: float = 0.0
    """Of a fit besides `fit`: what the next run on the same images takes over."""


class Fitted(NamedTuple):
    """A fitted classifier."""

    classify: Callable[[Tensor], Tensor]
    """Images (B, C, H, W) -> logits (B, K): log-probabilities, none below that of `SMALLEST_PROBABILITY`; of an image
    that no label reached, all equal."""
    reached: Callable[[Tensor], Tensor] | None
    """Images (B, C, H, W) -> whether any label reached the image, (B,) bool; None where labels reach every image."""


class Spent(NamedTuple):
    """What a piece of work cost."""

    seconds: float = 0.0
    """Wall-clock."""
    cpu_seconds: float = 0.0
    """Of all threads of the process."""


class ClassicalMethod(Method):
    """A classifier fitted once to rows of pixels P. Labels are (n,) int64 in [0, K)."""

    may_miss_images: ClassVar[bool] = False
    """Whether there may be images that no label reaches."""
    iterations = 1
    """Repetitions that the last fit took, where `Work.iterations` counts them."""
    taken_over = Spent()
    """What it cost to make what the last fit took over from an earlier one in this process."""

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        self.config = config
        self.chosen: dict[str, float] = {}
        """Options that the last fit chose itself."""
        self.num_threads = config.train.num_threads
        self.num_classes = num_classes

    @abstractmethod
    def fit_rows(self, labeled: Array, labels: NDArray[np.int64], unlabeled: Array) -> Callable[[Array], Array]:
        """Fit to rows (n, P), their labels (n,) and unlabeled rows (u, P); return rows (B, P) -> probabilities (B, K).

        Probabilities of an image that no label reached are NaN.

        Raises:
            RuntimeError: the fit did not converge.
        """

    @classmethod
    @abstractmethod
    def work(cls, num_labeled: int, num_unlabeled: int, pixels: int) -> Work:
        """Estimate the work of a fit to that many rows of that many pixels."""

    @classmethod
    def check(cls, config: RunConfig, batches: Batches) -> None:
        """Refuse the resampled protocol, which redraws labels for every batch, and what takes too long or too much."""
        name = config.method.name
        if config.data.label_protocol == "resampled":
            raise ConfigError(
                f"data.label_protocol = 'resampled': {name} sees no batches whose labels could be redrawn; use "
                "'fixed', or leave the arm out"
            )
        num_labeled, num_unlabeled = batches.set_sizes
        pixels = pixels_of(config, batches.channels)
        mib, work = rows_mib(num_labeled + num_unlabeled, pixels), cls.work(num_labeled, num_unlabeled, pixels)
        limits = (
            (mib, MOST_MEMORY_MIB, "{:.0f} MiB of memory"),
            (work.fit + work.shared, MOST_MULTIPLICATIONS, "{:.2g} multiplications (ten minutes)"),
        )
        for needed, limit, text in limits:
            if needed > limit:
                remedy = "lower data.num_unlabeled or data.image_size" if num_unlabeled else "lower the label budget"
                raise ConfigError(
                    f"method.name = {name!r}: {num_labeled + num_unlabeled} images of {pixels} pixels need "
                    f"{text.format(needed)}, and the limit is {text.format(limit)}; {remedy}, or leave the arm out"
                )

    def fit(self, labeled: Tensor, labels: Tensor, unlabeled: Tensor) -> Fitted:
        """Fit to images (n, C, H, W) float in [-1, 1], labels (n,) and unlabeled images (u, C, H, W).

        Raises:
            RuntimeError: the fit did not converge.
        """
        with threadpool_limits(self.num_threads):
            predict_rows = self.fit_rows(to_rows(labeled), labels.cpu().numpy(), to_rows(unlabeled))

        def predict(images: Tensor) -> Tensor:
            with threadpool_limits(self.num_threads):
                return torch.from_numpy(predict_rows(to_rows(images))).to(images.device)

        def classify(images: Tensor) -> Tensor:
            probabilities = predict(images).nan_to_num(1 / self.num_classes)  # every class is as likely
            return probabilities.clamp_min(SMALLEST_PROBABILITY).log().float()

        def reached(images: Tensor) -> Tensor:
            return ~predict(images).isnan().any(dim=1)

        return Fitted(classify, reached if self.may_miss_images else None)


def pixels_of(config: RunConfig, channels: int) -> int:
    """Length P of a row."""
    return channels * min(config.data.image_size, LARGEST_SIDE) ** 2


def rows_mib(num_images: int, pixels: int) -> float:
    """Memory for rows of pixels: float64, and once more while they are put together."""
    return num_images * pixels * 8 * 2 / 2**20


def to_rows(images: Tensor) -> Array:
    """Flatten images (B, C, H, W) to rows (B, P), shrunk to 32 pixels a side where they are larger."""
    if images.shape[-1] > LARGEST_SIDE:
        images = F.interpolate(images, size=(LARGEST_SIDE, LARGEST_SIDE), mode="bilinear", antialias=True)
    rows: Array = images.flatten(1).cpu().double().numpy()
    return rows


def over_all_classes(probabilities: Array, classes: NDArray[np.int64], num_classes: int) -> Array:
    """Extend probabilities (B, len(classes)) of the classes that were seen to (B, K); the others get zero."""
    extended = np.zeros((len(probabilities), num_classes))
    extended[:, classes] = probabilities
    return extended
