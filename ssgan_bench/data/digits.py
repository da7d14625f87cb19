"""scikit-learn's digits with a test set of their own, which no seed changes.

The source has no official test set. Drawn by seed, one run's test images were another's training and validation images,
and in the end all were test images of some run by which settings were chosen: results of earlier protocols, and the
settings that came from them, have seen these test images too. From protocol 3 on nothing but a final test reads them.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_TEST = 497
"""Of 1,797; the other 1,300 are training images, from which validation images are split off by seed."""


def read_digits() -> dict[str, Tensor]:
    """Read the images that come with scikit-learn, (N, 1, 8, 8) uint8, and their labels, (N,) int64, in two parts."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * 255 / 16).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    test = fixed_test_set(images, labels)
    train = np.setdiff1d(np.arange(len(images)), test)
    tensors: dict[str, Tensor] = {}
    for name, index in (("train", train), ("test", test)):
        tensors[f"{name}_images"] = torch.from_numpy(images[index]).unsqueeze(1)
        tensors[f"{name}_labels"] = torch.from_numpy(labels[index])
    return tensors


def fixed_test_set(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose the test images by their content: in each class those whose SHA-256 comes first.

    Stratified by Webster's method: the next image is taken from the class with the smallest (taken + 1/2) / size.

    Args:
        images: (N, 8, 8) all images.
        labels: (N,) their classes.

    Returns:
        (NUM_TEST,) sorted positions among all images.
    """
    by_hash = np.argsort([hashlib.sha256(image.tobytes()).hexdigest() for image in images], kind="stable")
    key = np.empty(len(images))
    for c in np.unique(labels):
        members = by_hash[labels[by_hash] == c]
        key[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.lexsort((labels, key))[:NUM_TEST])
