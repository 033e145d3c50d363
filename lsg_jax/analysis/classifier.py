"""The linear classifier on pooled features, for the analyses that take filters away from it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial

from lsg_jax import checks
from lsg_jax.metrics.examples import checked


class Classifier(NamedTuple):
    """Checked arrays in float64.

    Attributes:
      features: pooled features, f64[N, K].
      labels: i[N].
      kernel: f64[K, C].
      bias: f64[C].
      gate: f64[C, K].
    """

    features: np.ndarray
    labels: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    gate: np.ndarray


def check(
    features: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray, gate: np.ndarray
) -> Classifier:
    """Returns the arrays in float64.

    Raises ValueError where their shapes do not match, a label is no class, or a number is not finite.
    """
    kernel, bias, gate = (np.asarray(each, np.float64) for each in (kernel, bias, gate))
    features, labels = checked(features, labels, bias.size)
    num_filters, num_classes = features.shape[1], bias.size
    shapes = kernel.shape, bias.shape, gate.shape
    if shapes != ((num_filters, num_classes), (num_classes,), (num_classes, num_filters)):
        raise ValueError(
            f"kernel, bias and gate must be f32[K, C], f32[C] and f32[C, K] for features f32[N, K={num_filters}], "
            f"got {', '.join(str(list(shape)) for shape in shapes)}"
        )
    for name, array in (("the classifier's kernel", kernel), ("the classifier's bias", bias), ("a gate", gate)):
        checks.finite(name, array)
    return Classifier(features, labels, kernel, bias, gate)


def predict(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Returns the class of the largest logit, i64[N], from features f64[N, K], kernel f64[K, C] and bias f64[C]."""
    return np.argmax(features @ kernel + bias, axis=1)


def correct(labels: np.ndarray, *logits: np.ndarray) -> np.ndarray:
    """Returns the positions, i64[M], of the examples that every network classifies correctly.

    Args:
      labels: i[N].
      *logits: of each network, or its probabilities, f32[N, C].

    Raises ValueError where the shapes do not match.
    """
    for each in logits:
        if each.ndim != 2 or each.shape[:1] != labels.shape:
            raise ValueError(f"logits must be f32[N, C] for labels i[N={len(labels)}], got {each.shape}")
    return np.flatnonzero(np.all([each.argmax(axis=1) == labels for each in logits], axis=0))


def as_pytree(probabilities: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns a network that a compiled program takes as an argument, so that it serves others of its kind too.

    A pytree, such as ``Run.probabilities``, is that already; of another function the program is for it alone.
    """
    return Partial(probabilities) if jax.tree_util.all_leaves([probabilities]) else probabilities
