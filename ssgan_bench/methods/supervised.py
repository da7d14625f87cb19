"""Supervised only: the discriminator's trunk with K logits, trained on the labels alone. The usual baseline."""

from typing import ClassVar, Literal

from torch import Tensor

from ssgan_bench.config import Kind, MethodConfig, RunConfig
from ssgan_bench.data.batches import RealBatch
from ssgan_bench.methods.base import Losses, NetworkMethod, build_discriminator
from ssgan_bench.objectives.supervised import cross_entropy_class_logits


class SupervisedConfig(MethodConfig):
    """Has no options of its own: regularization is set in network.dropout and optimizer.weight_decay."""

    name: Literal["supervised"] = "supervised"
    kind: ClassVar[Kind] = "supervised"


class Supervised(NetworkMethod):
    """minimize CE(D(x_labeled), y)."""

    config_type = SupervisedConfig
    uses_unlabeled = False

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        self.discriminator = build_discriminator(
            config.network, config.data.image_size, channels, num_logits=num_classes
        )
        self.generator = None

    def discriminator_losses(self, real: RealBatch, z: Tensor | None) -> Losses:
        _, logits = self.discriminator(real.images)
        return {"supervised_loss": cross_entropy_class_logits(logits, real.labels, real.labeled_mask)}

    def class_logits(self, logits: Tensor) -> Tensor:
        return logits
