"""The classifier that measures samples: deterministic, verified when read, and without influence on anything else."""

import io

import pytest
import torch

from ssgan_bench.data.batches import scale_images
from ssgan_bench.evaluation import reference_classifier
from ssgan_bench.evaluation.reference_classifier import DamagedError, ReferenceClassifier, train_reference


def striped_images():
    """(90, 1, 8, 8) uint8 of three classes that are easy to tell apart, with noise."""
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 90, (90, 1, 8, 8), generator=stream)
    labels = torch.arange(90) % 3
    images[labels == 0, :, :, :3] += 150
    images[labels == 1, :, :, 5:] += 150
    images[labels == 2, :, 3:5] += 150
    return images.to(torch.uint8), labels


IMAGES, LABELS = striped_images()


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(reference_classifier, "MIN_STEPS", 25)
    monkeypatch.setattr(reference_classifier, "EPOCHS", 1)


@pytest.fixture
def classifier():
    return train_reference(IMAGES, LABELS, 3, image_size=16)


def scaled(images):
    return [scale_images(images, 16)]


def test_it_learns_the_labels_it_is_given(classifier):
    _, classes = classifier(scaled(IMAGES))
    assert (classes == LABELS).float().mean() > 0.95
    other = train_reference(IMAGES, LABELS.roll(1), 3, image_size=16)
    assert (other(scaled(IMAGES))[1] == LABELS.roll(1)).float().mean() > 0.95
    assert other.digest != classifier.digest


def test_the_same_images_give_the_same_weights_whatever_was_drawn_before(classifier):
    torch.manual_seed(99)
    torch.rand(1000)
    threads = torch.get_num_threads()
    again = train_reference(IMAGES, LABELS, 3, image_size=16)
    assert again.digest == classifier.digest
    assert torch.equal(again(scaled(IMAGES))[0], classifier(scaled(IMAGES))[0])
    assert torch.get_num_threads() == threads


def test_training_and_reading_leave_the_global_generator_alone(classifier):
    before = torch.get_rng_state()
    ReferenceClassifier.from_bytes(train_reference(IMAGES, LABELS, 3, image_size=16).to_bytes())
    assert torch.equal(torch.get_rng_state(), before)


def test_features_are_float64_of_unit_mean_square_and_do_not_depend_on_the_batches(classifier):
    features, classes = classifier(scaled(IMAGES))
    assert features.shape == (90, reference_classifier.NUM_FEATURES)
    assert features.dtype == torch.float64
    assert features.square().mean().item() == pytest.approx(1, rel=1e-4)
    parts, part_classes = classifier(scaled(IMAGES[:50]) + scaled(IMAGES[50:]))
    torch.testing.assert_close(parts, features, rtol=1e-4, atol=1e-5)
    assert torch.equal(part_classes, classes)


@pytest.mark.parametrize("image_size", [8, 16, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_takes_every_image_size_and_color(image_size, channels, monkeypatch):
    monkeypatch.setattr(reference_classifier, "MIN_STEPS", 1)
    trained = train_reference(IMAGES[:20].expand(-1, channels, -1, -1), LABELS[:20], 3, image_size)
    features, classes = trained([torch.zeros(2, channels, image_size, image_size)])
    assert (features.shape, classes.shape) == ((2, reference_classifier.NUM_FEATURES), (2,))
    assert torch.isfinite(features).all()


def test_what_was_written_is_read_back(classifier):
    again = ReferenceClassifier.from_bytes(classifier.to_bytes())
    assert again.digest == classifier.digest
    assert torch.equal(again(scaled(IMAGES))[0], classifier(scaled(IMAGES))[0])
    assert again.to_bytes() == classifier.to_bytes()


def test_changed_weights_are_refused(classifier):
    stored = torch.load(io.BytesIO(classifier.to_bytes()), weights_only=True)
    stored["state"]["conv2.weight"][0, 0, 0, 0] += 1e-3
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    with pytest.raises(DamagedError, match=r"weights have SHA-256 .*, expected " + classifier.digest[:12]):
        ReferenceClassifier.from_bytes(buffer.getvalue())


@pytest.mark.parametrize("part", [0, 1, 1000, -1])
def test_an_incomplete_file_is_refused(classifier, part):
    with pytest.raises(DamagedError, match="not the weights of a reference classifier"):
        ReferenceClassifier.from_bytes(classifier.to_bytes()[:part])


@pytest.mark.parametrize("content", [{}, [1], {"digest": "x", "state": {}}, {"digest": "x", "state": 3}])
def test_a_file_of_something_else_is_refused(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with pytest.raises(DamagedError, match="not the weights"):
        ReferenceClassifier.from_bytes(buffer.getvalue())


def test_a_file_that_would_run_code_is_refused():
    buffer = io.BytesIO()
    torch.save({"digest": "x", "state": pytest.fail}, buffer)
    with pytest.raises(DamagedError, match="not the weights"):
        ReferenceClassifier.from_bytes(buffer.getvalue())
