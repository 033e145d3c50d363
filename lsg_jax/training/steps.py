"""Algorithm 1, one step at a time: the STD step, the LSG step, and the joint step of the paper's footnote.

Each is ``step(state, batch) -> (state, metrics)``: jitted, the state donated, every metric a device array.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import optax
from jax import lax

from lsg_jax import gates, losses, metrics
from lsg_jax.training.state import Batch, TrainState

Metrics = dict[str, jax.Array]


def std_update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Algorithm 1 lines 10, 11 and 13: theta follows the cost of the STD path, G stays."""

    def cost(params):
        logits, batch_stats = _apply(state, params, batch.images)
        return losses.std_cost(logits, batch.labels), (logits, batch_stats)

    measured, batch_stats, (gradient,) = _differentiate(state, cost, batch.labels, state.params)
    return _update_theta(state, gradient, batch_stats), measured


def lsg_update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Algorithm 1 lines 4 to 8 and 13: theta and G follow the cost of the LSG path, G is projected."""

    def cost(params, gate):
        features, batch_stats = _apply(state, params, batch.images, method="features")
        gate_rows = gates.rows(gate, batch.labels)
        logits = _classify(state, params, features * gate_rows)
        loss = losses.lsg_cost(logits, batch.labels, gate, state.weights)
        return loss + _cost_of_others(state, params, features, gate_rows), (logits, batch_stats)

    measured, batch_stats, gradients = _differentiate(state, cost, batch.labels, state.params, state.gate)
    return _update_theta(_update_gate(state, gradients[1]), gradients[0], batch_stats), measured


def joint_update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Equation 3 in every batch (the footnote of section 3.3): both paths share one pass up to the features."""

    def cost(params, gate):
        features, batch_stats = _apply(state, params, batch.images, method="features")
        gate_rows = gates.rows(gate, batch.labels)
        logits, gated_logits = (_classify(state, params, a) for a in (features, features * gate_rows))
        loss = losses.joint_cost(logits, gated_logits, batch.labels, gate, state.weights)
        return loss + _cost_of_others(state, params, features, gate_rows), (logits, batch_stats)

    measured, batch_stats, gradients = _differentiate(state, cost, batch.labels, state.params, state.gate)
    return _update_theta(_update_gate(state, gradients[1]), gradients[0], batch_stats), measured


UPDATES = {"std": std_update, "lsg": lsg_update, "joint": joint_update}
std_step = jax.jit(std_update, donate_argnums=0)
lsg_step = jax.jit(lsg_update, donate_argnums=0)
joint_step = jax.jit(joint_update, donate_argnums=0)


def _cost_of_others(state: TrainState, params: Any, features: jax.Array, gate_rows: jax.Array) -> jax.Array | float:
    """Returns what the filters of other classes cost (not the paper's); where a weight is 0 nothing is computed."""
    weights = state.weights
    cost: jax.Array | float = 0.0
    if weights.silence_weight:
        cost += weights.silence_weight * losses.silence(features, gate_rows, state.model.batch_axis)
    if weights.complement_weight:
        logits = _classify(state, params, features * losses.others(gate_rows))
        cost += weights.complement_weight * losses.complement(logits)
    return cost


def _differentiate(
    state: TrainState, cost: Callable[..., Any], labels: jax.Array, *arguments: Any
) -> tuple[Metrics, Any, tuple[Any, ...]]:
    """Returns metrics, batch statistics and the gradients in ``arguments``, of the whole batch where it is split."""
    differentiate = jax.value_and_grad(cost, tuple(range(len(arguments))), has_aux=True)
    (loss, (logits, batch_stats)), gradients = differentiate(*arguments)
    measured = {"loss": loss, "accuracy": metrics.accuracy(logits, labels)}
    if (axis := state.model.batch_axis) is not None:
        measured, gradients = lax.pmean((measured, gradients), axis)
    return measured, batch_stats, gradients


def _apply(state: TrainState, params: Any, *inputs: jax.Array, method: str = "__call__") -> tuple[jax.Array, Any]:
    variables = {"params": params, "batch_stats": state.batch_stats}
    output, updated = state.model.apply(variables, *inputs, train=True, method=method, mutable=["batch_stats"])
    return output, updated["batch_stats"]


def _classify(state: TrainState, params: Any, features: jax.Array) -> Any:
    return state.model.apply({"params": params}, features, method="classify")


def _update_theta(state: TrainState, gradient: Any, batch_stats: Any) -> TrainState:
    updates, optimizer_state = state.optimizer.update(gradient, state.optimizer_state, state.params)
    return replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        optimizer_state=optimizer_state,
    )


def _update_gate(state: TrainState, gradient: jax.Array) -> TrainState:
    updates, optimizer_state = state.gate_optimizer.update(gradient, state.gate_optimizer_state, state.gate)
    return replace(state, gate=optax.apply_updates(state.gate, updates), gate_optimizer_state=optimizer_state)
