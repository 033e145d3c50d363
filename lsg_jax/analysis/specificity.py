"""How much a classifier needs each image's own filters, and how little the others (PICNN, Guo et al., AAAI 2024)."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lsg_jax import gates
from lsg_jax.analysis.classifier import check, predict


class Specificity(NamedTuple):
    """Accuracies of one classifier with different filters; class-specific filters keep the second and lose the third.

    Attributes:
      all_filters: with every filter, ACC1.
      own_filters: with only the filters of each image's own class, ACC2.
      other_filters: with all filters but those of each image's own class, ACC3.
    """

    all_filters: float
    own_filters: float
    other_filters: float


def specificity(
    features: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray, gate: np.ndarray, threshold: float
) -> Specificity:
    """Measures the accuracy with, with only, and without each image's own filters.

    An image's own filters are those that the class of its label holds, G[y, k] >= ``threshold`` (``gates.ownership``),
    used whole or not at all. So ``own_filters`` and ``other_filters`` see the label: neither is an accuracy that the
    network could reach by itself, and a sparse gate makes the first nearly 1 for a plain network too. PICNN's ACC2
    takes the filters of a class sampled from its prediction instead; its ACC3, as here, leaves out the label's.

    Args:
      features: pooled features, f32[N, K].
      labels: i[N].
      kernel: the classifier's, f32[K, C].
      bias: the classifier's, f32[C].
      gate: f32[C, K].
      threshold: in (0, 1].

    Raises ValueError where shapes do not match, a label is no class, a number is not finite, or ``threshold`` is out of
    range.
    """
    features, labels, kernel, bias, gate = check(features, labels, kernel, bias, gate)
    own = np.asarray(gates.ownership(jnp.asarray(gate), threshold).holds)[labels]
    return Specificity(
        *(float(np.mean(predict(kept, kernel, bias) == labels)) for kept in (features, features * own, features * ~own))
    )
