"""Semi-supervised GAN: the discriminator classifies labeled images and tells real from generated ones.

    D minimizes  supervised_loss + real_fake_weight * (real_loss + fake_loss) + consistency_weight * consistency_loss
    G minimizes  adversarial_weight * adversarial_loss + feature_matching_weight * feature_matching_loss

Preset `article` is the article's system (K+1 logits with the R/F neuron first; article.md). Preset `improved_gan`
is Salimans et al. 2016, arXiv:1606.03498 (K logits, D = Z/(Z+1), feature matching only).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ssgan_bench.config import Kind, MethodConfig, RunConfig, Weight, since_default
from ssgan_bench.data.batches import RealBatch
from ssgan_bench.methods.base import Losses, NetworkMethod, build_discriminator, build_generator
from ssgan_bench.methods.consistency import ConsistencyOptions, consistency_losses
from ssgan_bench.networks.batch_statistics import running_statistics_kept
from ssgan_bench.networks.layers import ShiftBatchNorm
from ssgan_bench.objectives.feature_matching import feature_matching_l1, feature_matching_l2
from ssgan_bench.objectives.real_fake import (
    adversarial_loss,
    fake_loss,
    real_logit_fake_neuron,
    real_logit_logsumexp,
    real_logit_softmax,
    real_loss,
)
from ssgan_bench.objectives.supervised import (
    class_logits_fake_neuron,
    cross_entropy_class_logits,
    cross_entropy_fake_neuron,
)

Outputs = tuple[Tensor, Tensor]
"""Features (B, D) and logits (B, K or K + 1)."""

REAL_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "fake_neuron": real_logit_fake_neuron,
    "softmax": real_logit_softmax,
    "logsumexp": real_logit_logsumexp,
}
"""By head."""


class SsganConfig(ConsistencyOptions, MethodConfig):
    """Which losses, with which weights."""

    name: Literal["ssgan"] = "ssgan"
    kind: ClassVar[Kind] = "semi_supervised"
    has_generator: ClassVar[bool] = True
    head: Literal["fake_neuron", "softmax", "logsumexp"] = "fake_neuron"
    """fake_neuron: K+1 logits, the sigmoid of number 0 says fake; softmax: K+1 logits, number 0 of their softmax does;
    logsumexp: K logits, D = Z/(Z+1) with Z = sum exp."""
    real_and_fake: Literal["separate", "joint"] = "separate"
    """Whether the discriminator sees real and generated images in two batches, as in the article, or in one; it matters
    to batch norm alone. Under train.evaluation_statistics = "real" a shared batch moves no running statistics; where a
    consistency loss's teacher needs them, the real images pass once more by themselves."""
    real_fake_weight: Weight = 1.0
    adversarial_weight: Weight = 1.0
    feature_matching: Literal["off", "l2", "l1"] = "l2"
    feature_matching_weight: Weight = 1.0
    feature_matching_reduction: Literal["mean", "sum"] = "mean"
    """Over the D features."""
    consistency_weight: Weight = 0.0
    generator_batch: Annotated[Literal["same", "fresh"], since_default("same")] = "same"
    """Whether the generator's update sees the unlabeled images and the z of the discriminator's, as in the article, or
    others (its own order of the unlabeled images and its own z), as in Improved GAN's program."""
    reuse_real_features: Annotated[bool, since_default(False)] = False
    """Match the features that the discriminator's update computed, instead of passing the real images through the
    updated discriminator once more: they are one update old, have its dropout, and their batch norm saw the labeled
    images (and, with consistency, the student's views) in the same batch; the running statistics see real images once
    per step."""
    reuse_generated_images: Annotated[bool, since_default(False)] = False
    """Update the generator on the images that the discriminator's update saw, instead of passing the same z through it
    once more. Without dropout in the generator these are the same images, losses and gradients; with it both updates
    see one mask. The running statistics of its batch norm, which its samples use, move once per step; what its backward
    pass needs stays in memory during the discriminator's update."""

    presets: ClassVar = {
        "article": {},
        "improved_gan": {"head": "logsumexp", "real_fake_weight": 0.5, "adversarial_weight": 0.0},
    }

    @property
    def generator_sees_other_images(self) -> bool:
        """Whether the generator's update has real images and z of its own."""
        return self.generator_batch == "fresh"

    @model_validator(mode="after")
    def _generator_learns(self) -> "SsganConfig":
        matches = self.feature_matching != "off" and self.feature_matching_weight > 0
        if self.reuse_real_features and self.real_and_fake == "joint":
            raise ValueError(
                "reuse_real_features with real_and_fake = 'joint': batch norm would see generated images in a batch of "
                "their own in the generator's update; use 'separate', which without batch norm is the same"
            )
        for option in ("reuse_real_features", "reuse_generated_images"):
            if self.generator_batch == "fresh" and getattr(self, option):
                raise ValueError(
                    f"{option} with generator_batch = 'fresh': what the discriminator's update computed is of other "
                    "images; use 'same', or do not reuse it"
                )
        if self.adversarial_weight == 0 and not matches:
            raise ValueError("adversarial_weight = 0 and no feature matching: the generator would learn nothing")
        return self


class Ssgan(NetworkMethod):
    """The discriminator and generator pair with the losses of `SsganConfig`."""

    config_type = SsganConfig
    uses_unlabeled = True

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        assert isinstance(config.method, SsganConfig)
        self.options = config.method
        self._counts_generated = config.train.evaluation_statistics == "running"
        self._real_features: Tensor | None = None
        self._generated_images: Tensor | None = None
        self.real_logit = REAL_LOGITS[self.options.head]
        if self.options.head == "logsumexp":
            num_logits, self.cross_entropy = num_classes, cross_entropy_class_logits
        else:
            num_logits, self.cross_entropy = num_classes + 1, cross_entropy_fake_neuron
        size = config.data.image_size
        self.discriminator = build_discriminator(config.network, size, channels, num_logits)
        self.generator = build_generator(config.network, size, channels)
        # Without them no gradient reaches the generator through the real images, in one batch or in two.
        self._has_batch_statistics = any(
            isinstance(layer, nn.BatchNorm2d | ShiftBatchNorm) for layer in self.discriminator.modules()
        )

    def discriminator_losses(self, real: RealBatch, z: Tensor | None) -> Losses:
        assert self.generator is not None
        # The generator is not updated here, but its batch-norm statistics move; reused, its images need their graph.
        with torch.set_grad_enabled(self.options.reuse_generated_images):
            generated_images = self.generator(z)
        self._generated_images = generated_images if self.options.reuse_generated_images else None
        fake_images = generated_images.detach()
        if self.options.real_and_fake == "joint":
            (_, logits_on_real), (_, logits_on_fake) = self._discriminate_together(real.images, fake_images)
            if not self._counts_generated and self.options.consistency_weight > 0:
                with torch.no_grad():  # moves the teacher's statistics, which no other pass does
                    self.discriminator(real.images)
        else:
            features_on_real, logits_on_real = self.discriminator(real.images)
            if self.options.reuse_real_features:
                self._real_features = features_on_real.detach()[real.unlabeled]
            _, logits_on_fake = self._discriminate_generated(fake_images)
        return self._losses_on_real(real, logits_on_real) | self._losses_on_fake(logits_on_fake)

    def _losses_on_real(self, real: RealBatch, logits: Tensor) -> Losses:
        losses = {
            "supervised_loss": self.cross_entropy(logits, real.labels, real.labeled_mask),
            "real_loss": self.options.real_fake_weight * real_loss(self.real_logit(logits)[real.unlabeled]),
        }
        return losses | consistency_losses(self, self.options, real, logits)

    def _losses_on_fake(self, logits: Tensor) -> Losses:
        return {"fake_loss": self.options.real_fake_weight * fake_loss(self.real_logit(logits))}

    def generator_losses(self, real: RealBatch, z: Tensor) -> Losses:
        assert self.generator is not None
        options = self.options
        real_images = real.to_match
        if options.reuse_generated_images:
            assert self._generated_images is not None  # the discriminator's update comes first
            fake_images, self._generated_images = self._generated_images, None  # their graph serves one update
        else:
            fake_images = self.generator(z)
        if options.reuse_real_features:
            assert self._real_features is not None  # the discriminator's update comes first
            real_features = self._real_features
            fake_features, logits_on_fake = self._discriminate_generated(fake_images)
        elif options.real_and_fake == "joint" and self._has_batch_statistics:
            (real_features, _), (fake_features, logits_on_fake) = self._discriminate_together(real_images, fake_images)
        else:
            fake_features, logits_on_fake = self._discriminate_generated(fake_images)
            # A fresh pass through the updated D; constant for the generator. Without matching it still moves the
            # batch-norm statistics, as in the article, so that arms differ in their losses alone.
            with torch.no_grad():
                real_features, _ = self.discriminator(real_images)
        losses: Losses = {}
        if options.adversarial_weight > 0:
            losses["adversarial_loss"] = options.adversarial_weight * adversarial_loss(self.real_logit(logits_on_fake))
        if options.feature_matching != "off":
            matching = feature_matching_l2 if options.feature_matching == "l2" else feature_matching_l1
            losses["feature_matching_loss"] = options.feature_matching_weight * matching(
                real_features, fake_features, options.feature_matching_reduction
            )
        return losses

    def _discriminate_together(self, real_images: Tensor, fake_images: Tensor) -> tuple[Outputs, Outputs]:
        """Features and logits of real and of generated images from one pass, in which they share batch statistics."""
        features, logits = self._discriminate_generated(torch.cat([real_images, fake_images]))
        count = len(real_images)
        return (features[:count], logits[:count]), (features[count:], logits[count:])

    def _discriminate_generated(self, images: Tensor) -> Outputs:
        """Features and logits of images of which at least some are generated.

        They move running statistics in the article's program alone; see `train.evaluation_statistics`.
        """
        kept: AbstractContextManager[None] = nullcontext()
        if not self._counts_generated:
            kept = running_statistics_kept(self.discriminator)
        with kept:
            outputs: Outputs = self.discriminator(images)
        return outputs

    def class_logits(self, logits: Tensor) -> Tensor:
        return logits if self.options.head == "logsumexp" else class_logits_fake_neuron(logits)
