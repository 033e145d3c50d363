"""Data sets as uint8 arrays, and augmentation as pure functions on the device."""

from lsg_jax.data.augment import augment, normalize
from lsg_jax.data.datasets import DATASETS, Dataset, Split, checked, load
from lsg_jax.data.statistics import channel_statistics

__all__ = ["DATASETS", "Dataset", "Split", "augment", "channel_statistics", "checked", "load", "normalize"]
