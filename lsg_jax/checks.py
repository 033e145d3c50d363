"""What public functions ask of arguments, with ValueErrors that name the value.

Under ``jit`` shapes and types can be seen and values cannot: there a label that is no class, or what is not finite,
goes through.
"""

import reprlib
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_ARRAYS = np.ndarray | np.generic | jax.Array


def is_whole(value: Any) -> bool:
    """Tells whether ``value`` is a whole number by its type."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tells whether ``value`` is a real number, or NaN, by its type; an array of one is."""
    alone = isinstance(value, np.ndarray | jax.Array) and value.ndim == 0 and _seen(value)
    return isinstance(value.item() if alone else value, Real) and not isinstance(value, bool)


def number(name: str, value: Any, *, positive: bool = False) -> None:
    """Raises ValueError where ``value`` can be seen not to be a finite number or, if asked, not a positive one."""
    least = 0 if positive else -np.inf
    if _seen(value) and not (is_number(value) and least < value < np.inf):
        raise ValueError(f"{name} must be a {'positive' if positive else 'finite'} number, got {reprlib.repr(value)}")


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raises ValueError where ``value`` is not a whole number of at least ``least`` and, if given, at most ``most``."""
    if not (is_whole(value) and least <= value <= (value if most is None else most)):
        allowed = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{name} must be a whole number {allowed}, got {reprlib.repr(value)}")


def instance(name: str, value: Any, kind: type) -> None:
    """Raises ValueError where ``value`` is no ``kind``."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {described(value)}")


def names(name: str, value: Any, count: int | None = None) -> None:
    """Raises ValueError where ``value`` is no tuple or list of texts, of ``count`` if given, else of at least one."""
    texts = isinstance(value, tuple | list) and all(isinstance(each, str) for each in value)
    if not (texts and value and len(value) == (len(value) if count is None else count)):
        allowed = "one or more" if count is None else count
        raise ValueError(f"{name} must be {allowed} texts, got {reprlib.repr(value)}")


def array(name: str, value: Any, kind: Any, *shape: Any) -> None:
    """Raises ValueError where ``value`` is no array of a kind and shape, or can be seen not to be finite.

    Args:
      name: what it is to the user.
      value: what should be an array, of NumPy's or JAX's.
      kind: its type, or what its type may be, as ``jnp.floating``.
      *shape: for each axis its size, or its name where it may be any of at least 1, the same wherever the name comes
        again; ``...`` first allows axes before.
    """
    if not (isinstance(value, _ARRAYS) and jnp.issubdtype(value.dtype, kind) and _fits(value.shape, shape)):
        raise ValueError(f"{name} must be an array {kind.__name__}{_written(shape)}, got {described(value)}")
    if jnp.issubdtype(value.dtype, jnp.floating):
        finite(name, value)


def float64(name: str, value: Any, *shape: Any) -> np.ndarray:
    """Returns real numbers as an array in float64; raises ValueError on others and as ``array`` does."""
    found = np.asarray(value)
    if not (np.can_cast(found.dtype, np.float64, "same_kind") and _fits(found.shape, shape)):
        raise ValueError(f"{name} must be an array real{_written(shape)}, got {described(value)}")
    found = found.astype(np.float64, copy=False)
    finite(name, found)
    return found


def key(value: Any) -> None:
    """Raises ValueError where ``value`` is not one key of ``jax.random``."""
    typed, raw = (
        isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, kind) for kind in (jax.dtypes.prng_key, jnp.uint32)
    )
    if not ((typed or raw) and value.ndim == (0 if typed else 1)):
        raise ValueError(f"a key of jax.random is needed, got {described(value)}")


def class_labels(labels: Any, num_classes: int | None = None, *shape: Any, name: str = "labels") -> None:
    """Raises ValueError where labels are no array of whole numbers or, where that can be seen, not in [0, C).

    Without ``num_classes`` they may be any of at least 0, without ``shape`` of any shape.
    """
    array(name, labels, jnp.integer, *(shape or [...]))
    if not _seen(labels):
        return
    seen = np.asarray(labels)
    if not 0 <= seen.min() <= seen.max() < (np.inf if num_classes is None else num_classes):
        bound = "be at least 0" if num_classes is None else f"lie in [0, {num_classes - 1}]"
        raise ValueError(f"{name} must {bound}, got {seen.min()} to {seen.max()}")


def classified(logits: jax.Array, labels: jax.Array) -> None:
    """Raises ValueError where they are not logits f[B, C] and labels i[B] of these classes."""
    array("logits", logits, jnp.floating, "B", "C")
    class_labels(labels, logits.shape[1], len(logits))


def known(kind: str, name: Any, names: Collection[str]) -> None:
    """Raises ValueError where ``name`` is none of ``names``."""
    if not (isinstance(name, str) and name in names):
        raise ValueError(f"unknown {kind} {name!r}; choose one of: {', '.join(names)}")


def finite(name: str, array: Any) -> None:
    """Raises ValueError where an entry of ``array`` can be seen not to be finite."""
    if _seen(array) and len(strange := np.asarray(array)[~np.isfinite(np.asarray(array))]):
        raise ValueError(f"{name} must be finite, got {strange[0]}")


def described(value: Any) -> str:
    """Returns the type and shape of an array, and of anything else what it is, in few words."""
    if isinstance(value, _ARRAYS) and value.ndim:
        return f"{value.dtype}{list(value.shape)}"
    return reprlib.repr(value)


def _fits(found: tuple[int, ...], shape: tuple[Any, ...]) -> bool:
    if 0 in found:
        return False
    if shape[0] is ...:
        shape = shape[1:]
        found = found[len(found) - len(shape) :]
    named: dict[str, int] = {}
    same = (
        size == (named.setdefault(each, size) if isinstance(each, str) else each)
        for size, each in zip(found, shape, strict=True)
    )
    return len(found) == len(shape) and all(same)


def _written(shape: tuple[Any, ...]) -> str:
    return f"[{', '.join('...' if each is ... else str(each) for each in shape)}]"


def _seen(array: Any) -> bool:
    return not isinstance(array, jax.core.Tracer)
