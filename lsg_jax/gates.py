"""The Label-Sensitive Gate G of the paper's section 3, one pure function per idea.

G is a matrix of C classes (rows) by K filters (columns). An entry tells how much a filter belongs to a class,
and the row of an image's label multiplies the feature maps of the last convolution in the LSG path.
Every function works under ``jit`` and ``vmap`` (a leading axis of many gates), in any floating-point dtype; sizes,
thresholds and the initial value are Python numbers, static under ``jit``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lsg_jax import checks


class Ownership(NamedTuple):
    """Which classes hold which filters at a threshold.

    Attributes:
      holds: bool[C, K], whether class c holds filter k (G[c, k] >= threshold).
      alone: bool[C, K], whether class c alone holds filter k.
      monopolised: i32[C], how many filters each class holds alone.
      shared: i32[], how many filters two or more classes hold.
    """

    holds: jax.Array
    alone: jax.Array
    monopolised: jax.Array
    shared: jax.Array


def init(num_classes: int, num_filters: int, value: float = 1.0) -> jax.Array:
    """Returns the gate before training, f32[C, K], every entry equal to ``value``.

    The first projected update brings each column's maximum to 1, whatever the value.

    Raises ValueError where there is no class or filter, or ``value`` is not in (0, 1].
    """
    if not all(checks.is_whole(size) and size >= 1 for size in (num_classes, num_filters)):
        raise ValueError(
            f"a gate needs whole numbers of at least 1 class and 1 filter, got {num_classes!r} x {num_filters!r}"
        )
    if not (checks.is_number(value) and 0 < value <= 1):
        raise ValueError(f"the initial gate value must be a number in (0, 1], got {value!r}")
    return jnp.full((num_classes, num_filters), value, jnp.float32)


def rows(gate: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns G_y for each label: f32[B, K] from gate f32[C, K] and labels i32[B] in [0, C) (section 3.1).

    Raises ValueError on another gate, labels that are not an array of whole numbers, and on what can be seen not to be
    finite or no class; under ``jit`` that gives the row of one that is, as arrays of JAX do.
    """
    checks.array("a gate", gate, jnp.floating, "C", "K")
    checks.class_labels(labels, len(gate))
    return gate[labels]


def project(gate: jax.Array) -> jax.Array:
    """Projects G as Algorithm 1 does in lines 7 and 8, and keeps the constraint on every finite input.

        G^k <- clip(G^k / max |G^k|, 0, 1)

    Where a column's entry of largest magnitude is positive this is the paper's formula. Elsewhere the formula would
    leave a column without a 1, so the column is divided by its largest entry instead of its largest magnitude; a
    column with no positive entry has its largest entries (all of them, when tied) set to 1 and the others to 0.

    Args:
      gate: floating-point array [..., C, K], finite.

    Returns:
      An array of the same shape and dtype: each column's largest entry is exactly 1, all entries lie in [0, 1].

    Raises ValueError where the gate is of another type or shape, or can be seen not to be finite, which under ``jit``
    it cannot.
    """
    checks.array("a gate", gate, jnp.floating, ..., "C", "K")
    dtype = gate.dtype
    gate = gate.astype(jnp.promote_types(dtype, jnp.float32))
    largest = jnp.max(gate, axis=-2, keepdims=True)
    # XLA may divide by way of a reciprocal, which overflows for tiny divisors and is flushed to zero for huge ones.
    # Scaling such columns by a power of two first is exact, and writing the 1 makes it exact whatever is rounded.
    limits = jnp.finfo(gate.dtype)
    scale = jnp.where(
        largest < limits.tiny * 2**24, 2.0**64, jnp.where(largest > limits.max * 2**-24, 2.0**-64, 1.0)
    ).astype(gate.dtype)
    scaled = largest * scale
    normalized = jnp.clip(jnp.clip(gate, 0, largest) * scale / jnp.where(scaled > 0, scaled, 1), 0, 1)
    return jnp.where(gate == largest, 1, jnp.where(scaled > 0, normalized, 0)).astype(dtype)


def projection() -> optax.GradientTransformation:
    """An optax transform whose updates move each gate onto its projection (Algorithm 1, lines 7 and 8).

    ``apply_updates`` then yields ``project(gate + updates)`` to one rounding and, of a gate in [0, 1], its 0 and 1
    exactly. A degenerate column, one that the update leaves with no positive entry, keeps its previous value. One with
    an entry that is not finite becomes NaN, so that it is noticed.

    It should be the last transformation of a chain, and its ``update`` needs ``params``.
    """

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("projection() needs the gate: call update(updates, state, params)")

        def move(step, gate):
            checks.array("a gate", gate, jnp.floating, ..., "C", "K")
            moved = gate + step
            finite = jnp.all(jnp.isfinite(moved), axis=-2, keepdims=True)
            usable = finite & jnp.any(moved > 0, axis=-2, keepdims=True)
            projected = project(jnp.where(usable, moved, gate))
            return jnp.where(usable, projected - gate, jnp.where(finite, 0, jnp.nan))

        return jax.tree.map(move, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def fixed(num_classes: int, per_class: int, shared: int) -> jax.Array:
    """Returns the manually fixed gate of appendix C, f32[C, K] with K = num_classes * per_class + shared.

    Class c monopolises the columns c * per_class to (c + 1) * per_class - 1; the last ``shared`` columns are all-one.
    The paper's, for ResNet-20 on CIFAR-10, is ``fixed(10, 6, 4)``.

    Raises ValueError where a number is negative, or there is no class or filter.
    """
    whole = all(map(checks.is_whole, (num_classes, per_class, shared)))
    if not whole or num_classes < 1 or per_class < 0 or shared < 0 or per_class + shared < 1:
        raise ValueError(
            "a fixed gate needs whole numbers, of at least 1 class and at least 1 filter, none negative, "
            f"got num_classes={num_classes!r}, per_class={per_class!r}, shared={shared!r}"
        )
    own = jnp.repeat(jnp.eye(num_classes, dtype=jnp.float32), per_class, axis=1)
    return jnp.concatenate([own, jnp.ones((num_classes, shared), jnp.float32)], axis=1)


def tighten(gate: jax.Array, threshold: float) -> jax.Array:
    """Tightens G to {0, 1} (end of section 3.3).

    A column with exactly one entry >= ``threshold`` (h) becomes one-hot, any other column all-one.

    Raises ValueError as ``ownership`` does.
    """
    alone = ownership(gate, threshold).alone
    return (alone | ~jnp.any(alone, axis=-2, keepdims=True)).astype(gate.dtype)


def density(gate: jax.Array) -> jax.Array:
    """Returns ||G||_1 / (C K), f32[...] for gate [..., C, K]: the L1 norm of Table 1, in [1/C, 1] for a projected G.

    Raises ValueError as ``project`` does.
    """
    checks.array("a gate", gate, jnp.floating, ..., "C", "K")
    return jnp.mean(jnp.abs(gate), axis=(-2, -1), dtype=jnp.float32)


def ownership(gate: jax.Array, threshold: float) -> Ownership:
    """Tells which classes hold each filter, G[c, k] >= ``threshold``, and counts them (section 4.4).

    Raises ValueError where ``threshold`` is not in (0, 1], and as ``project`` does.
    """
    if not (checks.is_number(threshold) and 0 < threshold <= 1):
        raise ValueError(f"the threshold must be a number in (0, 1], got {threshold!r}")
    checks.array("a gate", gate, jnp.floating, ..., "C", "K")
    holds = gate >= threshold
    holders = jnp.sum(holds, axis=-2, keepdims=True)
    alone = holds & (holders == 1)
    return Ownership(holds, alone, monopolised=jnp.sum(alone, axis=-1), shared=jnp.sum(holders > 1, axis=(-2, -1)))
