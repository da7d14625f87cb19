"""Measure generated images against real ones, in the features of the data set's reference classifier.

The classifier is trained once, by the coordinator, and kept in the run folder; workers get its bytes. The real side is
the images that the run is evaluated on; the floor is measured on other real images, as many as are generated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssgan_bench.config import ConfigError, DataConfig, RunConfig
from ssgan_bench.data.batches import images_at_once, scale_images
from ssgan_bench.data.datasets import load
from ssgan_bench.evaluation.reference_classifier import RECIPE, DamagedError, ReferenceClassifier, train_reference
from ssgan_bench.evaluation.sample_distances import (
    class_histogram_distance,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from ssgan_bench.records.schema import SampleDistances, SampleQuality, StudyPlan
from ssgan_bench.records.store import RecordStore, write_atomically
from ssgan_bench.seeding import numpy_generator

MAX_IMAGES = 2000
"""Generated and real images of one measurement; distances compare only at equal numbers."""
MIN_IMAGES = 100
"""Fewer say more about chance than about a generator: covariances of 64 features need more than that already."""


def reference_path(folder: Path, data: DataConfig, dataset_sha256: str) -> Path:
    """Name the file of a reference classifier by all that decides its weights, but machine and PyTorch version."""
    name = f"{_short_name(data)}_{data.image_size}px_{dataset_sha256[:16]}_recipe{RECIPE}.pt"
    return folder / "reference" / name


def _short_name(data: DataConfig) -> str:
    return data.dataset.partition(":")[0]  # of folder:PATH the path is nobody's business


def _full_name(data: DataConfig, classifier: ReferenceClassifier) -> str:
    return f"{_short_name(data)}_{classifier.digest[:8]}"


def prepare_references(
    plan: StudyPlan, data_root: Path, store: RecordStore, say: Callable[[str], None]
) -> dict[tuple[str, int], bytes]:
    """Train the reference classifiers that the run folder lacks, or has damaged; only the coordinator calls this.

    Args:
        plan: its cells say which data sets at which image sizes.
        data_root: where the data sets lie.
        store: the run folder, with records of earlier runs.
        say: told before a training, which takes seconds to a minute.

    Returns:
        The classifiers by data set and image size, for `SampleMeter.load`.

    Raises:
        ConfigError: earlier runs were measured with a classifier that is gone.
    """
    configs = [RunConfig.model_validate(cell.config).data for cell in plan.cells]
    known, found = set(), {}
    for data in {(data.dataset, data.image_size): data for data in configs}.values():
        images = load(data.dataset, data_root, image_size=data.image_size)
        path = reference_path(store.folder, data, images.sha256)
        try:
            classifier = ReferenceClassifier.from_bytes(path.read_bytes())
        except (FileNotFoundError, DamagedError):
            say(f"  training the reference classifier of {data.dataset}, for sample quality ...")
            classifier = train_reference(
                images.train_images, images.train_labels, len(images.class_names), data.image_size
            )
            write_atomically(path, classifier.to_bytes())
        found[data.dataset, data.image_size] = path.read_bytes()
        known.add(_full_name(data, classifier))
    for record in store.records():
        if record.sample_quality and (name := record.sample_quality.reference_classifier) not in known:
            raise ConfigError(
                f"{store.folder}: its samples were measured with the reference classifier {name}, which is gone, and "
                f"training it again gave {', '.join(sorted(known))} (another processor or PyTorch version); distances "
                "of two classifiers do not compare: use --out DIR to keep both, or --fresh to set the old runs aside"
            )
    return found


def refuse_too_few_images(data: DataConfig, num_evaluated: int, num_others: int) -> None:
    """Refuse to measure samples with fewer than `MIN_IMAGES` real images.

    Raises:
        ConfigError: there are fewer images to evaluate on, or fewer others.
    """
    if min(num_evaluated, num_others) < MIN_IMAGES:
        raise ConfigError(
            f"sample_quality = true: {data.dataset} has {num_evaluated} {data.evaluation_set} images and {num_others} "
            f"others with a label; needs {MIN_IMAGES} of each: drop sample_quality from the preset, or raise "
            f"data.num_{data.evaluation_set} where that is possible"
        )


@dataclass(frozen=True, eq=False)
class RealImages:
    """The real side of a measurement; N is `num_images`."""

    num_images: int
    features: Tensor
    """(N, D) float64, of test images."""
    labels: Tensor
    """(M,) int64, of all test images: what classes should be as frequent as."""
    reference_error_rate: float
    floor: SampleDistances


class SampleMeter:
    """Measures generators of one data set in one process, keeping the real features of every split."""

    def __init__(self, classifier: ReferenceClassifier, name: str, image_size: int):
        self._classifier, self._name, self._image_size = classifier, name, image_size
        self._real: dict[tuple[int, int], RealImages] = {}

    @staticmethod
    def load(content: bytes, data: DataConfig, device: torch.device) -> "SampleMeter":
        """Read a reference classifier as `prepare_references` gives it.

        Raises:
            DamagedError: it is damaged.
        """
        classifier = ReferenceClassifier.from_bytes(content)
        return SampleMeter(classifier.to(device), _full_name(data, classifier), data.image_size)

    def real_images(self, split_seed: int, test_images: Tensor, test_labels: Tensor, others: Tensor) -> RealImages:
        """Compute, the first time for this split seed, what generated images are compared with.

        Args:
            split_seed: decides the test set, and which images are drawn where there are more than `MAX_IMAGES`.
            test_images: (M, C, h, w) uint8 on the device.
            test_labels: (M,) int64.
            others: (O, C, h, w) uint8, real images that are no test images.
        """
        key = (split_seed, len(test_images))
        if key not in self._real:
            count = min(len(test_images), len(others), MAX_IMAGES)
            rng = numpy_generator(split_seed, "sample_quality/real")
            chosen, drawn = (
                torch.from_numpy(rng.permutation(len(images))[:count]).to(images.device)
                for images in (test_images, others)
            )
            features, classes = self._classifier(self._scaled(test_images[chosen]))
            other_features, other_classes = self._classifier(self._scaled(others[drawn]))
            labels = test_labels.cpu()
            self._real[key] = RealImages(
                num_images=count,
                features=features,
                labels=labels,
                reference_error_rate=(classes != labels[chosen.cpu()]).double().mean().item(),
                floor=_distances(features, labels, other_features, other_classes),
            )
        return self._real[key]

    def measure(self, sample: Callable[[int], Tensor], real: RealImages) -> SampleQuality | None:
        """Compare generated images with real ones.

        Args:
            sample: n -> (n, C, H, W) in [-1, 1] on the device.
            real: the real side.

        Returns:
            None where the generator draws NaN: broken by its last update, it has no quality.
        """
        images = sample(real.num_images)
        if not torch.isfinite(images).all():
            return None
        features, classes = self._classifier(torch.split(images, images_at_once(self._image_size)))
        return SampleQuality(
            reference_classifier=self._name,
            reference_error_rate=real.reference_error_rate,
            num_images=real.num_images,
            generated=_distances(real.features, real.labels, features, classes),
            floor=real.floor,
        )

    def _scaled(self, images: Tensor) -> Iterator[Tensor]:
        batches = torch.split(images, images_at_once(self._image_size))
        return (scale_images(batch, self._image_size) for batch in batches)


def _distances(features: Tensor, labels: Tensor, other_features: Tensor, other_classes: Tensor) -> SampleDistances:
    """All distances of one set of images (features (N, D), predicted classes (N,)) from the real side."""
    precision, recall = precision_recall(features, other_features)
    num_classes = int(max(labels.max(), other_classes.max())) + 1
    return SampleDistances(
        frechet=frechet_distance(features, other_features),
        kernel=kernel_distance(features, other_features),
        precision=precision,
        recall=recall,
        class_tv=class_histogram_distance(labels, other_classes, num_classes),
    )
