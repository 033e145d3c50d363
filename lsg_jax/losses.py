"""The costs of the paper, in nats per example: equation 2's sparsity term, Algorithm 1's two costs, equation 3.

Two more, not the paper's, act on theta alone: once the gate is sparse the LSG path's cross entropy is nearly 0 and
pulls no more, while these go on as long as filters answer to classes that are not theirs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lsg_jax import checks


class Weights(NamedTuple):
    """The coefficients of equations 2 and 3, and of the two costs that are not the paper's.

    Attributes:
      gate_loss_weight: lambda, the weight of the whole LSG cost.
      sparsity_weight: a, the weight of the sparsity term.
      sparsity_target: s, in the units of the L1 norm, between K and C * K.
      silence_weight: of ``silence``, beside the LSG cost and not multiplied by lambda.
      complement_weight: of ``complement``, likewise.
    """

    gate_loss_weight: float
    sparsity_weight: float
    sparsity_target: float
    silence_weight: float = 0.0
    complement_weight: float = 0.0


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns CE(y || y~), the mean over the batch in nats, f32[] from logits f32[B, C] and labels i32[B].

    Raises ValueError where shapes or types do not match, there is no example, or a label can be seen to be no class or
    a logit not to be finite.
    """
    checks.classified(logits, labels)
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))


def sparsity(gate: jax.Array, target: float) -> jax.Array:
    """Returns | ||G||_1 - s |, f32[], for a gate f32[C, K] (equation 2).

    Raises ValueError on another gate, and where an entry or ``target`` can be seen not to be a finite number.
    """
    checks.array("a gate", gate, jnp.floating, "C", "K")
    checks.number("the sparsity target", target)
    return jnp.abs(jnp.sum(jnp.abs(gate), dtype=jnp.float32) - target)


def std_cost(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns Algorithm 1 line 11: CE(y || y~), f32[], from logits f32[B, C] and labels i32[B].

    Raises ValueError as ``cross_entropy`` does.
    """
    return cross_entropy(logits, labels)


def lsg_cost(gated_logits: jax.Array, labels: jax.Array, gate: jax.Array, weights: Weights) -> jax.Array:
    """Returns Algorithm 1 line 5: lambda (CE(y || y~^G) + a | ||G||_1 - s |), f32[].

    Gated logits are f32[B, C], labels i32[B], the gate f32[C, K]. Raises ValueError as ``cross_entropy`` and
    ``sparsity`` do, and on a weight that can be seen not to be a finite number.
    """
    checks.instance("weights", weights, Weights)
    for name in ("gate_loss_weight", "sparsity_weight"):
        checks.number(name, getattr(weights, name))
    penalty = weights.sparsity_weight * sparsity(gate, weights.sparsity_target)
    return weights.gate_loss_weight * (cross_entropy(gated_logits, labels) + penalty)


def joint_cost(
    logits: jax.Array, gated_logits: jax.Array, labels: jax.Array, gate: jax.Array, weights: Weights
) -> jax.Array:
    """Returns equation 3: CE(y || y~) + lambda (CE(y || y~^G) + a | ||G||_1 - s |), f32[]; shapes, errors as above."""
    return std_cost(logits, labels) + lsg_cost(gated_logits, labels, gate, weights)


def others(gate_rows: jax.Array) -> jax.Array:
    """Returns 1 - G_y, f32[B, K] from f32[B, K], as a constant: how little each filter belongs to the image's class.

    Raises ValueError on rows of another type or shape, or that can be seen not to be finite.
    """
    checks.array("rows of a gate", gate_rows, jnp.floating, "B", "K")
    return lax.stop_gradient(1 - gate_rows)


def silence(features: jax.Array, gate_rows: jax.Array, axis: str | None = None) -> jax.Array:
    """Returns sum(f (1 - G_y)) / sum(f), f32[] in [0, 1]: the share of activation outside the classes' own filters.

    Both sums are over the whole batch, features f32[B, K] of at least 0, and over the mapped ``axis`` that it is split
    over, if any; without any activation the share is 0. G is taken as a constant.

    Raises ValueError where shapes or types do not match, or a number can be seen not to be finite.
    """
    checks.array("features", features, jnp.floating, "B", "K")
    checks.array("rows of a gate", gate_rows, jnp.floating, *features.shape)
    sums = jnp.sum(features * others(gate_rows)), jnp.sum(features)
    outside, total = sums if axis is None else lax.psum(sums, axis)
    return outside / jnp.where(total > 0, total, 1)


def complement(complement_logits: jax.Array) -> jax.Array:
    """Returns CE(uniform || y~), the mean over the batch in nats, f32[], of logits f32[B, C] from features f (1 - G_y).

    Its minimum, log C, says that what is left without the class's own filters does not know the class.

    Raises ValueError on logits of another type or shape, or that can be seen not to be finite.
    """
    checks.array("logits", complement_logits, jnp.floating, "B", "C")
    return -jnp.mean(jax.nn.log_softmax(complement_logits))
