"""Batches as a pure function of the step: uint8 images live on the device and are cut, scaled and resized there.

Shapes: B batch, C channels, H W. Two label protocols share one batch type:
fixed     - rows are labeled images (labeled_mask 1) followed by unlabeled ones
resampled - rows are any training images, all count as unlabeled, and a mask redrawn every step says which are labeled
            (the article's scheme, in which almost every label is used sooner or later)
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.data.augment import random_affine
from ssgan_bench.data.splits import Splits
from ssgan_bench.seeding import generator


@dataclass(frozen=True)
class RealBatch:
    """Real images of one step, all on one device."""

    images: Tensor
    """(B, C, H, W) float32 in [-1, 1]."""
    labels: Tensor
    """(B,) int64; only meaningful where labeled_mask is 1."""
    labeled_mask: Tensor
    """(B,) float32 in {0, 1}."""
    unlabeled: slice
    """The rows that count as unlabeled: what the real/fake and feature-matching losses see."""
    student: slice = field(default_factory=lambda: slice(0, 0))
    """The rows of strongly distorted views of the `unlabeled` images, in the same order; empty without consistency."""
    others: Tensor | None = None
    """(B, C, H, W) as `images`: unlabeled images of the generator's update; None where it sees the `unlabeled` rows."""

    @property
    def to_match(self) -> Tensor:
        """Real images of the generator's update, (B, C, H, W)."""
        return self.images[self.unlabeled] if self.others is None else self.others


def images_at_once(image_size: int) -> int:
    """How many images pass a network at once outside training: 500, and fewer above 32 pixels a side.

    500 images of 64 pixels would take the article's networks 0.8 GiB more than their training (LOG.md).
    """
    return min(500, 500 * 32**2 // image_size**2)


def scale_images(images: Tensor, image_size: int) -> Tensor:
    """Turn (B, C, h, w) uint8 into (B, C, image_size, image_size) float32 in [-1, 1], bilinearly (half-pixel centers).

    Shrinking averages over the covered area (antialiasing); the article's TensorFlow 1 resize uses corner-aligned
    sampling without half-pixel centers, which shifts images by under one pixel.
    """
    scaled = images.to(torch.float32).div_(127.5).sub_(1.0)
    height, width = images.shape[-2:]
    if (height, width) == (image_size, image_size):
        return scaled
    shrinks = image_size < max(height, width)
    return F.interpolate(scaled, size=(image_size, image_size), mode="bilinear", antialias=shrinks)


def _num_masked(config: RunConfig, splits: Splits) -> int:
    """Labels that the article's mask keeps of a batch: int(rate * B)."""
    rate = config.data.labeled_rate or splits.num_labels / splits.num_train
    if num_masked := int(rate * config.train.batch_size):
        return num_masked
    option = (
        "data.label_protocol = 'resampled'"
        if config.data.label_protocol == "resampled"
        else "train.labeled_batch_size = 'as_masked'"
    )
    raise ConfigError(
        f"{option}: a labeled rate of {rate:.4g} keeps no label in a batch of {config.train.batch_size}; raise the "
        "rate or train.batch_size, or use label_protocol 'fixed' with a number as labeled_batch_size"
    )


class Batches:
    """Draws the batch of any step; the order depends only on `config.model_seed` and the index sets."""

    def __init__(self, images: Tensor, labels: Tensor, splits: Splits, config: RunConfig, *, uses_unlabeled: bool):
        """Keep references to the data and check that the batches fit it.

        Args:
            images: (N, C, h, w) uint8 on the training device; the index sets in `splits` point into it.
            labels: (N,) int64 on the same device; entries outside `splits.labeled` are never read into a loss.
            splits: index sets of this run.
            config: the run's configuration.
            uses_unlabeled: False draws labeled images only (the supervised baseline).

        A batch that is larger than its set, the labeled one or an unlabeled one that was made small on purpose, repeats
        images, all equally often.

        Raises:
            ConfigError: the unlabeled batch is larger than all there is; the article's mask, or a labeled batch of that
                size, would keep no label.
        """
        self.images, self.labels = images, labels
        self.config = config
        self.uses_unlabeled = uses_unlabeled
        self._labeled = splits.labeled
        self._unlabeled = splits.unlabeled
        self._orders: dict[str, tuple[int, Tensor]] = {}
        batch_size = config.train.batch_size
        made_small = config.data.num_unlabeled is not None or config.data.foreign_share is not None
        if batch_size > len(splits.unlabeled) and not made_small:
            raise ConfigError(
                f"train.batch_size = {batch_size}: larger than the {len(splits.unlabeled)} unlabeled images of "
                f"{config.data.dataset}; use at most that"
            )
        self.steps_per_epoch = max(1, len(splits.unlabeled) // batch_size)
        """Full batches that the unlabeled set makes; one step is an epoch where it does not fill one."""
        self._resampled = config.data.label_protocol == "resampled"
        size = config.train.labeled_batch_size
        self._labels_per_batch = size if size != "as_masked" and not self._resampled else _num_masked(config, splits)
        self._counted_steps = 0
        self._is_used = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    @property
    def channels(self) -> int:
        """Number of image channels C."""
        return self.images.shape[1]

    @property
    def images_per_step(self) -> int:
        """Real images of one update of the discriminator, labeled and unlabeled."""
        if not self.uses_unlabeled:
            return self._labels_per_batch
        return self.config.train.batch_size + (0 if self._resampled else self._labels_per_batch)

    @property
    def set_sizes(self) -> tuple[int, int]:
        """Number of labeled images, and of unlabeled ones that are not among them (0 if the method uses none)."""
        return len(self._labeled), len(self._unlabeled_only())

    def whole_sets(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give all images of the run at once, each of them once, for a method without steps.

        Returns:
            labeled images (L, C, H, W), their labels (L,), and the unlabeled images that are not labeled as well
            (U, C, H, W), empty if the method uses none; images float32 in [-1, 1].
        """
        labeled, unlabeled = (
            torch.from_numpy(pool).to(self.images.device) for pool in (self._labeled, self._unlabeled_only())
        )
        return self._scaled(labeled), self.labels[labeled], self._scaled(unlabeled)

    def _unlabeled_only(self) -> np.ndarray:
        return np.setdiff1d(self._unlabeled, self._labeled) if self.uses_unlabeled else self._unlabeled[:0]

    def __call__(self, step: int) -> RealBatch:
        """Draw the batch of step `step` (from 0)."""
        return self._resampled_batch(step) if self._resampled else self._fixed_batch(step)

    def images_for_initialization(self, count: int = 500) -> Tensor:
        """Give up to `count` scaled images that this run may see, for data-dependent initialization."""
        pool = self._unlabeled if self.uses_unlabeled else self._labeled
        index = torch.from_numpy(pool).to(self.images.device)
        order = torch.randperm(len(index), generator=generator(self.config.model_seed, "init/images"))
        return self._scaled(index[order[:count].to(index.device)])

    def images_for_statistics(self, count: int = 1000) -> Tensor:
        """Give up to `count` scaled images that this run trains on, labeled or not, always the same, undistorted."""
        pool = np.union1d(self._labeled, self._unlabeled_only())
        order = torch.randperm(len(pool), generator=generator(self.config.model_seed, "statistics/images"))
        return self._scaled(torch.from_numpy(pool)[order[:count]].to(self.images.device))

    def labels_used(self, step: int) -> int:
        """Count the distinct images whose labels the first `step` steps (from 1) have used.

        The masks of the resampled protocol are drawn again for it, each once if `step` rises from call to call.
        """
        if not self._resampled:  # the cycle goes through the whole set before it repeats an image
            return min(step * self._labels_per_batch, len(self._labeled))
        if step < self._counted_steps:
            self._counted_steps = 0
            self._is_used.zero_()
        for done in range(self._counted_steps, step):
            self._is_used[self._masked_first(done)[: self._labels_per_batch]] = True
        self._counted_steps = step
        return int(self._is_used.sum())

    def _fixed_batch(self, step: int) -> RealBatch:
        size = self._labels_per_batch
        labeled = self._cycle("labeled", self._labeled, step * size, size)
        if not self.uses_unlabeled:
            return self._batch(step, labeled, labeled_rows=size, unlabeled_from=size)
        index = torch.cat([labeled, self._unlabeled_index(step)])
        return self._batch(step, index, labeled_rows=size, unlabeled_from=size)

    def _resampled_batch(self, step: int) -> RealBatch:
        index = self._masked_first(step)
        if not self.uses_unlabeled:
            index = index[: self._labels_per_batch]
        return self._batch(step, index, labeled_rows=self._labels_per_batch, unlabeled_from=0)

    def _masked_first(self, step: int) -> Tensor:
        """Indices of the step's images, those whose label the mask keeps first.

        Rows of a batch are exchangeable, and slices are cheaper than scattered masks.
        """
        index = self._unlabeled_index(step)
        order = torch.randperm(len(index), generator=generator(self.config.model_seed, "mask", step))
        return index[self._on_device(order)]

    def _unlabeled_index(self, step: int, name: str = "unlabeled") -> Tensor:
        """Indices of the step's unlabeled images; an epoch drops the last, incomplete batch unless it has no other.

        In the order of that name; two names are two orders of the same images.
        """
        size = self.config.train.batch_size
        if size > len(self._unlabeled):
            return self._cycle(name, self._unlabeled, step * size, size)
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._order(name, self._unlabeled, epoch)[position * size : (position + 1) * size]

    def _cycle(self, name: str, pool: np.ndarray, start: int, count: int) -> Tensor:
        """Entries start..start+count of the endless concatenation of shuffled copies of `pool`."""
        first, last = start // len(pool), (start + count - 1) // len(pool)
        copies = [self._order(name, pool, epoch) for epoch in range(first, last + 1)]
        offset = start - first * len(pool)
        return torch.cat(copies)[offset : offset + count]

    def _order(self, name: str, pool: np.ndarray, epoch: int) -> Tensor:
        """`pool` shuffled for one epoch, on the device; the latest order of each name is kept."""
        known_epoch, order = self._orders.get(name, (-1, torch.empty(0)))
        if known_epoch != epoch:
            shuffled = torch.randperm(len(pool), generator=generator(self.config.model_seed, name, epoch)).numpy()
            order = self._on_device(torch.from_numpy(pool[shuffled]))
            self._orders[name] = (epoch, order)
        return order

    def _on_device(self, index: Tensor) -> Tensor:
        """Bring indices to the images without waiting for a GPU."""
        device = self.images.device
        return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index

    def _batch(self, step: int, index: Tensor, *, labeled_rows: int, unlabeled_from: int) -> RealBatch:
        images, labels, count = self._scaled(index), self.labels[index], len(index)
        unlabeled, student = slice(unlabeled_from, count), slice(count, count)
        views = [self._distorted(images, "augment", self.config.train.augmentation, step)]
        strength = self.config.method.student_augmentation_in_use
        if strength is not None:
            views.append(self._distorted(images[unlabeled], "augment/student", strength, step))
            labels = torch.cat([labels, labels[unlabeled]])
            student = slice(count, len(labels))
        labeled_mask = torch.zeros(len(labels), device=images.device)
        labeled_mask[:labeled_rows] = 1.0
        return RealBatch(torch.cat(views), labels, labeled_mask, unlabeled, student, self._others(step))

    def _others(self, step: int) -> Tensor | None:
        if not self.config.method.generator_sees_other_images:
            return None
        images = self._scaled(self._unlabeled_index(step, "unlabeled/generator"))
        return self._distorted(images, "augment/generator", self.config.train.augmentation, step)

    def _distorted(self, images: Tensor, name: str, strength: float, step: int) -> Tensor:
        stream = generator(self.config.model_seed, name, step, images.device)
        return random_affine(images, strength, stream)

    def _scaled(self, index: Tensor) -> Tensor:
        return scale_images(self.images[index], self.config.data.image_size)
