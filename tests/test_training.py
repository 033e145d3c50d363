"""Costs and steps against NumPy, the alternation, and a run that is stopped and resumed."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lsg_jax import data, gates, load_run, losses, models
from lsg_jax.config import Config, DataConfig, OptimizerConfig
from lsg_jax.models.network import Conv, GatedNetwork
from lsg_jax.training import loop, schedule, steps
from lsg_jax.training import state as states

WEIGHTS = losses.Weights(0.7, 0.05, 5.0)


class Tiny(GatedNetwork):
    """One convolution, so that a step can be followed by hand."""

    num_filters = 4

    def setup(self):
        self.conv = Conv(4)
        self.norm = models.network.nn.BatchNorm(momentum=0.9)
        self.classifier = models.network.nn.Dense(self.num_classes)

    def feature_maps(self, images, train=False):
        return models.network.nn.relu(self.norm(self.conv(images), use_running_average=not train))


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", Tiny)


def tiny_state(gate_optimizer=None):
    return states.create(
        jax.random.key(0),
        Tiny(3),
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


def test_theta_update_is_momentum_sgd_with_decay_on_kernels_only():
    state, given = tiny_state(), batch()
    before = jax.tree.map(np.asarray, state.params["classifier"])
    features, labels = features_of(state, given.images), np.asarray(given.labels)
    logits = features @ before["kernel"].astype(np.float64) + before["bias"]
    error = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(3)[labels]) / len(labels)
    after = steps.std_step(state, given)[0].params["classifier"]
    kernel_gradient = features.T @ error + 1e-2 * before["kernel"]
    np.testing.assert_allclose(after["kernel"], before["kernel"] - 0.1 * kernel_gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["bias"], before["bias"] - 0.1 * error.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_std_step_and_frozen_gates_never_move_g():
    chex.assert_trees_all_equal(steps.std_step(tiny_state(), batch())[0].gate, gates.init(3, 4))
    chex.assert_trees_all_equal(steps.lsg_step(tiny_state(states.frozen()), batch())[0].gate, gates.init(3, 4))


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


def test_default_sparsity_weight_grows_differences_by_exp_20():
    weight = schedule.sparsity_weight(440, 0.1, 1.0)
    assert (1 / (1 - 0.1 * weight)) ** 440 == pytest.approx(np.exp(20), rel=1e-6)


@pytest.mark.parametrize("gate", ["fixed", "none"])
def test_a_gate_that_does_not_move_has_no_sparsity_penalty(gate):
    assert Config(gate=gate).resolve(49664, 10, 64).lsg.sparsity_weight == 0


def test_step_schedule():
    rate = schedule.learning_rate("step", 0.1, 100)
    assert [float(rate(s)) for s in (0, 49, 51, 74, 76, 99)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def tiny_run(**changes):
    config = Config(model="tiny", data=DataConfig(dataset="digits"), optimizer=OptimizerConfig(epochs=4, batch_size=64))
    config = dataclasses.replace(config, **changes)
    dataset = data.load("digits", train_examples=200)
    return config.resolve(200, 10, 4), dataset


def without_times(history):
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in history]


def test_a_segment_gives_the_numbers_of_single_steps():
    config, dataset = tiny_run()
    rate = schedule.learning_rate("cosine", 0.1, 12)
    key = jax.random.key(0)
    whole, single = (loop._initial_state(config, dataset, key, rate) for _ in range(2))
    train = loop.Images(*map(jnp.asarray, dataset.train))
    constants = {"batch_size": 64, "padding": 2, "flip": False, "mean": dataset.mean, "std": dataset.std}
    whole, total = loop.train_segment(whole, jnp.zeros(()), train, key, 1, 0, 3, path="lsg", **constants)
    order_key, augment_key = jax.random.split(jax.random.fold_in(key, 1))
    order = jax.random.permutation(order_key, 200)
    expected = 0.0
    for index in range(3):
        chosen = order[index * 64 : (index + 1) * 64]
        images = data.augment(jax.random.fold_in(augment_key, index), train.images[chosen], padding=2, flip=False)
        images = data.normalize(images, dataset.mean, dataset.std)
        single, measured = steps.lsg_step(single, states.Batch(images, train.labels[chosen]))
        expected += float(measured["loss"])
    chex.assert_trees_all_close((whole.params, whole.gate), (single.params, single.gate), rtol=1e-4, atol=1e-5)
    assert float(total) == pytest.approx(expected, rel=1e-5)


class Crash(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_resuming_is_bit_for_bit(tmp_path, monkeypatch, stop_after):
    config, dataset = tiny_run()
    whole = loop.fit(config, dataset, tmp_path / "whole")
    lines = []

    def crash(line, epochs):
        lines.append(line)
        if len(lines) == stop_after:
            raise Crash
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_describe_line", crash)
        with pytest.raises(Crash):
            loop.fit(config, dataset, tmp_path / "cut")
    resumed = loop.fit(config, dataset, tmp_path / "cut")
    assert without_times(resumed) == without_times(whole)
    written = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert without_times(written) == without_times(whole)
    ours, theirs = load_run(tmp_path / "cut"), load_run(tmp_path / "whole")
    chex.assert_trees_all_equal(
        (ours.params, ours.batch_stats, ours.gate), (theirs.params, theirs.batch_stats, theirs.gate)
    )


def test_a_signal_in_the_middle_of_an_epoch_saves_and_resumes_exactly(tmp_path, monkeypatch):
    config, dataset = tiny_run()
    whole = loop.fit(config, dataset, tmp_path / "whole")
    segment, calls = loop.train_segment, []

    def signalled(*arguments, **constants):
        calls.append(arguments[-2:])
        if calls.count((0, 1)) == 2:
            import signal

            signal.raise_signal(signal.SIGTERM)
        return segment(*arguments, **constants)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_segment", signalled)
        with pytest.raises(loop.Interrupted) as stop:
            loop.fit(config, dataset, tmp_path / "cut")
    assert stop.value.signum == 15
    assert len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) == 1
    resumed = loop.fit(config, dataset, tmp_path / "cut")
    assert without_times(resumed) == without_times(whole)
    chex.assert_trees_all_equal(load_run(tmp_path / "cut").params, load_run(tmp_path / "whole").params)


def test_another_configuration_is_refused_by_name(tmp_path):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    other = dataclasses.replace(config, seed=3)
    with pytest.raises(ValueError, match=r"--seed 0 there, 3 here"):
        loop.fit(other, dataset, tmp_path)


def test_load_run_evaluates_to_the_history(tmp_path):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path)
    run = load_run(tmp_path)
    images, labels = dataset.test
    assert np.mean(run.logits(images).argmax(1) == labels) == pytest.approx(history[-1]["test_accuracy"])
    gated = run.logits(images, labels)
    assert numpy_cross_entropy(gated, labels) == pytest.approx(history[-1]["lsg_test_cross_entropy"], rel=1e-4)
    np.testing.assert_allclose(run.logits(images / 255.0), run.logits(images), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run.feature_maps(images).mean((1, 2)), run.features(images), rtol=1e-4, atol=1e-5)
    assert run.history == history
    with pytest.raises(ValueError, match=r"in \[0, 9\]"):
        run.logits(images[:1], [10])
    with pytest.raises(ValueError, match="divide by 255"):
        run.logits(images.astype(np.float32))


def test_optimizers_are_plain():
    updates, _ = states.learned_gate_optimizer(0.5).update(
        jnp.asarray([[0.0], [1.0]]), states.learned_gate_optimizer(0.5).init(jnp.ones((2, 1))), jnp.ones((2, 1))
    )
    np.testing.assert_allclose(optax.apply_updates(jnp.ones((2, 1)), updates), [[1], [0.5]])
