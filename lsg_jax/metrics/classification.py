"""Measures of a classifier and of its gate, from logits and labels."""

import jax
import jax.numpy as jnp
import optax

from lsg_jax import checks


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the share of examples whose largest logit is the label's, f32[], from f32[N, C] and i32[N].

    Raises ValueError where shapes or types do not match, there is no example, or a label can be seen to be no class or
    a logit not to be finite.
    """
    checks.classified(logits, labels)
    return jnp.mean(jnp.argmax(logits, -1) == labels)


def sums(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns the sums of correct predictions and of cross entropies (nats), each example times its weight f32[N].

    Raises ValueError as ``accuracy`` does, and on other weights.
    """
    checks.classified(logits, labels)
    checks.array("weights", weights, jnp.floating, len(logits))
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return {
        "correct": jnp.sum(weights * (jnp.argmax(logits, -1) == labels)),
        "cross_entropy": jnp.sum(weights * entropy),
    }
