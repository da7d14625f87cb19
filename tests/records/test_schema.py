"""A record whose parts contradict each other, or that has an impossible number, is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from ssgan_bench.records.schema import Cell, CurvePoint, Misclassified, RunRecord, SplitInfo

WRONG = Misclassified(index=(3, 40, 41), predicted=(1, 0, 1), confidence=(0.5, 1.0, 0.9123))
SPLITS = SplitInfo(
    num_classes=2,
    num_labels=4,
    labeled_rate=0.1,
    num_unlabeled=40,
    num_validation=10,
    num_test=12,
    **{f"{name}_digest": "0" for name in ("labeled", "unlabeled", "validation", "test")},
)
WHOLE: dict[str, Any] = {
    "protocol_version": "3.0",
    "study": "s",
    "preset": "quick",
    "cell": Cell(arm="a", levels={}, split_seed=0, model_seed=0, config={}, cell_id="0123456789abcdef"),
    "config_digest": "d",
    "status": "complete",
    "metrics": {"error_rate": 0.25, "nll": 17.0, "ece": 0.1},
    "confusion": ((4, 2), (1, 5)),
    "misclassified": WRONG,
    "splits": SPLITS,
    "unreached_share": 0.0,
    "started_at": "2025-01-01T00:00:00+00:00",
}


def test_parts_that_agree_are_accepted_and_are_not_required() -> None:
    assert RunRecord(**WHOLE).confusion == ((4, 2), (1, 5))
    assert RunRecord(**(WHOLE | {"confusion": None, "misclassified": None})).misclassified is None
    assert RunRecord(**(WHOLE | {"splits": None})).splits is None


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"error_rate": 0.26}},
        {"metrics": {}},
        {"metrics": {"error_rate": 0.25, "ece": 1.2}},
        {"metrics": {"error_rate": 0.25, "nll": -0.1}},
        {"confusion": None},
        {"misclassified": None},
        {"confusion": ((4, 2), (1, 6))},  # 13 test images
        {"confusion": ((5, 1), (2, 4))},  # as many errors, of other classes
        {"confusion": ((4, 2), (1,))},
        {"confusion": ((4, 2), (1, 5), (0, 0))},
        {"confusion": ((4, 2, 0), (1, 5, 0), (0, 0, 0))},  # of three classes
        {"misclassified": WRONG.model_copy(update={"predicted": (1, 0, 2)})},
        {"unreached_share": 1.1},
        {"unreached_share": -0.1},
    ],
)
def test_parts_that_disagree_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunRecord(**(WHOLE | change))


@pytest.mark.parametrize(
    "change",
    [
        {"index": (3, 40)},
        {"index": (3, 41, 40)},
        {"index": (3, 3, 40)},
        {"index": (-1, 40, 41)},
        {"confidence": (0.5, 1.0, 1.0001)},
        {"predicted": (1, -1, 1)},
    ],
)
def test_misclassified_images_are_listed_once_in_order_and_in_range(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Misclassified(**(WRONG.model_dump() | change))


def test_an_impossible_point_of_a_curve_is_refused() -> None:
    with pytest.raises(ValidationError):
        CurvePoint(step=1, epoch=0.1, labels_used=1, losses={}, validation={"error_rate": 1.5})
