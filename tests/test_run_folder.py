"""A run folder belongs to one configuration, and those that are committed open as they were written."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lsg_jax import data, load_run, save_run
from lsg_jax.config import Config
from lsg_jax.training import loop
from lsg_jax.training.folder import check_folder
from tests.conftest import tiny_run

FIXTURES = Path(__file__).parent / "fixtures"  # two epochs of ``tiny``, written as each version did
RUNS = sorted((Path(__file__).parents[1] / "results").glob("runs/*"))
ALTERED = {
    "model": "resnet8",
    "init": Path("elsewhere"),
    "gate": "none",
    "scheme": "joint",
    "precision": "bfloat16",
    "seed": 1,
    "dataset": "cifar10",
    "train_examples": 100,
    "holdout": 1,
    "epochs": 9,
    "batch_size": 32,
    "learning_rate": 0.5,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "schedule": "step",
    "gate_learning_rate": 0.5,
    "gate_loss_weight": 0.5,
    "sparsity_weight": 0.5,
    "sparsity_target": 5.0,
    "silence_weight": 0.5,
    "complement_weight": 0.5,
    "period": 4,
    "phase": 2,
    "gate_init": 0.5,
    "tighten_threshold": 0.75,
    "shared_filters": 1,
}


def altered(config, name):
    """The configuration with one field changed, wherever it lies."""
    for part in ("data", "optimizer", "lsg"):
        inner = getattr(config, part)
        if name in {field.name for field in dataclasses.fields(inner)}:
            return dataclasses.replace(config, **{part: dataclasses.replace(inner, **{name: ALTERED[name]})})
    return dataclasses.replace(config, **{name: ALTERED[name]})


def test_every_setting_is_altered(runs):
    assert {name.replace("_", "-") for name in ALTERED} == set(load_run(runs / "learned").config.settings())


@pytest.mark.parametrize("name", ALTERED)
def test_a_folder_of_another_setting_is_refused_and_the_setting_named(runs, name):
    config = load_run(runs / "learned").config
    check_folder(config, runs / "learned")
    option = name.replace("_", "-")
    here, there = altered(config, name).settings()[option], config.settings()[option]
    with pytest.raises(ValueError, match=f"holds another run: --{option} {there} there, {here} here; choose another"):
        check_folder(altered(config, name), runs / "learned")


def test_a_run_of_an_earlier_version_opens_or_tells_which_one_it_needs():
    run = load_run(FIXTURES / "format2")
    images = data.load("digits", train_examples=320).test
    assert np.mean(run.logits(images.images).argmax(1) == images.labels) == run.history[-1]["test_accuracy"]
    with pytest.raises(
        ValueError, match=r"/2 is of format 1, and this version reads formats 2 and 3; .* or use commit 0884873 of lsg-"
    ):
        load_run(FIXTURES / "format1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("format1", "is of format 1, and this version reads formats 2 and 3"),
        ("format2", "format2 was published or imported without what training goes on from"),
    ],
)
def test_a_run_of_an_earlier_version_is_not_trained_on_and_its_checkpoint_left_alone(name, reason, tmp_path):
    shutil.copytree(FIXTURES / name, tmp_path / name)
    config = Config.from_json(json.loads((tmp_path / name / "config.json").read_text())).resolve(320, 10, 4)
    elsewhere = dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=tmp_path))
    with pytest.raises(ValueError, match=reason):
        loop.fit(elsewhere, data.load("digits", train_examples=320), tmp_path / name)
    (tmp_path / name / "lock").unlink()
    assert contents(tmp_path / name) == contents(FIXTURES / name)


@pytest.mark.parametrize("name", ["format2-training", "format3-training"])
def test_a_training_of_an_earlier_version_goes_on(name, whole_run, tmp_path, capsys):
    shutil.copytree(FIXTURES / name, tmp_path / name)
    history = loop.fit(*tiny_run(), tmp_path / name)
    assert "resuming after epoch 2, step 6\n" in capsys.readouterr().out
    assert [line["epoch"] for line in history] == [0, 1, 2, 3]
    # Trained on another machine as far as that: equal but for rounding.
    for measure in ("train_loss", "test_cross_entropy", "density", "learning_rate"):
        assert [line[measure] for line in history] == pytest.approx([line[measure] for line in whole_run[1]], rel=1e-3)


@pytest.mark.parametrize("imported", [False, True])
def test_a_published_run_is_not_trained_on_but_started_from(whole_run, tmp_path, capsys, imported):
    run = load_run(whole_run[0])
    save_run(dataclasses.replace(run, history=[], environment={}) if imported else run, tmp_path / "public")
    before = contents(tmp_path / "public")
    said = "public was published or imported without what .*; choose another --output, with --init=.*public to start"
    with pytest.raises(ValueError, match=said):
        loop.fit(*tiny_run(), tmp_path / "public")
    assert capsys.readouterr().err == ""
    (tmp_path / "public" / "lock").unlink()
    assert contents(tmp_path / "public") == before
    loop.fit(*tiny_run(init=tmp_path / "public"), tmp_path / "other")


def test_that_checkpoints_cannot_be_verified_is_said_where_training_goes_on_from_one(whole_run, tmp_path, capsys):
    shutil.copytree(whole_run[0], tmp_path / "old")
    for digests in (tmp_path / "old").glob("checkpoints/*/digests.json"):
        digests.unlink()
        item = digests.with_name("run") / "metadata"
        item.write_text(json.dumps(json.loads(item.read_text()) | {"format": 2}))
    capsys.readouterr()
    assert loop.fit(*tiny_run(), tmp_path / "old") == whole_run[1]
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.endswith("old, 12 is of a version that saved no digests, so that damage would go unnoticed")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_committed_run_opens_as_it_was_written(run):
    opened = load_run(run)
    assert opened.history == [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert opened.config.to_json() == json.loads((run / "config.json").read_text())
    assert opened.gate.shape == (len(opened.class_names), opened.last_kernel.shape[-1])
    assert float(opened.gate.max(axis=0).min()) == 1
