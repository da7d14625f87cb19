"""Consistency: the student's prediction on a distorted image must agree with the teacher's on a gentle view of it.

The teacher is the moving average of the student's weights (Tarvainen & Valpola 2017, arXiv:1703.01780); where it is
sure enough its class is taken for the label (Sohn et al. 2020, FixMatch, arXiv:2001.07685, eq. 4).

B batch, K classes.
"""

from torch import Tensor
from torch.nn import functional as F


def pseudo_label_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, threshold: float) -> Tensor:
    """Compute the mean over all B images of 1[max_k q_bk >= threshold] * CE(student_b, argmax_k q_bk).

    q = softmax(teacher_logits). Images below the threshold count as zero, not as absent, so that the term grows with
    the number of images that the teacher is sure of.

    Args:
        student_logits: (B, K) of the distorted images.
        teacher_logits: (B, K) of the same images; constant, no gradient reaches them.
        threshold: in [0, 1].
    """
    confidence, pseudo_labels = teacher_logits.detach().softmax(dim=1).max(dim=1)
    losses = F.cross_entropy(student_logits, pseudo_labels, reduction="none")
    return (losses * (confidence >= threshold)).mean()
