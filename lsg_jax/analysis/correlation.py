"""The filters' correlation matrix, class by class, and how many filters are correlated (section 4.4, Figure 7)."""

from typing import NamedTuple

import numpy as np

from lsg_jax import checks


class ClassOrder(NamedTuple):
    """The filters in the order of the classes that own them.

    Attributes:
      filters: i64[K], those of the first class, of the second, and so on, last those of no single class; within a class
        they keep their order. ``correlation[np.ix_(filters, filters)]`` shows the blocks.
      sizes: i64[C + 1], how many filters each class owns, and last how many belong to no single class.
    """

    filters: np.ndarray
    sizes: np.ndarray


class Pairs(NamedTuple):
    """The pairs of different filters that single classes own, each pair twice.

    Attributes:
      of_one_class: bool[K, K], those whose filters one class owns both.
      of_different_classes: bool[K, K], those whose filters two classes own.
    """

    of_one_class: np.ndarray
    of_different_classes: np.ndarray


def owners(gate: np.ndarray) -> np.ndarray:
    """Returns the class that owns each filter of a gate f32[C, K], and C for those of no single class, i64[K].

    A class owns a filter where it alone has the column's largest entry, so a filter that all classes share equally
    belongs to no single one. ``gates.tighten`` before it makes that of every filter with other entries above a
    threshold too. Raises ValueError where it is no matrix, or an entry is not finite.
    """
    gate = checks.float64("a gate", gate, "C", "K")
    largest = gate == gate.max(axis=0)
    return np.where(largest.sum(axis=0) == 1, largest.argmax(axis=0), len(gate))


def class_order(gate: np.ndarray) -> ClassOrder:
    """Orders the filters of a gate f32[C, K] by their ``owners``, and raises as that does."""
    owned = owners(gate)
    return ClassOrder(np.argsort(owned, kind="stable"), np.bincount(owned, minlength=len(gate) + 1))


def pairs(gate: np.ndarray) -> Pairs:
    """Tells the pairs of filters of a gate f32[C, K] apart by their ``owners``, and raises as that does."""
    owned = owners(gate)
    alike, single = owned[:, None] == owned, owned < len(gate)
    counted = single[:, None] & single & ~np.eye(len(owned), dtype=bool)
    return Pairs(alike & counted, ~alike & counted)


def ratio_above(correlation: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of the elements of f[..., K] greater than each of f[T] thresholds, f64[T] (Figure 7 e).

    All K^2 elements count, as in the paper ("ratio of elements in the correlation matrix"): the diagonal too, which
    adds up to 1 / K below the threshold 1, and each pair of filters twice. Raises ValueError where there are none,
    or a number is not finite.
    """
    elements = np.sort(checks.float64("correlations", correlation, ..., "K"), axis=None)
    thresholds = checks.float64("thresholds", thresholds, "T")
    return 1 - np.searchsorted(elements, thresholds, side="right") / elements.size
