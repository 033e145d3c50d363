"""Costs and steps against NumPy, the alternation, and a run that is stopped and resumed."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import logging
import multiprocessing
import shutil
from importlib.metadata import version
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from lsg_jax import checkpoint, data, gates, load_run, losses, models, save_run, schedule
from lsg_jax.checkpoint import Checkpoints
from lsg_jax.config import Config, DataConfig, GateConfig, OptimizerConfig
from lsg_jax.training import folder as folders
from lsg_jax.training import initialization, loop, parallel, progress, segments, steps
from lsg_jax.training import state as states

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
    seed = np.uint32(2**31 + 5)
    whole, single = (initialization.initial_state(config, dataset, rate, seed) for _ in range(2))
    single = dataclasses.replace(single, model=models.create("tiny", 10))  # no mapped axis outside the mesh
    train = segments.DeviceSplit(*map(jnp.asarray, dataset.train))
    constants = {
        "mesh": parallel.mesh(),
        "stacked": False,
        "batch_size": 64,
        "padding": 2,
        "flip": False,
        "mean": dataset.mean,
        "std": dataset.std,
    }
    whole, total = segments.train_segment(whole, jnp.zeros(()), train, seed, 1, 0, 3, path="lsg", **constants)
    order_key, augment_key = jax.random.split(jax.random.fold_in(jax.random.key(2**31 + 5), 1))
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


def test_a_finished_run_repeated_writes_nothing_and_says_so(tmp_path, capsys):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("events*")}
    assert len(before) == 1
    assert loop.fit(config, dataset, tmp_path) == history
    assert capsys.readouterr().out.splitlines()[-1] == "it was finished before"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("events*")} == before


def test_opening_a_run_says_nothing(tmp_path, caplog):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="absl"):  # which the commands, tested in this process, turn down
        load_run(tmp_path)
    assert not caplog.records


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
        patch.setattr(progress, "describe_line", crash)
        with pytest.raises(Crash):
            loop.fit(config, dataset, tmp_path / "cut")
    resumed = loop.fit(config, dataset, tmp_path / "cut")
    assert without_times(resumed) == without_times(whole)
    written = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert without_times(written) == without_times(whole)
    ours, theirs = load_run(tmp_path / "cut"), load_run(tmp_path / "whole")
    assert ours.environment["jax"] == jax.__version__
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
        patch.setattr(progress, "_SECONDS_A_SEGMENT", 0)  # a segment a step
        with pytest.raises(loop.Interrupted) as stop:
            loop.fit(config, dataset, tmp_path / "cut")
    assert stop.value.signum == 15
    assert len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) == 1
    (newest,) = [path for path in (tmp_path / "cut" / "checkpoints").iterdir() if path.name != "3"]
    before = json.loads((newest / "run" / "metadata").read_text())["seconds"]
    resumed = loop.fit(config, dataset, tmp_path / "cut")
    assert without_times(resumed) == without_times(whole)
    assert resumed[1]["seconds"] > before > 0
    chex.assert_trees_all_equal(load_run(tmp_path / "cut").params, load_run(tmp_path / "whole").params)


def test_another_configuration_is_refused_by_name(tmp_path):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    other = dataclasses.replace(config, seed=3)
    with pytest.raises(ValueError, match=r"--seed 0 there, 3 here"):
        loop.fit(other, dataset, tmp_path)


@pytest.mark.parametrize(("split", "label"), [("train", -1), ("test", 10)])
def test_a_label_that_is_no_class_is_refused(tmp_path, split, label):
    config, dataset = tiny_run()
    images, labels = getattr(dataset, split)
    wrong = dataset._replace(**{split: data.Split(images, np.where(np.arange(len(labels)) == 3, label, labels))})
    with pytest.raises(ValueError, match=f"image has the label {label}; 10 classes have the labels 0 to 9"):
        loop.fit(config, wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_last_seeds_there_are_can_be_trained(tmp_path):
    config, dataset = tiny_run(seed=2**32 - 2, optimizer=OptimizerConfig(epochs=1, batch_size=64))
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, seeds=2))
    loop.fit_seeds(config, dataset, tmp_path, 2)
    assert load_run(tmp_path / f"seed{2**32 - 1}").config.seed == 2**32 - 1


def test_what_a_start_left_that_was_killed_is_not_in_the_way(tmp_path):
    config, dataset = tiny_run(optimizer=OptimizerConfig(epochs=1, batch_size=64))
    ours, theirs = tmp_path / "config.json.0123456789abcdef.tmp", tmp_path / "notes.tmp"
    for left in (ours, theirs):
        left.write_text("{")
    assert len(loop.fit(config, dataset, tmp_path)) == 1
    assert (ours.exists(), theirs.exists()) == (False, True)


@pytest.mark.parametrize("content", ["null", "5", "{", "{}"])
def test_a_run_whose_config_file_is_another_goes_on(tmp_path, content):
    config, dataset = tiny_run(optimizer=OptimizerConfig(epochs=1, batch_size=64))
    history = loop.fit(config, dataset, tmp_path)
    (tmp_path / "config.json").write_text(content)
    assert loop.fit(config, dataset, tmp_path) == history


@pytest.mark.parametrize(
    ("gate", "setting", "value"),
    [
        ("none", "gate_loss_weight", 0.1),
        ("none", "period", 2),
        ("none", "sparsity_weight", 0.5),
        ("none", "shared_filters", 0),
        ("none", "silence_weight", 1.0),
        ("fixed", "sparsity_weight", 0.5),
        ("fixed", "tighten_threshold", 0.7),
        ("learned", "shared_filters", 0),
        ("tightened", "gate_learning_rate", 0.3),
    ],
)
def test_a_setting_that_makes_no_difference_is_refused(gate, setting, value):
    config = Config(gate=gate, init=Path("before"), lsg=GateConfig(**{setting: value}))
    name = setting.replace("_", "-")
    with pytest.raises(ValueError, match=f"--{name} makes no difference with --gate={gate}; leave it out, got {value}"):
        config.check_used(10, 64)
    plain = Config(gate=gate, init=Path("before"))
    plain.check_used(10, 64)
    plain.resolve(1000, 10, 64).check_used(10, 64)


@pytest.mark.parametrize("setting", ["period", "phase"])
def test_which_epochs_are_gated_makes_no_difference_where_all_are(setting):
    joint = Config(scheme="joint", lsg=GateConfig(**{setting: 2}))
    with pytest.raises(ValueError, match=f"--{setting} makes no difference with --scheme=joint; leave it out, got 2"):
        joint.check_used(10, 64)
    dataclasses.replace(joint, scheme="alternate").check_used(10, 64)


@pytest.mark.parametrize(("batch_size", "at_once"), [(64, False), (32, True)])
def test_seeds_trained_together_are_the_seeds_trained_alone(tmp_path, monkeypatch, batch_size, at_once):
    monkeypatch.setattr(parallel, "_has_small_cache", lambda mesh: not at_once)
    config, dataset = tiny_run(optimizer=OptimizerConfig(epochs=2, batch_size=batch_size))
    together = loop.fit_seeds(dataclasses.replace(config, seed=5), dataset, tmp_path / "all", 3)
    for index, seed in enumerate((5, 6, 7)):
        alone = loop.fit(dataclasses.replace(config, seed=seed), dataset, tmp_path / str(seed))
        for ours, theirs in zip(without_times(together[index]), without_times(alone), strict=True):
            assert ours.pop("path") == theirs.pop("path")
            assert ours == pytest.approx(theirs, rel=1e-4)
        run = load_run(tmp_path / "all" / f"seed{seed}")
        assert run.config.seed == seed
        np.testing.assert_allclose(run.gate, load_run(tmp_path / str(seed)).gate, atol=1e-4)


def test_other_seeds_in_the_same_folder_are_refused(tmp_path):
    config, dataset = tiny_run()
    histories = loop.fit_seeds(config, dataset, tmp_path, 2)
    for seeds, first in ((3, 0), (1, 0), (2, 1), (2, 5)):
        with pytest.raises(ValueError, match="holds seed0, seed1, which are not the seeds asked for; choose another"):
            loop.fit_seeds(dataclasses.replace(config, seed=first), dataset, tmp_path, seeds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed0", "seed1"]
    assert loop.fit_seeds(config, dataset, tmp_path, 2) == histories
    assert loop.fit(config, dataset, tmp_path / "seed0") == histories[0]
    with pytest.raises(ValueError, match="seed0 holds a run of one seed; choose another --output"):
        loop.fit_seeds(config, dataset, tmp_path / "seed0", 2)


def test_a_thread_trains_without_signals(tmp_path):
    config, dataset = tiny_run()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        history = pool.submit(loop.fit, config, dataset, tmp_path / "run").result()
    assert without_times(history) == without_times(loop.fit(config, dataset, tmp_path / "other"))


def test_a_seed_without_checkpoints_does_not_take_those_of_the_others(tmp_path):
    config, dataset = tiny_run()
    loop.fit_seeds(config, dataset, tmp_path, 2)
    shutil.rmtree(tmp_path / "seed1")
    (tmp_path / "seed1").mkdir()
    there = sorted((tmp_path / "seed0").rglob("*"))
    with pytest.raises(ValueError, match="seed0 has checkpoints of steps that another seed's folder has not; put that"):
        loop.fit_seeds(config, dataset, tmp_path, 2)
    assert sorted((tmp_path / "seed0").rglob("*")) == there


def test_seeds_resume_together_from_the_last_step_that_all_have(tmp_path, monkeypatch):
    config, dataset = tiny_run()
    whole = loop.fit_seeds(config, dataset, tmp_path / "whole", 2)
    save, saved = folders.RunFolder.save, []

    def crash(self, *arguments, **named):
        saved.append(self.path.name)
        if len(saved) == 4:
            raise Crash
        save(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(folders.RunFolder, "save", crash)
        with pytest.raises(Crash):
            loop.fit_seeds(config, dataset, tmp_path / "cut", 2)
    resumed = loop.fit_seeds(config, dataset, tmp_path / "cut", 2)
    assert [without_times(each) for each in resumed] == [without_times(each) for each in whole]
    for seed in ("seed0", "seed1"):
        chex.assert_trees_all_equal(
            load_run(tmp_path / "cut" / seed).params, load_run(tmp_path / "whole" / seed).params
        )


def test_a_run_that_is_being_trained_is_refused(tmp_path):
    config, dataset = tiny_run()
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path,))
    holder.start()
    while not (tmp_path / "held").exists():
        pass
    try:
        with pytest.raises(ValueError, match=f"being trained by process {holder.pid};"):
            loop.fit(config, dataset, tmp_path / "run")
    finally:
        holder.kill()
        holder.join()
    assert len(loop.fit(config, dataset, tmp_path / "run")) == 4


def hold(folder):
    import time

    (folder / "run").mkdir()
    with folders._exclusive(folder / "run"):
        (folder / "held").touch()
        time.sleep(60)


def test_a_run_without_its_config_file_goes_on(tmp_path):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path)
    for content in (None, "{"):
        (tmp_path / "config.json").unlink() if content is None else (tmp_path / "config.json").write_text(content)
        assert loop.fit(config, dataset, tmp_path) == history
        assert Config.from_json(json.loads((tmp_path / "config.json").read_text())) == config


def test_other_data_are_refused(tmp_path):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    train = dataset.train
    for other in (
        dataset._replace(mean=(0.5,)),
        dataset._replace(train=train._replace(labels=train.labels[::-1].copy())),
        dataset._replace(test=dataset.test._replace(images=dataset.test.images // 2)),
    ):
        with pytest.raises(ValueError, match="other data"):
            loop.fit(config, other, tmp_path)


def test_a_diverged_state_is_not_saved(tmp_path):
    config, dataset = tiny_run()
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=1e30))
    said = r"^\S+ and \d+ other arrays .* not finite in epoch 1 \(std\), step \d of 3, at learning rate \d.*e\+\d\d; "
    gate_too = (
        "nothing of it was saved, try a smaller --learning-rate, --gate-learning-rate or --sparsity-weight in a new "
    )
    with pytest.raises(loop.Diverged, match=said + gate_too):
        loop.fit(config, dataset, tmp_path)
    assert not any(path.name.isdigit() for path in (tmp_path / "checkpoints").iterdir())
    plain = dataclasses.replace(config, gate="none")
    with pytest.raises(loop.Diverged, match=said + "nothing of it was saved, try a smaller --learning-rate in a new "):
        loop.fit(plain, dataset, tmp_path / "plain")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, loop.fit(*tiny_run(), folder)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("gate", np.nan, "gate is"),
        ("params", np.inf, r"params\['classifier'\]\['bias'\] is"),
        ("batch_stats", np.nan, r"batch_stats\['norm'\]\['mean'\] is"),
        ("optimizer_state", np.inf, r"optimizer\S+ is"),
        ("loss", np.nan, "loss is"),
    ],
)
def test_what_is_not_finite_is_named_and_the_last_good_state_kept(whole_run, tmp_path, monkeypatch, place, value, said):
    config, dataset = tiny_run()
    segment = loop.train_segment

    def spoilt(*arguments, path, **constants):
        state, total_loss = segment(*arguments, path=path, **constants)
        if path == "std" or arguments[-1] < 3:
            return state, total_loss
        if place == "loss":
            return state, total_loss + value
        leaves, structure = jax.tree.flatten(getattr(state, place))
        leaves[0] = leaves[0] + value
        return dataclasses.replace(state, **{place: jax.tree.unflatten(structure, leaves)}), total_loss

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_segment", spoilt)
        rate = float(schedule.learning_rate("cosine", config.optimizer.learning_rate, 12)(5))  # the sixth step's
        where = rf"in epoch 2 \(lsg\), step 3 of 3, at learning rate {rate:.4g};"
        with pytest.raises(
            loop.Diverged, match=rf"^{said} not finite {where} .* --gate-learning-rate or --sparsity-weig"
        ):
            loop.fit(config, dataset, tmp_path)
    assert len(load_run(tmp_path).history) == 1
    assert without_times(loop.fit(config, dataset, tmp_path)) == without_times(whole_run[1])


def test_the_last_three_and_the_best_checkpoint_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    arrays = {"a": jnp.ones(2)}
    for step, accuracy in ((10, 0.5), (20, 0.9), (21, None), (30, 0.6), (40, 0.6), (50, 0.6)):
        checkpoints.save(step, arrays, arrays, {"history": []}, accuracy)
    checkpoints.close()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [20, 30, 40, 50]
    checkpoints = Checkpoints(tmp_path)  # as a resume does
    checkpoints.save(60, arrays, arrays, {"history": []}, 0.6)
    checkpoints.close()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [20, 40, 50, 60]
    # An earlier version said it in the history alone.
    (tmp_path / "20" / "run" / "metadata").write_text('{"history": [{"test_accuracy": 0.9}]}')
    (tmp_path / "50" / "run" / "metadata").write_text('{"history": [{"test_accuracy": 0.99}], "seconds": 3.0}')
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(65, arrays, arrays, {"history": []}, None)
    checkpoints.close()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [20, 50, 60, 65]
    (tmp_path / "20" / "run" / "metadata").write_text("{")  # a damaged one is no more the best, and in nobody's way
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(70, arrays, arrays, {"history": []}, 0.5)
    checkpoints.close()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [60, 65, 70]


@pytest.mark.parametrize("item", ["run", "variables"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_too(tmp_path, item):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    for file in (tmp_path / "checkpoints" / "12" / item).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(ValueError, match=r"checkpoints/12 is damaged .*; open .*checkpoints/9 instead"):
        load_run(tmp_path)
    assert load_run(tmp_path / "checkpoints" / "9").history[-1]["epoch"] == 2


def spoil(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path, seed):
    rng = np.random.default_rng(seed)
    arrays = {name: {"a": rng.normal(size=(5, 7)).astype(np.float32)} for name in ("variables", "training")}
    run = {
        "format": 3,
        "history": [{"loss": float(rng.normal()), "path": "lsg"}],
        "config": {"name": "x", "init": None},
    }
    checkpoints = Checkpoints(tmp_path / "good")
    checkpoints.save(1, *arrays.values(), run, None)
    checkpoints.close()
    files = sorted(path for path in (tmp_path / "good" / "1").rglob("*") if path.is_file() and path.stat().st_size)
    noticed = 0
    for attempt in range(20):
        shutil.copytree(tmp_path / "good", copy := tmp_path / str(attempt))
        spoil(copy / files[rng.integers(len(files))].relative_to(tmp_path / "good"), rng)
        opened = Checkpoints(copy, read_only=True)
        try:
            assert opened.describe(1) == run | {"test_accuracy": None, "written by": version("lsg-jax")}
            chex.assert_trees_all_equal(opened.restore(1, **arrays), arrays)
        except checkpoint.Damaged:
            noticed += 1
        finally:
            opened.close()
    assert noticed > 5


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(whole_run, tmp_path, capsys):
    config, dataset = tiny_run()
    folder, whole = whole_run
    shutil.copytree(folder, tmp_path / "cut")
    arrays = [path for path in (tmp_path / "cut" / "checkpoints" / "12" / "variables").rglob("d/*") if path.is_file()]
    largest = max(arrays, key=lambda path: path.stat().st_size)
    spoil(largest, np.random.default_rng(0))
    capsys.readouterr()
    assert without_times(loop.fit(config, dataset, tmp_path / "cut")) == without_times(whole)
    assert "checkpoints/12 is damaged" in (said := capsys.readouterr()).err
    assert "resuming after epoch 3, step 9" in said.out
    assert [path.name for path in (tmp_path / "cut" / "damaged").iterdir()] == ["12-1"]
    chex.assert_trees_all_equal(load_run(tmp_path / "cut").params, load_run(folder).params)
    for step in ("3", "6", "9", "12"):
        for file in (tmp_path / "cut" / "checkpoints").glob(f"{step}/run/*"):
            file.write_text("{")
    with pytest.raises(ValueError, match="holds no checkpoint that can be read; choose another --output"):
        loop.fit(config, dataset, tmp_path / "cut")
    assert len(list((tmp_path / "cut" / "checkpoints").iterdir())) > 2


def test_a_checkpoint_without_digests_is_incomplete_and_what_others_put_there_does_not_count(
    whole_run, tmp_path, capsys
):
    folder, whole = whole_run
    shutil.copytree(folder, tmp_path / "cut")
    steps = tmp_path / "cut" / "checkpoints"
    (steps / "9" / ".DS_Store").write_text("x")
    (steps / "12" / "digests.json").unlink()
    with pytest.raises(checkpoint.Damaged, match=r"12 is incomplete \(digests.json is missing\); open .*/9 instead"):
        load_run(tmp_path / "cut")
    with pytest.raises(checkpoint.Damaged, match=r"12 is incomplete .*; open .*/9 instead"):
        load_run(steps / "12")
    capsys.readouterr()
    assert without_times(loop.fit(*tiny_run(), tmp_path / "cut")) == without_times(whole)
    assert "checkpoints/12 is incomplete" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "cut" / "damaged").iterdir()] == ["12-1"]


def test_a_first_checkpoint_that_was_cut_short_is_no_obstacle(whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path / "cut")
    for step in (tmp_path / "cut" / "checkpoints").iterdir():
        if step.name != "3":
            shutil.rmtree(step)
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "cut" / "checkpoints" / "3" / "digests.json").unlink()
    assert without_times(loop.fit(*tiny_run(), tmp_path / "cut")) == without_times(whole_run[1])


def test_checkpoints_whose_digests_are_all_gone_are_not_trained_on_and_not_removed(whole_run, tmp_path, capsys):
    shutil.copytree(whole_run[0], tmp_path / "cut")
    steps = sorted((tmp_path / "cut" / "checkpoints").iterdir())
    for step in steps:
        (step / "digests.json").unlink()
    with pytest.raises(ValueError, match="cut holds no checkpoint that can be read; choose another --output"):
        loop.fit(*tiny_run(), tmp_path / "cut")
    told = [line.partition("; ")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == ["trying the one before it"] * (len(steps) - 1) + [""]
    assert sorted((tmp_path / "cut" / "checkpoints").iterdir()) == steps


def test_seeds_of_which_one_has_no_digests_name_that_one(tmp_path):
    config, dataset = tiny_run()
    loop.fit_seeds(config, dataset, tmp_path, 2)
    for file in tmp_path.glob("seed1/checkpoints/*/digests.json"):
        file.unlink()
    with pytest.raises(ValueError, match="seed1 holds no checkpoint that can be read; choose another --output"):
        loop.fit_seeds(config, dataset, tmp_path, 2)


def test_seeds_of_which_one_has_its_first_checkpoint_cut_short_start_anew_together(tmp_path):
    config, dataset = tiny_run()
    whole = loop.fit_seeds(config, dataset, tmp_path, 2)
    for step in [*tmp_path.glob("seed?/checkpoints/9"), *tmp_path.glob("seed?/checkpoints/12")]:
        shutil.rmtree(step)
    assert [path.name for path in tmp_path.glob("seed?/checkpoints/*")] == ["6", "6"]
    (tmp_path / "seed1" / "checkpoints" / "6" / "digests.json").unlink()
    again = loop.fit_seeds(config, dataset, tmp_path, 2)
    assert [without_times(history) for history in again] == [without_times(history) for history in whole]
    assert len((tmp_path / "seed0" / "metrics.jsonl").read_text().splitlines()) == 4


def test_what_is_not_finite_once_and_not_again_has_no_step(tmp_path, monkeypatch):
    config, dataset = tiny_run()
    segment, calls = loop.train_segment, []

    def spoilt(*arguments, **constants):
        state, total_loss = segment(*arguments, **constants)
        calls.append(arguments[-2:])
        return state, total_loss + np.nan if calls[-1] == (1, 3) else total_loss

    monkeypatch.setattr(loop, "train_segment", spoilt)
    with pytest.raises(
        loop.Diverged, match=r"^loss is not finite in epoch 1 \(std\), one of the steps 2 to 3 of 3, at"
    ):
        loop.fit(config, dataset, tmp_path)
    assert calls == [(0, 0), (0, 1), (1, 3), (1, 2), (2, 3)]


def test_nothing_is_written_for_a_configuration_that_does_not_fit(tmp_path):
    config, dataset = tiny_run()
    loose = dataclasses.replace(config, lsg=dataclasses.replace(config.lsg, sparsity_weight=None))
    with pytest.raises(ValueError, match="not resolved"):
        loop.fit(loose, dataset, tmp_path / "run")
    few = dataset._replace(
        train=dataset.train._replace(images=dataset.train.images[:9], labels=dataset.train.labels[:9])
    )
    with pytest.raises(ValueError, match="--batch-size must be at most the 9 training examples, got 64"):
        loop.fit(config, few, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_gradient_of_the_gate_that_is_not_finite_is_noticed(tmp_path):
    config, dataset = tiny_run()
    config = dataclasses.replace(config, lsg=dataclasses.replace(config.lsg, gate_learning_rate=3e38))
    said = r"^gate is not finite in epoch 2 \(lsg\), step 1 of 3, .* try a smaller --gate-learning-rate or --spars"
    with pytest.raises(loop.Diverged, match=said):
        loop.fit(config, dataset, tmp_path)
    assert len(load_run(tmp_path).history) == 1


def test_the_seed_that_is_not_finite_is_named(tmp_path, monkeypatch):
    config, dataset = tiny_run()
    segment = loop.train_segment

    def spoilt(*arguments, **constants):
        state, total_loss = segment(*arguments, **constants)
        return state, total_loss.at[1].set(np.nan) if arguments[-1] >= 2 else total_loss

    monkeypatch.setattr(loop, "train_segment", spoilt)
    with pytest.raises(loop.Diverged, match=r"^loss is not finite of seed 1 in epoch 1 \(std\), step 2 of 3"):
        loop.fit_seeds(config, dataset, tmp_path, 2)


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


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"a": np.zeros(3)}, None, {"format": 3}, None)
    assert checkpoints.restore(2, variables={"a": np.ones(3)})["variables"]["a"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"\(arrays of other shapes\)"):
        checkpoints.restore(2, variables={"a": np.zeros(4)})
    checkpoints.close()


def test_a_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch):
    config, dataset = tiny_run()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_FORMAT", 1)
        loop.fit(config, dataset, tmp_path)
    for open_again in (lambda: load_run(tmp_path), lambda: loop.fit(config, dataset, tmp_path)):
        with pytest.raises(ValueError, match="is of format 1, and this version reads formats 2 and 3; train it again"):
            open_again()


def test_a_run_folder_may_be_named_by_a_number(tmp_path):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path / "7")
    assert load_run(tmp_path / "7").history == history


def test_load_run_evaluates_to_the_history(tmp_path):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path)
    run = load_run(tmp_path)
    images, labels = dataset.test
    assert np.mean(run.logits(images).argmax(1) == labels) == pytest.approx(history[-1]["test_accuracy"])
    gated = run.logits(images, labels)
    assert numpy_cross_entropy(gated, labels) == pytest.approx(history[-1]["lsg_test_cross_entropy"], rel=1e-4)
    np.testing.assert_allclose(run.logits(images / 255.0), run.logits(images), rtol=1e-4, atol=1e-4)
    short = jnp.asarray(images / 255.0, jnp.bfloat16)
    np.testing.assert_allclose(run.logits(short), run.logits(np.asarray(short, np.float32)), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(run.feature_maps(images).mean((1, 2)), run.features(images), rtol=1e-4, atol=1e-5)
    traced = jax.jit(run.probabilities)(images)
    np.testing.assert_allclose(traced, softmax(run.logits(images), axis=1), rtol=1e-4, atol=1e-6)
    assert run.history == history
    with pytest.raises(ValueError, match=r"in \[0, 9\]"):
        run.logits(images[:1], [10])
    with pytest.raises(ValueError, match="must lie in"):
        run.logits(images.astype(np.float32))


def test_feature_maps_are_float32_whatever_the_convolutions_compute_in(runs):
    run = load_run(runs / "learned")
    half = dataclasses.replace(run, config=dataclasses.replace(run.config, precision="bfloat16"))
    images = np.zeros((1, *run.image_shape), np.uint8)
    assert half.feature_maps(images).dtype == half.features(images).dtype == half.logits(images).dtype == np.float32


def test_a_saved_run_opens_as_it_was_and_says_nothing_of_this_machine(tmp_path):
    config, dataset = tiny_run(data=DataConfig(dataset="digits", data_dir=tmp_path))
    loop.fit(config, dataset, tmp_path / "run")
    run = load_run(tmp_path / "run")
    save_run(run, tmp_path / "saved")
    again = load_run(tmp_path / "saved")
    for name in ("params", "batch_stats", "gate", "history", "class_names", "image_shape", "mean", "std"):
        chex.assert_trees_all_equal(getattr(again, name), getattr(run, name))
    np.testing.assert_array_equal(again.logits(dataset.test.images), run.logits(dataset.test.images))
    assert again.config.settings() == run.config.settings()
    assert not list((tmp_path / "saved").rglob("training"))
    lines = (tmp_path / "saved" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history
    for file in (path for path in (tmp_path / "saved").rglob("*") if path.is_file()):
        assert str(tmp_path).encode() not in file.read_bytes(), file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "saved"]
    with pytest.raises(FileExistsError, match="saved exists already"):
        save_run(run, tmp_path / "saved")


def test_optimizers_are_plain():
    updates, _ = states.learned_gate_optimizer(0.5).update(
        jnp.asarray([[0.0], [1.0]]), states.learned_gate_optimizer(0.5).init(jnp.ones((2, 1))), jnp.ones((2, 1))
    )
    np.testing.assert_allclose(optax.apply_updates(jnp.ones((2, 1)), updates), [[1], [0.5]])
