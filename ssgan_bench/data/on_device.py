"""A loaded data set on the training device, and what one run reads of it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ssgan_bench.config import DataConfig, RunConfig
from ssgan_bench.data.datasets import ImageData
from ssgan_bench.data.splits import Splits, make_splits, renumber


@dataclass(frozen=True)
class DeviceData:
    """A data set on the training device; extra unlabeled images follow the labeled training images."""

    images: Tensor
    """(N + E, C, h, w) uint8."""
    labels: Tensor
    """(N + E,) int64, foreign classes from num_classes on; 0 for the E images without a label, which no loss reads."""
    test_images: Tensor | None
    test_labels: Tensor | None
    num_labeled_images: int
    """N."""
    num_classes: int
    """Classes that are told apart."""
    sha256: str

    @classmethod
    def from_images(cls, data: ImageData, device: torch.device) -> "DeviceData":
        """Copy a loaded data set to the device."""
        images, labels = data.train_images, data.train_labels
        if data.unlabeled_images is not None:
            images = torch.cat([images, data.unlabeled_images])
            labels = torch.cat([labels, labels.new_zeros(len(data.unlabeled_images))])
        return cls(
            images=images.to(device),
            labels=labels.to(device),
            test_images=None if data.test_images is None else data.test_images.to(device),
            test_labels=None if data.test_labels is None else data.test_labels.to(device),
            num_labeled_images=len(data.train_images),
            num_classes=len(data.class_names),
            sha256=data.sha256,
        )

    def told_apart(self, config: DataConfig) -> "DeviceData":
        """The same images with the labels that `config.classes` asks for."""
        if config.classes is None:
            return self
        table = torch.from_numpy(renumber(config.classes, self.num_classes, config.dataset)).to(self.labels.device)
        return replace(
            self,
            labels=table[self.labels],
            test_labels=None if self.test_labels is None else table[self.test_labels],
            num_classes=len(config.classes),
        )

    def splits(self, config: RunConfig) -> Splits:
        """Derive the index sets of one run; `told_apart` must have been asked for its classes before."""
        return make_splits(
            self.labels[: self.num_labeled_images].cpu().numpy(),
            self.num_classes,
            config.data,
            config.split_seed,
            num_extra_unlabeled=len(self.images) - self.num_labeled_images,
            official_test_labels=None if self.test_labels is None else self.test_labels.cpu().numpy(),
        )

    def test_set(self, splits: Splits) -> tuple[Tensor, Tensor]:
        """Images and labels that `splits.test` points to."""
        if self.test_images is not None and self.test_labels is not None:
            index = torch.from_numpy(splits.test).to(self.test_images.device)
            return self.test_images[index], self.test_labels[index]
        return self._subset(splits.test)

    def validation_set(self, splits: Splits) -> tuple[Tensor, Tensor]:
        """Images and labels that `splits.validation` points to."""
        return self._subset(splits.validation)

    def labeled_set(self, splits: Splits, every: int) -> tuple[Tensor, Tensor]:
        """Images and labels that each `every`-th of `splits.labeled` points to, from the first on."""
        return self._subset(splits.labeled[::every])

    def evaluated_set(self, splits: Splits, config: DataConfig) -> tuple[Tensor, Tensor]:
        """Images and labels that the final metrics are of: the test set, or the validation set while choosing."""
        return self.validation_set(splits) if config.evaluation_set == "validation" else self.test_set(splits)

    def images_outside(self, splits: Splits, config: DataConfig) -> Tensor:
        """All real images with a label that are not evaluated and no test images, for the floor of sample quality."""
        index = np.arange(self.num_labeled_images)
        if self.test_images is None:
            index = np.setdiff1d(index, splits.test)
        if config.evaluation_set == "validation":
            index = np.setdiff1d(index, splits.validation)
        return self.images[torch.from_numpy(index).to(self.images.device)]

    def _subset(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        on_device = torch.from_numpy(index).to(self.images.device)
        return self.images[on_device], self.labels[on_device]
