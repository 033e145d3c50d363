"""How many filters each class monopolises, and how many are shared, over many models (section 4.4)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lsg_jax import checks, gates


class OwnershipStatistics(NamedTuple):
    """Filters of M gates, counted at T thresholds; standard deviations are the sample's (n - 1).

    Attributes:
      thresholds: f64[T].
      monopolised: i64[T, M, C], how many filters each class of each gate holds alone.
      monopolised_mean: f64[T, C], over the gates.
      monopolised_std: f64[T, C], over the gates.
      shared: i64[T, M], how many filters two classes or more hold.
      shared_mean: f64[T].
      shared_std: f64[T].
    """

    thresholds: np.ndarray
    monopolised: np.ndarray
    monopolised_mean: np.ndarray
    monopolised_std: np.ndarray
    shared: np.ndarray
    shared_mean: np.ndarray
    shared_std: np.ndarray


def ownership_statistics(stack: np.ndarray, thresholds: Sequence[float]) -> OwnershipStatistics:
    """Counts the filters that classes monopolise and share (``gates.ownership``) in many gates.

    Args:
      stack: gates of M models, at least 2, f32[M, C, K].
      thresholds: T of them, each in (0, 1].

    Raises ValueError on fewer than 2 gates, no threshold, one out of range, or an entry that is not finite.
    """
    stack = np.asarray(stack)
    checks.array("a stack of gates", stack, jnp.floating, "M", "C", "K")
    if len(stack) < 2:
        raise ValueError(f"at least 2 gates are needed, got {len(stack)}")
    checks.float64("thresholds", thresholds, "T")
    owned = [gates.ownership(jnp.asarray(stack), threshold) for threshold in thresholds]
    monopolised = np.array([each.monopolised for each in owned], np.int64)
    shared = np.array([each.shared for each in owned], np.int64)
    return OwnershipStatistics(
        np.asarray(thresholds, np.float64),
        monopolised,
        monopolised.mean(axis=1),
        monopolised.std(axis=1, ddof=1),
        shared,
        shared.mean(axis=1),
        shared.std(axis=1, ddof=1),
    )
