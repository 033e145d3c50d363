"""What a network still recognises without the filters of certain classes (section 4.2, Figure 4)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from lsg_jax import checks
from lsg_jax.analysis.classifier import check, predict


class Masking(NamedTuple):
    """The classifier before and after the filters of some classes were removed.

    Attributes:
      removed: bool[K], which filters were removed.
      images: i64[C], how many images each class has.
      confusion_before: f64[C, C], the share of the images of each true class (row) that is given to each class
        (column); a row of zeros for a class without images.
      confusion_after: f64[C, C], the same without the removed filters.
      recall_lost: f64[C], by each class; NaN for a class without images.
      predicted_before: i64[N], the class that each image is given.
      predicted_after: i64[N], the same without the removed filters.
      masked_loss: the recall lost on the classes whose filters were removed, their mean; NaN where none has images.
      other_loss: the recall lost on the others, likewise.
    """

    removed: np.ndarray
    images: np.ndarray
    confusion_before: np.ndarray
    confusion_after: np.ndarray
    recall_lost: np.ndarray
    predicted_before: np.ndarray
    predicted_after: np.ndarray
    masked_loss: float
    other_loss: float


def related_filters(gate: np.ndarray, classes: Sequence[int], threshold: float) -> np.ndarray:
    """Returns which filters are highly related to any of the classes, G[c, k] > ``threshold``, bool[K].

    It is "greater than" as in section 4.2, where ``gates.ownership`` follows section 3.3's "at least". A filter that
    all classes share is among them.

    Args:
      gate: f32[C, K].
      classes: one class or more, each in [0, C).
      threshold: in [0, 1), rounded to f32 as the gate is.

    Raises ValueError where the gate is no matrix, an entry of it is not finite, a class or ``threshold`` is out of its
    range, or no class is named.
    """
    gate, chosen = checks.float64("a gate", gate, "C", "K").astype(np.float32), np.asarray(classes)
    if not (checks.is_number(threshold) and 0 <= threshold < 1):
        raise ValueError(f"the threshold must be a number in [0, 1), got {threshold!r}")
    checks.class_labels(chosen, len(gate), "one or more", name="classes")
    return np.any(gate[chosen] > np.float32(threshold), axis=0)


def mask_classes(
    features: np.ndarray,
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    gate: np.ndarray,
    classes: Sequence[int],
    threshold: float,
) -> Masking:
    """Removes the filters highly related to some classes and classifies again, by the STD path.

    The label chooses nothing here: the same filters are removed for every image.

    Args:
      features: pooled features, f32[N, K].
      labels: i[N].
      kernel: the classifier's, f32[K, C].
      bias: the classifier's, f32[C].
      gate: f32[C, K]; for a network trained without one, that of ``metrics.phi``.
      classes: whose filters are removed, see ``related_filters``.
      threshold: in [0, 1).

    Raises ValueError where shapes do not match, a label is no class, or a number is not finite, and as
    ``related_filters`` does.
    """
    features, labels, kernel, bias, gate = check(features, labels, kernel, bias, gate)
    removed = related_filters(gate, classes, threshold)
    every = np.arange(len(gate))
    predicted_before, predicted_after = (
        predict(kept, kernel, bias) for kept in (features, np.where(removed, 0, features))
    )
    before, after = (
        confusion_matrix(labels, each, labels=every, normalize="true") for each in (predicted_before, predicted_after)
    )
    images = np.bincount(labels, minlength=len(gate))
    lost = np.where(images > 0, before.diagonal() - after.diagonal(), np.nan)
    masked = np.isin(every, classes)
    masked_loss, other_loss = (_mean(lost[group & (images > 0)]) for group in (masked, ~masked))
    return Masking(removed, images, before, after, lost, predicted_before, predicted_after, masked_loss, other_loss)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
