"""Pooled features with their labels: the check and the average that measures and analyses share."""

import numpy as np

from lsg_jax import checks


def checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns features f[N, K] in float64, and labels i[N].

    Raises:
      ValueError: where the shapes do not match, N or K is 0, a feature is not finite, or a label is negative or not a
        whole number.
    """
    features, labels = checks.float64("features", features, "N", "K"), np.asarray(labels)
    checks.class_labels(labels, None, len(features))
    return features, labels


def group_means(features: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Returns the mean features of each group, f64[G, K], zero for an empty one.

    Args:
      features: f64[N, K].
      members: bool[G, N], whether a group has an example.
    """
    counts = members.sum(axis=1, keepdims=True)
    return members.astype(np.float64) @ features / np.maximum(counts, 1)
