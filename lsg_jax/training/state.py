"""The training state: theta, G, both optimizer states and the counter, and how to make one."""

from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lsg_jax import gates, losses
from lsg_jax.models import GatedNetwork


class Batch(NamedTuple):
    """Normalised images f32[B, H, W, channels] and labels i32[B]."""

    images: jax.Array
    labels: jax.Array


@flax.struct.dataclass
class TrainState:
    """All that a step reads and writes (arrays), and the functions it applies (static).

    The step is i32[] and the gate f32[C, K], params and batch_stats are pytrees of f32 arrays and the optimizer states
    Optax's. Where runs are trained together, all have these as first axis.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    gate: jax.Array
    optimizer_state: Any
    gate_optimizer_state: Any
    model: GatedNetwork = flax.struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    gate_optimizer: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    weights: losses.Weights = flax.struct.field(pytree_node=False)


def step_of(state: TrainState) -> int:
    """Returns how many steps have been taken; those of runs that are trained together are the same."""
    return int(np.ravel(state.step)[0])


def theta_optimizer(
    learning_rate: optax.ScalarOrSchedule, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """Returns SGD with momentum; weight decay acts on convolution and linear kernels only."""

    def is_kernel(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    return optax.chain(optax.add_decayed_weights(weight_decay, mask=is_kernel), optax.sgd(learning_rate, momentum))


def learned_gate_optimizer(learning_rate: float) -> optax.GradientTransformation:
    """Returns Algorithm 1 lines 6 to 8: plain gradient descent, then the projection."""
    return optax.chain(optax.sgd(learning_rate), gates.projection())


def create(
    key: jax.Array,
    model: GatedNetwork,
    image_shape: tuple[int, int, int],
    gate: jax.Array,
    optimizer: optax.GradientTransformation,
    gate_optimizer: optax.GradientTransformation,
    weights: losses.Weights,
) -> TrainState:
    """Returns the state before the first step, its parameters drawn from ``key``."""
    variables = jax.jit(model.init)(key, jnp.zeros((1, *image_shape)))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        gate=gate,
        optimizer_state=optimizer.init(variables["params"]),
        gate_optimizer_state=gate_optimizer.init(gate),
        model=model,
        optimizer=optimizer,
        gate_optimizer=gate_optimizer,
        weights=weights,
    )
