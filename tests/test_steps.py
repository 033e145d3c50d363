"""Costs and steps against NumPy, schedules by hand, and which epochs are gated."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lsg_jax import gates, losses, models, schedule
from lsg_jax.config import Config, GateConfig, OptimizerConfig
from lsg_jax.models.resnet import ResNet
from lsg_jax.training import state as states
from lsg_jax.training import steps

WEIGHTS = losses.Weights(0.7, 0.05, 5.0)


def tiny_state(gate_optimizer=None):
    return states.create(
        jax.random.key(0),
        models.create("tiny", 3),
        (4, 4, 1),
        gates.init(3, 4),
        states.theta_optimizer(0.1, 0.9, 1e-2),
        gate_optimizer or states.learned_gate_optimizer(0.2),
        WEIGHTS,
    )


def batch():
    return states.Batch(jax.random.normal(jax.random.key(5), (6, 4, 4, 1)), jnp.asarray([0, 1, 2, 2, 1, 0]))


def numpy_cross_entropy(logits, labels):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])


def test_costs_against_numpy():
    rng = np.random.default_rng(0)
    logits, gated, labels = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), np.asarray([0, 1, 2, 1, 0])
    gate = rng.uniform(size=(3, 4)).astype(np.float32)
    std = numpy_cross_entropy(logits, labels)
    lsg = 0.7 * (numpy_cross_entropy(gated, labels) + 0.05 * abs(gate.astype(np.float64).sum() - 5))
    assert losses.std_cost(logits, labels) == pytest.approx(std, rel=1e-5)
    assert losses.lsg_cost(gated, labels, gate, WEIGHTS) == pytest.approx(lsg, rel=1e-5)
    assert losses.joint_cost(logits, gated, labels, gate, WEIGHTS) == pytest.approx(std + lsg, rel=1e-5)


def test_silence_by_hand():
    features, rows = jnp.asarray([[1.0, 2, 3], [4, 0, 0]]), jnp.asarray([[1.0, 0.5, 0], [0.25, 1, 1]])
    assert losses.silence(features, rows) == pytest.approx((0 + 1 + 3 + 3) / 10)
    assert losses.silence(features, jnp.ones((2, 3))) == 0
    assert losses.silence(jnp.zeros((2, 3)), rows) == 0
    gradient = jax.grad(losses.silence)(features, rows)
    expected = (1 - np.asarray(rows)) / 10 - 7 / 10**2
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(losses.silence, 1)(features, rows), 0)
    assert np.isfinite(jax.grad(losses.silence)(jnp.zeros((2, 3)), rows)).all()


def test_complement_by_hand():
    logits = np.log([[1, 1, 2], [4, 4, 4]])
    expected = -np.mean([np.log(1 / 4), np.log(1 / 4), np.log(2 / 4), *3 * [np.log(1 / 3)]])
    assert losses.complement(logits) == pytest.approx(expected)
    assert losses.complement(np.full((2, 5), 7.0)) == pytest.approx(np.log(5))


def features_of(state, images):
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    features, _ = state.model.apply(variables, images, train=True, method="features", mutable=["batch_stats"])
    return np.asarray(features, np.float64)


@pytest.mark.parametrize("step", [steps.lsg_step, steps.joint_step])
def test_gate_update_against_algorithm_1_in_numpy(step):
    state, given = tiny_state(), batch()
    kernel = np.asarray(state.params["classifier"]["kernel"], np.float64)
    bias, labels = np.asarray(state.params["classifier"]["bias"], np.float64), np.asarray(given.labels)
    gate, features = np.asarray(state.gate, np.float64), features_of(state, given.images)
    logits = (features * gate[labels]) @ kernel + bias
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (softmax - np.eye(3)[labels]) / len(labels)
    gradient = np.zeros_like(gate)
    for row, label in enumerate(labels):
        gradient[label] += features[row] * (kernel @ error[row])
    gradient = 0.7 * (gradient + 0.05 * np.sign(gate.sum() - 5))
    moved = gate - 0.2 * gradient
    expected = np.clip(moved / np.abs(moved).max(axis=0), 0, 1)
    np.testing.assert_allclose(step(state, given)[0].gate, expected, rtol=1e-5, atol=1e-6)


def numpy_costs(params, gate, images, labels):
    """Both paths' costs of the tiny network, silence and complement, from the convolution to the loss, in float64."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = np.zeros((*images.shape[:3], 4))
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + images.shape[1], column : column + images.shape[2]]
            maps += window @ params["conv"]["kernel"][row, column]
    mean, variance = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    maps = (maps - mean) / np.sqrt(variance + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
    features = np.maximum(maps, 0).mean(axis=(1, 2))
    std, lsg = (
        numpy_cross_entropy(a @ params["classifier"]["kernel"] + params["classifier"]["bias"], labels)
        for a in (features, features * gate[labels])
    )
    others = features * (1 - gate[labels])
    logits = others @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    complement = np.mean([numpy_cross_entropy(logits, np.full(len(labels), each)) for each in range(logits.shape[1])])
    return std, 0.7 * (lsg + 0.05 * abs(np.abs(gate).sum() - 5)), others.sum() / features.sum(), complement


@pytest.mark.parametrize(
    ("step", "weights", "cost"),
    [
        (steps.std_step, (2.0, 0.5), lambda std, lsg, silence, complement: std),
        (steps.lsg_step, (0.0, 0.0), lambda std, lsg, silence, complement: lsg),
        (steps.lsg_step, (2.0, 0.0), lambda std, lsg, silence, complement: lsg + 2 * silence),
        (steps.lsg_step, (0.0, 0.5), lambda std, lsg, silence, complement: lsg + 0.5 * complement),
        (steps.joint_step, (0.0, 0.0), lambda std, lsg, silence, complement: std + lsg),
        (steps.joint_step, (2.0, 0.5), lambda std, lsg, silence, complement: std + lsg + 2 * silence + complement / 2),
    ],
)
def test_theta_follows_the_cost_with_decay_on_kernels_only(step, weights, cost):
    gate = gates.project(jax.random.uniform(jax.random.key(3), (3, 4)))
    state, given = dataclasses.replace(tiny_state(), gate=gate, weights=losses.Weights(*WEIGHTS[:3], *weights)), batch()
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).copy(), state.params)
    gate, images, labels = (np.asarray(array) for array in (gate, *given))
    after, measured = step(state, given)
    assert float(measured["loss"]) == pytest.approx(cost(*numpy_costs(params, gate, images, labels)), rel=1e-5)
    for (path, leaf), moved in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(after.params), strict=True):
        for index in np.ndindex(leaf.shape):
            value, sides = leaf[index], []
            for shift in (1e-5, -1e-5):
                leaf[index] = value + shift
                sides.append(cost(*numpy_costs(params, gate, images, labels)))
            leaf[index] = value
            slope = (sides[0] - sides[1]) / 2e-5 + (1e-2 * value if path[-1].key == "kernel" else 0)
            assert moved[index] == pytest.approx(value - 0.1 * slope, abs=2e-5), (path, index)


@pytest.mark.parametrize("step", [steps.lsg_step, steps.joint_step])
def test_silence_and_complement_do_not_move_the_gate(step):
    gate = gates.project(jax.random.uniform(jax.random.key(3), (3, 4)))
    moved = []
    for weights in (WEIGHTS, WEIGHTS._replace(silence_weight=50.0, complement_weight=50.0)):
        state, _ = step(dataclasses.replace(tiny_state(), gate=jnp.array(gate), weights=weights), batch())
        moved.append(np.asarray(state.gate))
    np.testing.assert_allclose(moved[1], moved[0], rtol=1e-5, atol=1e-6)
    assert np.abs(moved[0] - gate).max() > 1e-3


def test_without_their_weights_the_lsg_step_is_algorithm_1s_bit_for_bit():
    gate = gates.project(jax.random.uniform(jax.random.key(3), (3, 4)))
    state, given = dataclasses.replace(tiny_state(), gate=gate), batch()

    @jax.jit
    def algorithm_1(state, images, labels):
        def cost(params, gate):
            variables = {"params": params, "batch_stats": state.batch_stats}
            logits, updated = state.model.apply(variables, images, gate[labels], train=True, mutable=["batch_stats"])
            return losses.lsg_cost(logits, labels, gate, state.weights), updated["batch_stats"]

        (loss, batch_stats), (slopes, gate_slope) = jax.value_and_grad(cost, (0, 1), has_aux=True)(
            state.params, state.gate
        )
        updates, _ = state.optimizer.update(slopes, state.optimizer_state, state.params)
        gate_updates, _ = state.gate_optimizer.update(gate_slope, state.gate_optimizer_state, state.gate)
        return (
            loss,
            batch_stats,
            optax.apply_updates(state.params, updates),
            optax.apply_updates(state.gate, gate_updates),
        )

    expected = algorithm_1(state, *given)
    after, measured = steps.lsg_step(state, given)
    chex.assert_trees_all_equal((measured["loss"], after.batch_stats, after.params, after.gate), expected)


# bfloat16 has 8 bits: of what enters a ReLU it turns the sign of about one in 2^8, whose whole share of the gradient is
# then wrong, so each of the three ReLUs may put its norm off by sqrt(2^-8). G's gradient has but the rounding, 2^-8.
@pytest.mark.parametrize("step", [steps.std_step, steps.lsg_step, steps.joint_step])
def test_a_step_computed_in_bfloat16_is_that_in_float32_but_for_rounding(step):
    given = states.Batch(jax.random.normal(jax.random.key(5), (32, 8, 8, 3)), jnp.arange(32) % 10)
    moves = {}
    for name, dtype in models.PRECISIONS.items():
        state = states.create(
            jax.random.key(0),
            ResNet(10, dtype=dtype, blocks=1, widths=(16,)),
            (8, 8, 3),
            gates.init(10, 16),
            states.theta_optimizer(0.1, 0.9, 1e-2),
            states.learned_gate_optimizer(0.2),
            WEIGHTS._replace(sparsity_target=16.0),
        )
        before = jax.tree.map(np.array, (state.params, state.gate))
        after, _ = step(state, given)
        chex.assert_trees_all_equal_dtypes((after.params, after.gate), before)
        moves[name] = jax.tree.map(np.subtract, (after.params, after.gate), before)
    (theta, gate), (rounded, rounded_gate) = moves["float32"], moves["bfloat16"]
    for ours, theirs in zip(jax.tree.leaves(rounded), jax.tree.leaves(theta), strict=True):
        assert 0 < np.linalg.norm(ours - theirs) < 3 * 2**-4 * np.linalg.norm(theirs)
    assert np.linalg.norm(rounded_gate - gate) <= 2**-8 * np.linalg.norm(gate)


def test_theta_has_momentum():
    state, given = tiny_state(), batch()
    start = np.asarray(state.params["classifier"]["bias"])
    features, labels = features_of(state, given.images), np.asarray(given.labels)
    kernel = np.asarray(state.params["classifier"]["kernel"], np.float64)
    state, _ = steps.std_step(state, given)
    first = np.asarray(state.params["classifier"]["bias"]) - start
    error = jax.nn.softmax(features @ kernel + start) - np.eye(3)[labels]
    np.testing.assert_allclose(first, -0.1 * error.mean(axis=0), rtol=1e-4, atol=1e-6)
    features = features_of(state, given.images)
    logits = features @ np.asarray(state.params["classifier"]["kernel"], np.float64) + start + first
    second = np.asarray(steps.std_step(state, given)[0].params["classifier"]["bias"]) - start - first
    error = jax.nn.softmax(logits) - np.eye(3)[labels]
    np.testing.assert_allclose(second, 0.9 * first - 0.1 * error.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_std_step_and_frozen_gates_never_move_g():
    chex.assert_trees_all_equal(steps.std_step(tiny_state(), batch())[0].gate, gates.init(3, 4))
    chex.assert_trees_all_equal(steps.lsg_step(tiny_state(optax.set_to_zero()), batch())[0].gate, gates.init(3, 4))


def test_state_is_donated_and_metrics_stay_on_the_device():
    state = tiny_state()
    _, measured = steps.std_step(state, batch())
    assert all(isinstance(value, jax.Array) for value in measured.values())
    assert jax.tree.leaves(state.params)[0].is_deleted()


def test_the_gated_epochs_are_exactly_1_4_7():
    paths = [schedule.path(e, gate="learned", scheme="alternate", period=3, phase=1) for e in range(9)]
    assert paths == ["std", "lsg", "std"] * 3
    assert {schedule.path(e, gate="none", scheme="joint", period=3, phase=1) for e in range(9)} == {"std"}
    assert {schedule.path(e, gate="fixed", scheme="joint", period=3, phase=1) for e in range(9)} == {"joint"}


def test_gated_epochs_by_hand():
    config = Config(optimizer=OptimizerConfig(epochs=8))
    assert config.gated_epochs() == 3
    assert dataclasses.replace(config, scheme="joint").gated_epochs() == 8
    assert dataclasses.replace(config, gate="none").gated_epochs() == 0


def test_default_sparsity_weight_grows_differences_by_exp_20():
    weight = schedule.sparsity_weight(440, 0.1, 1.0)
    assert (1 / (1 - 0.1 * weight)) ** 440 == pytest.approx(np.exp(20), rel=1e-6)


@pytest.mark.parametrize("gate", ["fixed", "none"])
def test_a_gate_that_does_not_move_has_no_sparsity_penalty(gate):
    assert Config(gate=gate).resolve(49664, 10, 64).lsg.sparsity_weight == 0


def test_step_schedule():
    rate = schedule.learning_rate("step", 0.1, 100)
    assert [float(rate(s)) for s in (0, 49, 51, 74, 76, 99)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_cosine_schedule():
    rate = schedule.learning_rate("cosine", 0.1, 100)
    assert float(rate(0)) == pytest.approx(0.01)
    assert float(rate(15)) == pytest.approx(0.1)
    for step in (15, 40, 99):
        falling = (1 + np.cos(np.pi * (step - 15) / 85)) / 2
        assert float(rate(step)) == pytest.approx(0.001 + 0.099 * falling, rel=1e-5)


def test_few_gated_steps_keep_the_gate_stable():
    assert 1 / (1 - 0.1 * schedule.sparsity_weight(1, 0.1, 1.0)) == pytest.approx(np.e)


def test_optimizers_are_plain():
    updates, _ = states.learned_gate_optimizer(0.5).update(
        jnp.asarray([[0.0], [1.0]]), states.learned_gate_optimizer(0.5).init(jnp.ones((2, 1))), jnp.ones((2, 1))
    )
    np.testing.assert_allclose(optax.apply_updates(jnp.ones((2, 1)), updates), [[1], [0.5]])


def test_gated_epochs_are_those_whose_path_is(tmp_path):
    for gate, scheme, period, phase, epochs in itertools.product(
        ("none", "learned"), ("alternate", "joint"), (1, 2, 3), (0, 1, 2), (1, 2, 3, 4, 7)
    ):
        if phase < period:
            config = Config(
                gate=gate,
                scheme=scheme,
                optimizer=OptimizerConfig(epochs=epochs),
                lsg=GateConfig(period=period, phase=phase),
            )
            assert config.gated_epochs() == sum(config.path(epoch) != "std" for epoch in range(epochs))
