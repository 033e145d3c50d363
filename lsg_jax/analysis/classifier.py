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
    features, labels = checked(features, labels)
    kernel = checks.float64("the classifier's kernel", kernel, features.shape[1], "C")
    num_filters, num_classes = kernel.shape
    bias = checks.float64("the classifier's bias", bias, num_classes)
    gate = checks.float64("a gate", gate, num_classes, num_filters)
    checks.class_labels(labels, num_classes)
    return Classifier(features, labels, kernel, bias, gate)


def predict(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Returns the class of the largest logit, i64[N], from features f64[N, K], kernel f64[K, C] and bias f64[C]."""
    return np.argmax(features @ kernel + bias, axis=1)


def correct(labels: np.ndarray, *logits: np.ndarray) -> np.ndarray:
    """Returns the positions, i64[M], of the examples that every network classifies correctly.

    Args:
      labels: i[N].
      *logits: of each network, or its probabilities, f32[N, C].

    Raises ValueError where the shapes do not match, there is no network, or a number is not finite.
    """
    checks.class_labels(labels, None, "N")
    if not logits:
        raise ValueError("the logits of at least 1 network are needed, got none")
    shaped = [checks.float64("logits", each, len(labels), "C") for each in logits]
    return np.flatnonzero(np.all([each.argmax(axis=1) == labels for each in shaped], axis=0))


def as_pytree(probabilities: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns a network that a compiled program takes as an argument, so that it serves others of its kind too.

    A pytree, such as ``Run.probabilities``, is that already; of another function the program is for it alone. Raises
    ValueError where it is no function.
    """
    if not callable(probabilities):
        raise ValueError(f"a function from images to probabilities is needed, got {checks.described(probabilities)}")
    return Partial(probabilities) if jax.tree_util.all_leaves([probabilities]) else probabilities


def num_classes(probabilities: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> int:
    """Returns C of a network that makes f[N, C] of images f32[N, H, W, channels] of this ``shape``.

    Raises ValueError where it makes anything else of them, or JAX cannot trace it.
    """
    try:
        found = jax.eval_shape(probabilities, jax.ShapeDtypeStruct(shape, np.float32))
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            "probabilities must be a function that JAX can trace, such as Run.probabilities, and this one asks for the "
            "values of its images"
        ) from error
    if getattr(found, "shape", ())[:1] != shape[:1] or len(found.shape) != 2:
        raise ValueError(f"probabilities must return an array [N, C] for N images, got {found}")
    return int(found.shape[1])
