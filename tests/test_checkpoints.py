"""Which checkpoints are kept, and what becomes of those that are damaged, incomplete or of another format."""

import contextlib
import json
import shutil
from importlib.metadata import version

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from lsg_jax import checkpoint, load_run
from lsg_jax.checkpoint import Checkpoints
from lsg_jax.training import loop
from tests.conftest import tiny_run, without_times


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
        "data": {"class_names": ["a", "b"], "image_shape": [2, 2, 1], "mean": [0.5], "std": [0.25]},
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
    whole_run, tmp_path, capsys, caplog
):
    folder, whole = whole_run
    shutil.copytree(folder, tmp_path / "cut")
    steps = tmp_path / "cut" / "checkpoints"
    (steps / "9" / ".DS_Store").write_text("x")
    (steps / "12" / "digests.json").unlink()
    with pytest.raises(checkpoint.Damaged, match=r"12 is incomplete \(digests.json is missing\); open .*/9 instead"):
        load_run(steps / "12")
    caplog.set_level("WARNING", "lsg_jax")
    assert len(load_run(tmp_path / "cut").history) == 3  # as a reader finds it while it is saved
    (said,) = caplog.messages
    assert said == f"{steps / '12'} is incomplete; opening the one before it"
    capsys.readouterr()
    assert without_times(loop.fit(*tiny_run(), tmp_path / "cut")) == without_times(whole)
    assert "checkpoints/12 is incomplete" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "cut" / "damaged").iterdir()] == ["12-1"]


@pytest.mark.parametrize(
    ("names", "unnamed"), [("", "run"), ("variables/ training/", "run"), ("run/ training/", "variables")]
)
def test_digests_that_leave_an_item_out_are_no_digests(whole_run, tmp_path, names, unnamed):
    shutil.copytree(whole_run[0], tmp_path / "cut")
    file = tmp_path / "cut" / "checkpoints" / "12" / "digests.json"
    kept = {
        name: digest for name, digest in json.loads(file.read_text()).items() if name.startswith(tuple(names.split()))
    }
    for digests in (kept, list(kept.items())):
        file.write_text(json.dumps(digests))
        with pytest.raises(checkpoint.Damaged, match=rf"12 is damaged .*\(digests.json names no file of {unnamed}\)"):
            load_run(tmp_path / "cut")


def test_marks_are_empty_and_checked_but_not_those_of_earlier_versions(whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path / "cut")
    step = tmp_path / "cut" / "checkpoints" / "12"
    marks = sorted(step.rglob("commit_success.txt"))
    assert {mark.read_text() for mark in marks} == {""}
    for mark in marks:  # as an earlier version left them
        mark.write_text(f"Checkpoint commit was successful to {mark.parent}")
        with pytest.raises(
            checkpoint.Damaged, match=rf"12 is damaged .*{mark.relative_to(step)} is not as it was saved"
        ):
            load_run(tmp_path / "cut")
        digests = json.loads((step / "digests.json").read_text())
        del digests[str(mark.relative_to(step))]
        (step / "digests.json").write_text(json.dumps(digests))
    assert load_run(tmp_path / "cut").history[-1]["epoch"] == 3


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
