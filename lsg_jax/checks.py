"""What public functions ask of arguments, with ValueErrors that name the value.

Under ``jit`` shapes and types can be seen and values cannot: there a label that is no class, or what is not finite,
goes through.
"""

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_whole(value: Any) -> bool:
    """Tells whether ``value`` is a whole number by its type."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tells whether ``value`` is a real number, or NaN, by its type; an array of one is."""
    alone = isinstance(value, np.ndarray | jax.Array) and value.ndim == 0 and _seen(value)
    return isinstance(value.item() if alone else value, Real) and not isinstance(value, bool)


def class_labels(labels: Any, num_classes: int | None = None) -> None:
    """Raises ValueError where labels i[...] are not whole numbers, or, where that can be seen, not in [0, C).

    Without ``num_classes`` they may be any of at least 0.
    """
    dtype = labels.dtype if isinstance(labels, jax.Array) else np.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"labels must be whole numbers, got {dtype}")
    if not _seen(labels):
        return
    seen = np.asarray(labels)
    if seen.size and not 0 <= seen.min() <= seen.max() < (np.inf if num_classes is None else num_classes):
        bound = "be at least 0" if num_classes is None else f"lie in [0, {num_classes - 1}]"
        raise ValueError(f"labels must {bound}, got {seen.min()} to {seen.max()}")


def classified(logits: jax.Array, labels: jax.Array) -> None:
    """Raises ValueError where they are not logits f[B, C] and labels i[B] of these classes."""
    if np.ndim(logits) != 2 or np.shape(labels) != np.shape(logits)[:1]:
        raise ValueError(
            f"logits must be f32[B, C] and labels i32[B], got {list(np.shape(logits))} and {list(np.shape(labels))}"
        )
    class_labels(labels, np.shape(logits)[1])


def known(kind: str, name: Any, names: Collection[str]) -> None:
    """Raises ValueError where ``name`` is none of ``names``."""
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; choose one of: {', '.join(names)}")


def finite(name: str, array: Any) -> None:
    """Raises ValueError where an entry of ``array`` can be seen not to be finite."""
    if _seen(array) and len(strange := np.asarray(array)[~np.isfinite(np.asarray(array))]):
        raise ValueError(f"{name} must be finite, got {strange[0]}")


def _seen(array: Any) -> bool:
    return not isinstance(array, jax.core.Tracer)
