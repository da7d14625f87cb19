"""How well class logits predict labels: error rate, negative log-likelihood, expected calibration error."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ssgan_bench.data.batches import images_at_once, scale_images


def predict(classify: Callable[[Tensor], Tensor], images: Tensor, image_size: int) -> Tensor:
    """Class logits (N, K) float32 on the CPU for images (N, C, h, w) uint8 on any device."""
    batches = torch.split(images, images_at_once(image_size))
    return torch.cat([classify(scale_images(batch, image_size)) for batch in batches]).float().cpu()


def classification_metrics(logits: Tensor, labels: Tensor) -> Iterator[tuple[str, float]]:
    """Yield (metric name, value) for class logits (N, K) and labels (N,) int64.

    Yields:
        error_rate: share of wrong predictions, in [0, 1].
        nll: mean negative log-likelihood of the label, in nats.
        ece: expected calibration error with 15 equally wide confidence bins, in [0, 1] (Guo et al. 2017).
    """
    logits, labels = logits.double(), labels.cpu()
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    correct = (predicted == labels).double()
    yield "error_rate", 1.0 - correct.mean().item()
    yield "nll", F.cross_entropy(logits, labels).item()
    yield "ece", expected_calibration_error(confidence, correct)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Count images by class: (K, K) int64, rows by label, columns by prediction; logits (N, K), labels (N,)."""
    num_classes, labels = logits.shape[1], labels.cpu()
    counts = torch.bincount(labels * num_classes + logits.argmax(dim=1), minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def wrong_predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (W,) in ascending order, predicted classes (W,) and their probabilities (W,) float64 of the errors."""
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    wrong = (predicted != labels.cpu()).nonzero()[:, 0]
    return wrong, predicted[wrong], confidence[wrong]


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over equally wide bins, weighted by their counts.

    Args:
        confidence: (N,) float64, probability of the predicted class.
        correct: (N,) float64 in {0, 1}.
        bins: number of bins over (0, 1].
    """
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, index, confidence - correct)
    return (gap.abs().sum() / len(confidence)).item()
