"""One color and one marker per arm name, the same in every report: readers compare reports by color.

Colors are Okabe and Ito's, and three darker ones, distinguishable with all common color vision deficiencies; the
marker says the same a second time. Yellow is left out: it does not stand out from white. Related arms have related
colors: gray and black without a generator or graph, blues for Improved GAN, orange for the article's SSGAN, green and
browns for the yardsticks.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How an arm is drawn."""

    color: str
    marker: str
    dashes: tuple[float, ...]
    """Line pattern in points, on and off by turns; empty is solid."""


GRAY, BLUE, ORANGE, GREEN, PINK, RED, SKY, BLACK, BROWN, NAVY = (
    "#4d4d4d",
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#000000",
    "#6B3A00",
    "#332288",
)
COLORS = (GRAY, ORANGE, BLUE, GREEN, PINK, RED, SKY, BLACK, BROWN, NAVY)
SHAPES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("o", ()),
    ("s", (5, 1.5)),
    ("^", (3, 1)),
    ("D", (1.5, 1)),
    ("v", (6, 1, 1.5, 1)),
    ("P", (4, 1, 1, 1, 1, 1)),
    ("X", (8, 2)),
)
"""Marker and line pattern."""


def _look(color: str, marker: str) -> Look:
    return Look(color, marker, dict(SHAPES)[marker])


KNOWN = {
    # labeled_rate, and every study that has them
    "supervised_augmented": _look(BLACK, "o"),
    "supervised": _look(GRAY, "X"),
    "article_augmented": _look(ORANGE, "^"),
    "improved_gan": _look(SKY, "D"),
    "improved_gan_augmented": _look(BLUE, "s"),
    "improved_gan_consistency": _look(NAVY, "P"),
    "label_spreading": _look(GREEN, "X"),
    "poisson_learning": _look(BROWN, "v"),
    "logistic_regression": _look(RED, "s"),
    # class_mismatch, stability, tune, unlabeled_amount
    "supervised_only": _look(GRAY, "o"),
    "ssgan_matching": _look(ORANGE, "^"),
    "ssgan": _look(ORANGE, "^"),
    "ssgan_consistency": _look(NAVY, "P"),
    # what_helps
    "gan": _look(SKY, "D"),
    "gan_augmented": _look(BLUE, "s"),
    "consistency_augmented": _look(PINK, "v"),
    "gan_consistency": _look(RED, "^"),
    "gan_consistency_augmented": _look(NAVY, "P"),
    # feature_matching
    "adversarial_only": _look(GRAY, "^"),
    "l2": _look(BLUE, "o"),
    "l2_weight_100": _look(SKY, "s"),
    "l2_alone": _look(GREEN, "v"),
    "l1": _look(RED, "D"),
    "l1_alone": _look(PINK, "X"),
    "l2_weight_001": _look(ORANGE, "^"),
    "l2_weight_01": _look(BROWN, "P"),
    "l2_weight_10": _look(NAVY, "D"),
    "l2_sum": _look(BLACK, "X"),
    "l1_sum": _look(RED, "o"),
    # supervised_baseline
    "dropout_03": _look(GRAY, "D"),
    "dropout_0": _look(ORANGE, "o"),
    "dropout_05": _look(BLUE, "s"),
    "weight_decay": _look(GREEN, "^"),
    "averaged": _look(PINK, "P"),
    "augmented": _look(RED, "v"),
    "augmented_averaged": _look(SKY, "X"),
    "width_double": _look(BLACK, "o"),
    "width_fourfold": _look(BROWN, "s"),
    # batch_norm_dropout
    "batch_norm": _look(GRAY, "s"),
    "running_statistics": _look(BROWN, "X"),
    "joint_batches": _look(RED, "P"),
    "weight_norm": _look(GREEN, "v"),
    "no_norm": _look(PINK, "D"),
    "dropout_07": _look(SKY, "^"),
    # label_leak
    "ssgan_fixed": _look(BLUE, "^"),
    "ssgan_resampled": _look(ORANGE, "s"),
    "supervised_fixed": _look(GRAY, "o"),
    "supervised_resampled": _look(SKY, "X"),
    # real_fake_head
    "fake_neuron_matching": _look(BLUE, "^"),
    "fake_neuron": _look(ORANGE, "s"),
    "softmax_matching": _look(GREEN, "D"),
    "softmax": _look(RED, "P"),
    "logsumexp_matching": _look(PINK, "v"),
    "logsumexp": _look(SKY, "X"),
    # fast_options
    "plain": _look(GRAY, "o"),
    "fast_dropout": _look(ORANGE, "s"),
    "bf16": _look(BLUE, "^"),
    "channels_last": _look(GREEN, "D"),
    "reuse_real_features": _look(PINK, "v"),
    "reuse_generated_images": _look(SKY, "X"),
    "all": _look(RED, "P"),
}
"""The look of each arm name of the suite. Arms of one study differ in color as long as there are colors."""


def _preferred(arm: str) -> int:
    # Not hash(): it changes from process to process.
    return int.from_bytes(hashlib.sha256(arm.encode()).digest()[:4], "big")


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Give every arm a look: known names their own, others one that follows from the name.

    Where another arm of the same report has the color already, the next free one is taken; beyond ten arms
    colors repeat with another marker, so that the pair stays unique up to 70 arms.
    """
    chosen = {arm: KNOWN[arm] for arm in arms if arm in KNOWN}
    for arm in arms:
        if arm in chosen:
            continue
        start = _preferred(arm)
        colors = [COLORS[(start + i) % len(COLORS)] for i in range(len(COLORS))]
        shapes = [SHAPES[(start // len(COLORS) + i) % len(SHAPES)] for i in range(len(SHAPES))]
        taken = [look.color for look in chosen.values()]
        colors.sort(key=taken.count)  # stable: the name's own order among colors that are equally used
        wanted = (Look(color, *shape) for color in colors for shape in shapes)
        chosen[arm] = next((look for look in wanted if look not in chosen.values()), Look(colors[0], *shapes[0]))
    return {arm: chosen[arm] for arm in arms}
