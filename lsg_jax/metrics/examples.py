"""Pooled features with their labels: the check and the average that measures and analyses share."""

import numpy as np

from lsg_jax import checks


def checked(features: np.ndarray, labels: np.ndarray, num_classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns features f[N, K] in float64, and labels i[N].

    Raises:
      ValueError: where the shapes do not match, N is 0, a feature is not finite, or a label is not a whole number,
        negative, or not below ``num_classes`` where that is given.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            "features must be f32[N, K] and labels i[N] with N > 0, "
            f"got {list(features.shape)} and {labels.dtype}{list(labels.shape)}"
        )
    checks.finite("features", features)
    checks.class_labels(labels, num_classes)
    return features, labels


def group_means(features: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Returns the mean features of each group, f64[G, K], zero for an empty one.

    Args:
      features: f64[N, K].
      members: bool[G, N], whether a group has an example.
    """
    counts = members.sum(axis=1, keepdims=True)
    return members.astype(np.float64) @ features / np.maximum(counts, 1)
