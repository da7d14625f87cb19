"""Real or generated: binary cross-entropies on one real_logit r (B,), with D(x) = sigmoid(r) = P(real).

Every loss is a softplus of the logit, so it is finite where log(sigmoid) would not be. The discriminator
minimizes real_loss + fake_loss (each with weight 1 in the article, 1/2 in Salimans et al. 2016), the
generator adversarial_loss.

B batch, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def real_logit_fake_neuron(logits: Tensor) -> Tensor:
    """Read r = -l_0 off logits (B, K + 1): neuron 0 is the article's R/F neuron, sigmoid(l_0) = P(fake)."""
    return -logits[:, 0]


def real_logit_logsumexp(logits: Tensor) -> Tensor:
    """Compute r = LSE_k l_k of logits (B, K), so that D = sigmoid(r) = Z / (Z + 1) with Z = sum_k exp(l_k).

    Source: Salimans et al. 2016, arXiv:1606.03498, section 5: a (K + 1)-way softmax with the fake logit
        fixed at 0.
    """
    return torch.logsumexp(logits, dim=1)


def real_logit_softmax(logits: Tensor) -> Tensor:
    """Compute r = LSE_{k=1..K} l_k - l_0 of logits (B, K + 1), neuron 0 for "fake": sigmoid(r) = 1 - softmax(l)_0.

    Source: Odena 2016, arXiv:1606.01583: one softmax over K classes and "fake" serves both questions.
    """
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def real_loss(real_logit: Tensor) -> Tensor:
    """Compute -mean log D over real images: mean_b softplus(-r_b).

    With the R/F neuron this is the article's mean BCE(l_0, 0).

    Args:
        real_logit: (B,) of real images.
    """
    return F.softplus(-real_logit).mean()


def fake_loss(real_logit_of_fake: Tensor) -> Tensor:
    """Compute -mean log(1 - D) over generated images: mean_b softplus(r_b).

    With the R/F neuron this is the article's mean BCE(l_0, 1).

    Args:
        real_logit_of_fake: (B,) of generated images.
    """
    return F.softplus(real_logit_of_fake).mean()


def adversarial_loss(real_logit_of_fake: Tensor) -> Tensor:
    """Compute the generator's non-saturating loss, -mean log D over generated images: mean_b softplus(-r_b).

    With the R/F neuron this is the article's mean BCE(l_0, 0) of generated images. Its gradient stays near
    -1/B where the discriminator is sure (r << 0), while that of -fake_loss vanishes there.

    Args:
        real_logit_of_fake: (B,) of generated images.
    """
    return F.softplus(-real_logit_of_fake).mean()
