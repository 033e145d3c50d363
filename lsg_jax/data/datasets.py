"""Data sets by name, each a pair of uint8 splits."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsg_jax import checks
from lsg_jax.data import cifar10, statistics


class Split(NamedTuple):
    """uint8[N, H, W, channels] images and their labels, int32[N] or other whole numbers."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """Two splits and what a model needs to know of them.

    ``mean`` and ``std`` are per channel, of images scaled to [0, 1]; ``padding`` and ``flip`` are the augmentation
    that suits the images.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool

    def digest(self) -> str:
        """Returns a name of these very examples in this order, made from all labels and some 64 images a split."""
        digest = hashlib.sha256()
        for images, labels in (self.train, self.test):
            digest.update(labels.tobytes())
            digest.update(images[:: len(images) // 64 + 1].tobytes())
        return digest.hexdigest()[:16]


def checked(dataset: Dataset) -> Dataset:
    """Returns a data set that can be trained and measured on, its ``mean`` and ``std`` in Python's floats.

    Raises ValueError where it has no images in a split, other images or labels than a ``Split`` should, images of
    another size to test than to train on, a label that is no class, or a constant that fits no image.
    """
    checks.instance("the data set", dataset, Dataset)
    checks.names("class_names", dataset.class_names)
    size: tuple[Any, ...] = ("H", "W", "channels")
    for name, split in (("training", dataset.train), ("test", dataset.test)):
        checks.instance(f"the {name} split", split, Split)
        checks.array(f"{name} images", split.images, np.uint8, "N", *size)
        checks.class_labels(split.labels, len(dataset.class_names), len(split.images), name=f"{name} labels")
        size = split.images.shape[1:]
    checks.whole("padding", dataset.padding, 0)
    checks.instance("flip", dataset.flip, bool)
    mean, std = statistics.checked(dataset.mean, dataset.std, size[-1])
    return dataset._replace(mean=mean, std=std)


def load(name: str, data_dir: Path | None = None, train_examples: int | None = None, holdout: int = 0) -> Dataset:
    """Returns the named data set.

    Args:
      name: a key of ``DATASETS``.
      data_dir: a TFDS data directory, for the sets that come from one.
      train_examples: if given, only the first so many training examples are kept, after the held-out ones.
      holdout: if positive, the first so many training examples become the test split and are not trained on.

    Raises:
      ValueError: on an unknown name, or sizes that the data set does not have.
      OSError: where the data cannot be read.
    """
    checks.known("data set", name, sorted(DATASETS))
    dataset = DATASETS[name](data_dir)
    train, test = dataset.train, dataset.test
    checks.whole(f"--holdout of {name}", holdout, 0, len(train.labels) - 1)
    if holdout:
        train, test = Split(*(a[holdout:] for a in train)), Split(*(a[:holdout] for a in train))
    if train_examples is not None:
        checks.whole(f"--train-examples of {name}", train_examples, 1, len(train.labels))
        train = Split(*(a[:train_examples] for a in train))
    return dataset._replace(train=train, test=test)


def _cifar10(data_dir: Path | None) -> Dataset:
    arrays, class_names = cifar10.load(data_dir)
    train = Split(arrays["train_images"], arrays["train_labels"])
    test = Split(arrays["test_images"], arrays["test_labels"])
    return _dataset(train, test, class_names, arrays["statistics"], padding=4, flip=True)


def _digits(data_dir: Path | None) -> Dataset:
    if data_dir is not None:
        raise ValueError(f"digits come with scikit-learn and are read from no folder; leave out --data-dir {data_dir}")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # 8x8 grey levels in 0..16; every pixel becomes 2x2, so that three stages of a network have something to see.
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order].astype(np.int32)
    train, test = Split(images[360:], labels[360:]), Split(images[:360], labels[:360])
    constants = statistics.channel_statistics(train.images)
    return _dataset(train, test, tuple("0123456789"), constants, padding=2, flip=False)


def _dataset(
    train: Split, test: Split, class_names: tuple[str, ...], constants: np.ndarray, padding: int, flip: bool
) -> Dataset:
    mean, std = constants.tolist()
    return Dataset(train, test, class_names, tuple(mean), tuple(std), padding, flip)


DATASETS: dict[str, Callable[[Path | None], Dataset]] = {"cifar10": _cifar10, "digits": _digits}
