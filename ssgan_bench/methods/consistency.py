"""Consistency without a GAN: labels, and agreement with an averaged teacher on distorted unlabeled images.

    minimize  supervised_loss + consistency_weight * consistency_loss

The student's views pass the network in the same batch as the other real images, so batch norm sees them too.

Tarvainen & Valpola 2017 (arXiv:1703.01780) for the teacher, Sohn et al. 2020 (arXiv:2001.07685) for pseudo-labels with
a threshold. `ssgan` has the same term as an option.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ssgan_bench.config import Fraction, Frozen, Kind, MethodConfig, RunConfig, Weight
from ssgan_bench.data.batches import RealBatch
from ssgan_bench.methods.base import Losses, NetworkMethod, build_discriminator
from ssgan_bench.objectives.consistency import pseudo_label_cross_entropy
from ssgan_bench.objectives.supervised import cross_entropy_class_logits


class ConsistencyOptions(Frozen):
    """Options of the consistency term, for every method that has it."""

    consistency_weight: Weight = 1.0
    confidence_threshold: Fraction = 0.9
    """Probability from which on the teacher's class counts as a label."""
    student_augmentation: Annotated[float, Field(ge=0.0, le=5.0)] = 2.0
    """Strength of the distortion of the student's view (data/augment.py); the teacher's is train.augmentation."""

    @property
    def student_augmentation_in_use(self) -> float | None:
        """Strength of the student's views; None where the term has no weight."""
        return self.student_augmentation if self.consistency_weight > 0 else None


class ConsistencyConfig(ConsistencyOptions, MethodConfig):
    """Needs train.weight_average: the averaged weights are the teacher."""

    name: Literal["consistency"] = "consistency"
    kind: ClassVar[Kind] = "semi_supervised"


class Consistency(NetworkMethod):
    """Supervised loss and consistency loss on one network."""

    config_type = ConsistencyConfig
    uses_unlabeled = True

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        assert isinstance(config.method, ConsistencyConfig)
        self.options = config.method
        self.discriminator = build_discriminator(
            config.network, config.data.image_size, channels, num_logits=num_classes
        )
        self.generator = None

    def discriminator_losses(self, real: RealBatch, z: Tensor | None) -> Losses:
        _, logits = self.discriminator(real.images)
        losses = {"supervised_loss": cross_entropy_class_logits(logits, real.labels, real.labeled_mask)}
        return losses | consistency_losses(self, self.options, real, logits)

    def class_logits(self, logits: Tensor) -> Tensor:
        return logits


def consistency_losses(method: NetworkMethod, options: ConsistencyOptions, real: RealBatch, logits: Tensor) -> Losses:
    """Compute the weighted consistency term, or nothing where its weight is 0.

    Args:
        method: gives the teacher and says which logits are the classes'.
        options: weight and threshold.
        real: the batch; its student rows are distorted views of its unlabeled rows.
        logits: (B, K or K + 1) of all its rows by the student.
    """
    if options.consistency_weight == 0:
        return {}
    assert method.teacher is not None  # RunConfig demands averaged weights
    with torch.no_grad():
        _, teacher_logits = method.teacher(real.images[real.unlabeled])
    loss = pseudo_label_cross_entropy(
        method.class_logits(logits[real.student]),
        method.class_logits(teacher_logits),
        options.confidence_threshold,
    )
    return {"consistency_loss": options.consistency_weight * loss}
