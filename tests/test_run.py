"""A run that is opened again, and one that is saved."""

import dataclasses
import errno
import json
import logging
from importlib import metadata

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from lsg_jax import load_run, save_run
from lsg_jax.analysis import attacks
from lsg_jax.checkpoint import Checkpoints
from lsg_jax.config import DataConfig
from lsg_jax.run import environment
from lsg_jax.training import loop
from tests.conftest import tiny_run


def test_opening_a_run_says_nothing(tmp_path, caplog):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="absl"):  # which the commands, tested in this process, turn down
        load_run(tmp_path)
    assert not caplog.records


def test_a_run_folder_may_be_named_by_a_number(tmp_path):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path / "7")
    assert load_run(tmp_path / "7").history == history


def test_a_folder_of_seeds_names_the_first_of_its_runs(tmp_path):
    for seed in (9, 10):
        (tmp_path / f"seed{seed}" / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"a run for each of several seeds; name one of them, such as .*seed9$"):
        load_run(tmp_path)


def test_load_run_evaluates_to_the_history(tmp_path):
    config, dataset = tiny_run()
    history = loop.fit(config, dataset, tmp_path)
    run = load_run(tmp_path)
    images, labels = dataset.test
    assert np.mean(run.logits(images).argmax(1) == labels) == pytest.approx(history[-1]["test_accuracy"])
    gated = run.logits(images, labels)
    assert log_loss(labels, softmax(gated, axis=1)) == pytest.approx(history[-1]["lsg_test_cross_entropy"], rel=1e-4)
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


def test_without_an_installation_a_run_is_trained_saved_and_opened(tmp_path, monkeypatch):
    found = metadata.version

    def version(package):
        if package == "lsg-jax":
            raise metadata.PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(metadata, "version", version)
    environment.cache_clear()
    try:
        config, dataset = tiny_run()
        loop.fit(config, dataset, tmp_path / "run")
        run = load_run(tmp_path / "run")
        assert run.environment["lsg-jax"] == "not installed"
        described = Checkpoints(tmp_path / "run" / "checkpoints").describe(12)
        assert described["written by"] is None
        assert run.environment["jax"] == jax.__version__
        save_run(run, tmp_path / "saved")
    finally:
        environment.cache_clear()


def test_a_run_saved_in_the_middle_of_an_epoch_claims_no_accuracy_of_another_state(runs, tmp_path):
    run = load_run(runs / "learned")
    moved = dataclasses.replace(run, params=jax.tree.map(lambda a: a + 1, run.params))
    save_run(moved, tmp_path / "saved")
    chex.assert_trees_all_equal(load_run(tmp_path / "saved").params, moved.params)
    (said,) = (tmp_path / "saved" / "checkpoints").glob("*/run/metadata")
    assert json.loads(said.read_text())["test_accuracy"] is None


def test_a_run_that_cannot_be_saved_leaves_nothing_behind(runs, tmp_path, monkeypatch):
    run, close, closed = load_run(runs / "learned"), Checkpoints.close, []

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    monkeypatch.setattr(Checkpoints, "close", lambda self: closed.append(close(self)))
    with pytest.raises(OSError, match="No space left"):
        save_run(run, tmp_path / "saved")
    assert len(closed) == 1
    assert not list(tmp_path.iterdir())


def test_runs_of_one_model_share_their_programs(runs):
    learned, none = (load_run(runs / name) for name in ("learned", "none"))
    images, labels = np.zeros((2, *learned.image_shape), np.uint8), np.zeros(2, int)
    program = attacks.one_pixel.__wrapped__
    before = program._cache_size()
    first, second = (
        attacks.one_pixel(run.probabilities, images, labels, jax.random.key(0), population=3, generations=0)
        for run in (learned, none)
    )
    assert program._cache_size() == before + 1
    for run, found in ((learned, first), (none, second)):
        changed = np.asarray(run.probabilities(found.images))
        np.testing.assert_array_equal(found.success, changed.argmax(axis=1) != labels)
    assert not np.allclose(learned.probabilities(images), none.probabilities(images))
