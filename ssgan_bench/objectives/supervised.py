"""Cross-entropy on the labeled images, for both heads.

B batch, K classes. A labeled_mask (B,) of 0 and 1 says which rows have a label; labels of the other rows
are never read and may be anything. A mask without a single 1 gives NaN: the mean over no labels does not
exist.
"""

from torch import Tensor
from torch.nn import functional as F


def class_logits_fake_neuron(logits: Tensor) -> Tensor:
    """Drop the R/F neuron: logits (B, K + 1) with neuron 0 for "fake" become class logits (B, K)."""
    return logits[:, 1:]


def cross_entropy_fake_neuron(logits: Tensor, labels: Tensor, labeled_mask: Tensor) -> Tensor:
    """Compute the article's supervised loss, the mean over labeled rows of the (K + 1)-way cross-entropy.

        sum_b m_b (LSE_{j=0..K} l_bj - l_b,y_b+1) / sum_b m_b

    Source: the article's program; the extended label is [0, one-hot(K)].

    Args:
        logits: (B, K + 1), neuron 0 is "fake".
        labels: (B,) int64 in [0, K).
        labeled_mask: (B,) float, 0 or 1.
    """
    return _masked_cross_entropy(logits, labels + 1, labeled_mask)


def cross_entropy_class_logits(logits: Tensor, labels: Tensor, labeled_mask: Tensor) -> Tensor:
    """Compute the mean over labeled rows of the K-way cross-entropy.

        sum_b m_b (LSE_{k=1..K} l_bk - l_b,y_b) / sum_b m_b

    Source: Salimans et al. 2016, arXiv:1606.03498, section 5, L_supervised; also the loss of a plain
        classifier.

    Args:
        logits: (B, K).
        labels: (B,) int64 in [0, K).
        labeled_mask: (B,) float, 0 or 1.
    """
    return _masked_cross_entropy(logits, labels, labeled_mask)


def _masked_cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    visible = targets.where(mask > 0, 0)  # a hidden label can neither leak nor be out of range
    losses = F.cross_entropy(logits, visible, reduction="none")
    return (mask * losses).sum() / mask.sum()
