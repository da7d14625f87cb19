"""Signs that a run's result is not what its method can do: at chance, still falling, collapsed. Rates are in [0, 1]."""

import math
from collections.abc import Sequence

CHANCE_LEVEL = 0.01
"""Of the test against chance."""
STANDARD_ERRORS = 2.0
SMALLEST_RELATIVE_FALL = 0.05
SMALLEST_COLLAPSE = 0.10
SMALLEST_COLLAPSE_RATIO = 1.5


def is_at_chance(errors: int, class_counts: Sequence[int]) -> bool:
    """Tell whether a test error is not shown to be below that of always guessing the most frequent class.

    One-sided exact binomial test at the 1 % level.

    Args:
        errors: misclassified test images.
        class_counts: test images of each class.
    """
    from scipy import special  # here, because workers start sooner without it

    total = sum(class_counts)
    return bool(special.bdtr(errors, total, 1 - max(class_counts) / total) > CHANCE_LEVEL)


def is_still_falling(errors: Sequence[float], num_images: int) -> bool | None:
    """Tell whether a validation error was still falling at the end of training.

    It was where the mean of the last quarter of the evaluations is below that of the quarter before by more than two
    binomial standard errors of one error rate and by more than 5 % of it. All evaluations are of the same images, so
    that a difference of two of them varies less than that of two samples would.

    Args:
        errors: validation error at each evaluation, oldest first.
        num_images: size of the validation set.

    Returns:
        None with fewer than 4 evaluations.
    """
    quarter = len(errors) // 4
    if quarter == 0:
        return None
    before, last = (math.fsum(part) / quarter for part in (errors[-2 * quarter : -quarter], errors[-quarter:]))
    mean = (before + last) / 2
    standard_error = math.sqrt(mean * (1 - mean) / num_images)
    return before - last > max(STANDARD_ERRORS * standard_error, SMALLEST_RELATIVE_FALL * before)


def has_collapsed(errors: Sequence[float]) -> bool | None:
    """Tell whether training ended far above its own best: by 10 points or more, and at 1.5 times its error or more.

    Args:
        errors: validation error at each evaluation, oldest first.

    Returns:
        None with fewer than 2 evaluations.
    """
    if len(errors) < 2:
        return None
    best, last = min(errors), errors[-1]
    return last - best >= SMALLEST_COLLAPSE and last >= SMALLEST_COLLAPSE_RATIO * best
