"""The costs of the paper, in nats per example: equation 2's sparsity term, Algorithm 1's two costs, equation 3."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class Weights(NamedTuple):
    """The coefficients of equations 2 and 3.

    Attributes:
      gate_loss_weight: lambda, the weight of the whole LSG cost.
      sparsity_weight: a, the weight of the sparsity term.
      sparsity_target: s, in the units of the L1 norm, between K and C * K.
    """

    gate_loss_weight: float
    sparsity_weight: float
    sparsity_target: float


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns CE(y || y~), the mean over the batch in nats, f32[] from logits f32[B, C] and labels i32[B]."""
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))


def sparsity(gate: jax.Array, target: float) -> jax.Array:
    """Returns | ||G||_1 - s |, f32[], for a gate f32[C, K] (equation 2)."""
    return jnp.abs(jnp.sum(jnp.abs(gate), dtype=jnp.float32) - target)


def std_cost(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns Algorithm 1 line 11: CE(y || y~)."""
    return cross_entropy(logits, labels)


def lsg_cost(gated_logits: jax.Array, labels: jax.Array, gate: jax.Array, weights: Weights) -> jax.Array:
    """Returns Algorithm 1 line 5: lambda (CE(y || y~^G) + a | ||G||_1 - s |)."""
    penalty = weights.sparsity_weight * sparsity(gate, weights.sparsity_target)
    return weights.gate_loss_weight * (cross_entropy(gated_logits, labels) + penalty)


def joint_cost(
    logits: jax.Array, gated_logits: jax.Array, labels: jax.Array, gate: jax.Array, weights: Weights
) -> jax.Array:
    """Returns equation 3: CE(y || y~) + lambda (CE(y || y~^G) + a | ||G||_1 - s |)."""
    return std_cost(logits, labels) + lsg_cost(gated_logits, labels, gate, weights)
