"""What the configuration sets is in the state that training starts from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lsg_jax import data, losses
from lsg_jax.config import Config, DataConfig, GateConfig, OptimizerConfig
from lsg_jax.training import initialization


def start(gate="learned", precision="float32", momentum=0.9, weight_decay=1e-4, **lsg):
    """The state before the first step of a ResNet-8 on digits, with theta's learning rate 0.5."""
    config = Config(
        model="resnet8",
        gate=gate,
        precision=precision,
        data=DataConfig(dataset="digits"),
        optimizer=OptimizerConfig(momentum=momentum, weight_decay=weight_decay),
        lsg=GateConfig(**lsg),
    )
    return initialization.initial_state(config.resolve(1437, 10, 64), data.load("digits"), 0.5, 0)


def owned(per_class):
    """The fixed gate of 64 filters and 10 classes, by a loop."""
    gate = np.ones((10, 64))
    for label, column in np.ndindex(10, 10 * per_class):
        gate[label, column] = column // per_class == label
    return gate


@pytest.mark.parametrize(
    ("gate", "lsg", "expected"),
    [
        ("learned", {}, np.ones((10, 64))),
        ("learned", {"gate_init": 0.25}, np.full((10, 64), 0.25)),
        ("fixed", {}, owned(6)),
        ("fixed", {"shared_filters": 14, "gate_init": 0.25}, owned(5)),
        ("none", {"gate_init": 0.25}, np.ones((10, 64))),
    ],
)
def test_the_gate_starts_as_it_is_set_and_moves_where_it_is_learned(gate, lsg, expected):
    state = start(gate, gate_learning_rate=0.125, **lsg)
    np.testing.assert_array_equal(state.gate, expected)
    gradient = np.random.default_rng(0).normal(size=(10, 64)).astype(np.float32)
    updates, _ = state.gate_optimizer.update(jnp.asarray(gradient), state.gate_optimizer_state, state.gate)
    if gate == "learned":
        expected = expected - 0.125 * gradient
        expected = np.clip(expected / expected.max(axis=0), 0, 1)
    np.testing.assert_allclose(optax.apply_updates(state.gate, updates), expected, atol=1e-6)


def test_the_costs_have_the_weights_that_are_set():
    state = start(
        gate_loss_weight=0.5,
        sparsity_weight=0.25,
        sparsity_target=96.0,
        silence_weight=2.0,
        complement_weight=0.75,
    )
    assert state.weights == losses.Weights(
        gate_loss_weight=0.5, sparsity_weight=0.25, sparsity_target=96.0, silence_weight=2.0, complement_weight=0.75
    )


def test_theta_has_the_momentum_and_the_weight_decay_that_are_set():
    optimizer = start(momentum=0.75, weight_decay=0.25).optimizer
    theta, gradient = ({"kernel": jnp.array(kernel), "bias": jnp.array(1.0)} for kernel in (2.0, 1.0))
    state = optimizer.init(theta)
    # The kernel's gradient is 1 + 0.25 * 2 = 1.5 with decay, the bias's 1; momentum adds 0.75 of it to the second.
    for kernel, bias in ((-0.75, -0.5), (-1.3125, -0.875)):
        updates, state = optimizer.update(gradient, state, theta)
        assert jax.tree.map(float, updates) == {"kernel": kernel, "bias": bias}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutions_compute_in_the_precision_that_is_set(precision):
    assert start(precision=precision).model.dtype == jnp.dtype(precision)
