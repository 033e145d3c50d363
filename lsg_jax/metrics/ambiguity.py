"""Phi, the paper's measure of filter ambiguity (equation 2), solved on pooled features.

    Phi = min over G of CE(y || y~^G) + a | ||G||_1 - s |, where max |G^k| = 1 and all G[c, k] lie in [0, 1]

With the network fixed the gated logits are linear in G, so the cost is convex; only the constraint on each column's
maximum is not. The solver is accelerated proximal gradient descent. Its proximal step is exact: the closest gate to a
matrix V under the constraint is V clipped to [0, 1] with each column's largest entry set to 1, the sparsity term shifts
V uniformly by a multiplier in [-a, a], and the shift is found by bisection.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lsg_jax import checks, gates, losses

_BISECTIONS = 40


class Phi(NamedTuple):
    """What the solver found.

    Attributes:
      value: Phi, f32[], nats.
      cross_entropy: the LSG path's at ``gate``, f32[], nats per example.
      density: of ``gate``, f32[].
      gate: the minimiser found, f32[C, K].
      steps: how many were taken, i32[].
      residual: how far a proximal step from ``gate`` moves any entry, divided by the step size, f32[]; 0 at a
        stationary point. The step size is 1 over the curvature's bound, up to which every step lowers Phi. The search
        stops by its own steps, of other sizes and from other points, so this may exceed its tolerance even
        where it converged, which ``steps < max_steps`` tells.
    """

    value: jax.Array
    cross_entropy: jax.Array
    density: jax.Array
    gate: jax.Array
    steps: jax.Array
    residual: jax.Array


class _Search(NamedTuple):
    gate: jax.Array
    ahead: jax.Array
    momentum: jax.Array
    rate: jax.Array
    residual: jax.Array
    steps: jax.Array


def phi(
    features: jax.Array,
    labels: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    sparsity_weight: float,
    sparsity_target: float,
    gate: jax.Array | None = None,
    tolerance: float = 1e-6,
    max_steps: int = 2000,
) -> Phi:
    """Solves equation 2's minimum over G for a fixed network.

    The constraint is not convex, so what is found is a stationary point, which may depend on the start.

    Args:
      features: pooled features f, f32[N, K].
      labels: i32[N].
      kernel: the classifier's, f32[K, C].
      bias: the classifier's, f32[C].
      sparsity_weight: a.
      sparsity_target: s, in the units of the L1 norm, in [K, C K].
      gate: where the search starts, f32[C, K]; all-one by default.
      tolerance: stop where a step moves no entry by more than this times the step size. The step is the search's, not
        that of ``Phi.residual``.
      max_steps: stop after this many steps in any case; fewer were taken where the search converged.

    Raises ValueError where shapes or types do not match, a feature, a weight or an entry of ``gate`` is not finite, a
    label is no class, or a, s or another number is out of its range.
    """
    objective = features, labels, kernel, bias, sparsity_weight, sparsity_target
    _check(*objective)
    if gate is not None:
        checks.array("a gate", gate, jnp.floating, *kernel.T.shape)
    checks.number("tolerance", tolerance)
    checks.whole("max_steps", max_steps, 0)
    return _solve(objective, gate, tolerance, max_steps)


@partial(jax.jit, static_argnames="max_steps")
def _solve(objective, gate, tolerance, max_steps) -> Phi:
    features, labels, kernel, bias, sparsity_weight, sparsity_target = objective

    def cross_entropy(gate):
        return _cross_entropy(gate, features, labels, kernel, bias)

    shortest = 1 / _curvature_bound(features, labels, kernel)
    slope = jax.grad(cross_entropy)

    def advance(search):
        gradient = slope(search.ahead)

        def move(rate):
            moved = _proximal(search.ahead - rate * gradient, rate * sparsity_weight, sparsity_target)
            step = moved - search.ahead
            too_long = jnp.vdot(slope(moved) - gradient, step) > jnp.vdot(step, step) / (2 * rate)
            return rate, moved, too_long & (rate > shortest)

        rate, moved, _ = lax.while_loop(lambda tried: tried[2], lambda tried: move(tried[0] / 2), move(search.rate))
        # Momentum that points uphill is dropped (O'Donoghue and Candes, 2015).
        uphill = jnp.vdot(search.ahead - moved, moved - search.gate) > 0
        momentum = jnp.where(uphill, 1.0, (1 + jnp.sqrt(1 + 4 * search.momentum**2)) / 2)
        weight = jnp.where(uphill, 0.0, (search.momentum - 1) / momentum)
        return _Search(
            gate=moved,
            ahead=moved + weight * (moved - search.gate),
            momentum=momentum,
            rate=1.25 * rate,
            residual=jnp.max(jnp.abs(moved - search.ahead)) / rate,
            steps=search.steps + 1,
        )

    start = jnp.ones((len(bias), features.shape[1])) if gate is None else gates.project(gate)
    search = lax.while_loop(
        lambda search: (search.residual > tolerance) & (search.steps < max_steps),
        advance,
        _Search(start, start, jnp.ones(()), 8 * shortest, jnp.full((), jnp.inf), jnp.zeros((), jnp.int32)),
    )
    return _phi_at(search.gate, cross_entropy, sparsity_weight, sparsity_target, search.steps, shortest)


def phi_by_training(
    features: jax.Array,
    labels: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    key: jax.Array,
    *,
    sparsity_weight: float,
    sparsity_target: float,
    training_weight: float,
    training_target: float,
    learning_rate: float,
    batch_size: int,
    steps: int,
) -> Phi:
    """Returns what Algorithm 1's own updates of G (lines 4 to 8) reach for a fixed network, from an all-one G.

    It is the objective of ``phi`` at the gate after so many steps of projected gradient descent on random batches,
    which need not be near its minimum. Features, labels, kernel, bias, weight and target are those of ``phi``.

    Args:
      key: of the batches, drawn with replacement.
      training_weight: a of the updates.
      training_target: s of the updates.
      learning_rate: epsilon times lambda, of G.
      batch_size: examples a step.
      steps: how many.

    Raises ValueError as ``phi`` does, and on what is no key.
    """
    objective = features, labels, kernel, bias, sparsity_weight, sparsity_target
    _check(*objective)
    checks.key(key)
    checks.number("training_weight", training_weight)
    checks.number("training_target", training_target)
    checks.number("learning_rate", learning_rate, positive=True)
    checks.whole("batch_size", batch_size, 1)
    checks.whole("steps", steps, 0)
    return _train(objective, key, training_weight, training_target, learning_rate, batch_size, steps)


@partial(jax.jit, static_argnames="batch_size")
def _train(objective, key, training_weight, training_target, learning_rate, batch_size, steps) -> Phi:
    features, labels, kernel, bias, sparsity_weight, sparsity_target = objective
    optimizer = optax.chain(optax.sgd(learning_rate), gates.projection())

    def cost(gate, chosen):
        entropy = _cross_entropy(gate, features[chosen], labels[chosen], kernel, bias)
        return entropy + training_weight * losses.sparsity(gate, training_target)

    def step(index, carry):
        gate, state = carry
        chosen = jax.random.randint(jax.random.fold_in(key, index), (batch_size,), 0, len(labels))
        updates, state = optimizer.update(jax.grad(cost)(gate, chosen), state, gate)
        return optax.apply_updates(gate, updates), state

    start = jnp.ones((len(bias), features.shape[1]))
    gate, _ = lax.fori_loop(0, steps, step, (start, optimizer.init(start)))
    rate = 1 / _curvature_bound(features, labels, kernel)

    def cross_entropy(gate):
        return _cross_entropy(gate, features, labels, kernel, bias)

    return _phi_at(gate, cross_entropy, sparsity_weight, sparsity_target, jnp.int32(steps), rate)


def _check(features, labels, kernel, bias, sparsity_weight, sparsity_target) -> None:
    """Raises ValueError where what both solvers take is not as ``phi`` says; before it is traced, as it can be seen."""
    checks.array("features", features, jnp.floating, "N", "K")
    checks.array("the classifier's kernel", kernel, jnp.floating, features.shape[1], "C")
    num_filters, num_classes = kernel.shape
    checks.array("the classifier's bias", bias, jnp.floating, num_classes)
    checks.class_labels(labels, num_classes, len(features))
    least, most = num_filters, num_filters * num_classes
    for name, value, low, high, allowed in (
        ("sparsity_weight", sparsity_weight, 0, np.finfo(np.float32).max, "a finite number of at least 0"),
        ("sparsity_target", sparsity_target, least, most, f"a number in [K, C K] = [{least}, {most}]"),
    ):
        if not isinstance(value, jax.core.Tracer) and not (checks.is_number(value) and low <= value <= high):
            raise ValueError(f"{name} must be {allowed}, got {value!r}")


def _cross_entropy(gate, features, labels, kernel, bias):
    logits = jnp.matmul(features * gates.rows(gate, labels), kernel, precision=lax.Precision.HIGHEST) + bias
    return losses.cross_entropy(logits, labels)


def _phi_at(gate, cross_entropy, sparsity_weight, sparsity_target, steps, rate) -> Phi:
    entropy, gradient = jax.value_and_grad(cross_entropy)(gate)
    moved = _proximal(gate - rate * gradient, rate * sparsity_weight, sparsity_target)
    residual = jnp.max(jnp.abs(moved - gate)) / rate
    penalty = sparsity_weight * losses.sparsity(gate, sparsity_target)
    return Phi(entropy + penalty, entropy, gates.density(gate), gate, steps, residual)


def _curvature_bound(features: jax.Array, labels: jax.Array, kernel: jax.Array) -> jax.Array:
    """Bounds the largest second derivative of the cross entropy in G; it is positive, even without any activation.

    The softmax's Hessian is at most (I - 11^T / C) / 2 (Bohning, 1992), and an example moves only its class's row. One
    class after another, so that a single matrix K x K is held and not C of them.
    """
    centered = kernel - kernel.mean(axis=1, keepdims=True)
    products = jnp.matmul(centered, centered.T, precision=lax.Precision.HIGHEST)

    def of_row(label):
        members = (labels == label) / len(labels)
        moments = jnp.matmul(members * features.T, features, precision=lax.Precision.HIGHEST)
        return jnp.linalg.eigvalsh(moments * products / 2)[-1]

    largest = jnp.max(lax.map(of_row, jnp.arange(kernel.shape[1])))
    return jnp.maximum(largest, jnp.finfo(largest.dtype).eps)


def _proximal(moved: jax.Array, weight: jax.Array, target: float) -> jax.Array:
    """Returns argmin over gates G of ||G - moved||^2 / 2 + weight | ||G||_1 - target |."""
    largest = jnp.argmax(moved, axis=0) == jnp.arange(moved.shape[0])[:, None]

    def closest(shift):
        return jnp.where(largest, 1.0, jnp.clip(moved - shift, 0.0, 1.0))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        dense = jnp.sum(closest(middle)) > target
        return jnp.where(dense, middle, low), jnp.where(dense, high, middle)

    low, high = lax.fori_loop(0, _BISECTIONS, halve, (-weight, weight))
    return closest((low + high) / 2)
