"""One color and one marker per arm, the same in every report: readers compare reports by color.

Colors are Okabe and Ito's, distinguishable with all common color vision deficiencies; the marker says the
same a second time. Yellow is left out: it does not stand out from white.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How an arm is drawn."""

    color: str
    marker: str
    dashes: tuple[float, ...]
    """Line pattern in points, on and off by turns; empty is solid."""


GRAY, BLUE, ORANGE, GREEN, PINK, RED, SKY = (
    "#4d4d4d",
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
)
LOOKS = (
    Look(GRAY, "o", ()),
    Look(ORANGE, "s", (5, 1.5)),
    Look(BLUE, "^", (3, 1)),
    Look(GREEN, "D", (1.5, 1)),
    Look(PINK, "v", (6, 1, 1.5, 1)),
    Look(RED, "P", (4, 1, 1, 1, 1, 1)),
    Look(SKY, "X", (8, 2)),
)
KNOWN = {
    "supervised_only": 0,
    "supervised": 0,
    "ssgan_no_matching": 1,
    "ssgan_matching": 2,
    "ssgan": 2,
    "article": 2,
    "improved_gan": 3,
    "consistency": 4,
    "improved_gan_consistency": 5,
    "label_spreading": 6,
}


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Give every arm a look: known names their own, others what is left, in the order of the arms.

    Beyond seven arms colors repeat with another marker, so that the pair stays unique up to 49 arms.
    """
    chosen: dict[str, Look] = {}
    for arm in arms:
        if arm in KNOWN and LOOKS[KNOWN[arm]] not in chosen.values():
            chosen[arm] = LOOKS[KNOWN[arm]]
    count = len(LOOKS)
    mixed = [
        Look(LOOKS[i].color, LOOKS[(i + shift) % count].marker, LOOKS[(i + shift) % count].dashes)
        for shift in range(count)
        for i in range(count)
    ]
    free = (look for look in mixed if look not in chosen.values())
    for arm in arms:
        if arm not in chosen:
            chosen[arm] = next(free, LOOKS[0])
    return chosen
