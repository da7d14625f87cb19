import math

import pytest
import torch

from ssgan_bench.data.batches import scale_images
from ssgan_bench.evaluation.classification import (
    classification_metrics,
    expected_calibration_error,
    predict,
)


def metrics(probabilities, labels):
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    return dict(classification_metrics(logits.float(), torch.tensor(labels)))


def test_metrics_of_four_predictions_by_hand():
    found = metrics([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8]], [0, 1, 1, 1])
    assert list(found) == ["error_rate", "nll", "ece"]
    assert found["error_rate"] == 0.25
    assert found["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.7) + math.log(0.8)) / 4)
    # Bins of width 1/15: two of confidence 0.9 with accuracy 1/2; 0.7 and 0.8 right and each in a bin of its own.
    assert found["ece"] == pytest.approx((2 * 0.4 + 0.3 + 0.2) / 4, abs=1e-6)


def test_certain_and_right_predictions_cost_nothing():
    found = dict(classification_metrics(torch.eye(3) * 100, torch.arange(3)))
    assert found == pytest.approx({"error_rate": 0.0, "nll": 0.0, "ece": 0.0})


def test_certain_and_wrong_predictions_are_as_bad_as_can_be():
    found = dict(classification_metrics(torch.eye(3) * 100, torch.tensor([1, 2, 0])))
    assert found == pytest.approx({"error_rate": 1.0, "nll": 100.0, "ece": 1.0})


def test_guessing_ten_balanced_classes_is_calibrated_and_costs_log_10():
    found = dict(classification_metrics(torch.zeros(50, 10), torch.arange(50) % 10))
    assert found == pytest.approx({"error_rate": 0.9, "nll": math.log(10), "ece": 0.0}, abs=1e-12)


def brute_force_ece(confidence, correct, bins):
    """Guo et al. 2017, equations 2 to 4, with bins ((m - 1) / M, m / M]."""
    error = 0.0
    for number in range(1, bins + 1):
        inside = [i for i, c in enumerate(confidence) if (number - 1) / bins < c <= number / bins]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean_confidence = sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return error


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_its_definition(seed, bins):
    stream = torch.Generator().manual_seed(seed)
    confidence = torch.rand(200, generator=stream, dtype=torch.float64) * 0.9 + 0.1
    correct = (torch.rand(200, generator=stream, dtype=torch.float64) < confidence**2).double()
    expected = brute_force_ece(confidence.tolist(), correct.tolist(), bins)
    assert expected > 0.01
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(expected, rel=1e-12)


def test_a_confidence_on_the_edge_belongs_to_the_lower_bin():
    confidence = torch.tensor([0.5, 0.75], dtype=torch.float64)
    correct = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx((0.5 + 0.25) / 2)
    together = torch.tensor([0.75, 1.0], dtype=torch.float64)
    assert expected_calibration_error(together, correct, bins=2) == pytest.approx(abs(0.875 - 0.5))


@pytest.mark.parametrize(("image_size", "at_once"), [(16, 500), (32, 500), (64, 125)])
def test_prediction_scales_all_images_and_keeps_their_order(image_size, at_once):
    count = 2 * at_once + 3
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = []

    def classify(batch):
        sizes.append(len(batch))
        assert batch.shape[1:] == (1, image_size, image_size)
        return batch.flatten(1)[:, :3].double()

    logits = predict(classify, images, image_size)
    assert sizes == [at_once, at_once, 3]
    assert logits.dtype == torch.float32
    assert torch.equal(logits, scale_images(images, image_size).flatten(1)[:, :3])
