"""A run that is stopped, resumed, refused or diverges, alone and with others."""

import concurrent.futures
import dataclasses
import errno
import functools
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from lsg_jax import data, load_run, models, schedule
from lsg_jax.config import Config, GateConfig, OptimizerConfig, OutputConfig
from lsg_jax.training import evaluation, initialization, loop, parallel, progress, segments, signals, steps
from lsg_jax.training import folder as folders
from lsg_jax.training import state as states
from tests.conftest import tiny_run, without_times


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


@pytest.mark.parametrize("place", ["train_segment", "evaluate"])
def test_a_signal_in_the_last_epoch_is_told_once_all_is_saved(whole_run, tmp_path, monkeypatch, place):
    config, dataset = tiny_run()
    function, calls = getattr(loop, place), []

    def signalled(*arguments, **constants):
        calls.append(arguments[-1])
        if calls.count(3) == 4 if place == "train_segment" else len(calls) == 4:  # an epoch has 3 steps
            signal.raise_signal(signal.SIGTERM)
        return function(*arguments, **constants)

    monkeypatch.setattr(loop, place, signalled)
    with pytest.raises(loop.Interrupted):
        loop.fit(config, dataset, tmp_path)
    assert without_times(load_run(tmp_path).history) == without_times(whole_run[1])
    chex.assert_trees_all_equal(load_run(tmp_path).params, load_run(whole_run[0]).params)


def test_a_signal_while_a_finished_run_is_repeated_is_told(whole_run, tmp_path, monkeypatch):
    train = loop._train

    def signalled(*arguments):
        signal.raise_signal(signal.SIGINT)
        train(*arguments)

    monkeypatch.setattr(loop, "_train", signalled)
    with pytest.raises(loop.Interrupted):
        loop.fit(*tiny_run(), shutil.copytree(whole_run[0], tmp_path / "again"))


def test_another_configuration_is_refused_by_name(tmp_path):
    config, dataset = tiny_run()
    loop.fit(config, dataset, tmp_path)
    other = dataclasses.replace(config, seed=3)
    with pytest.raises(ValueError, match=r"--seed 0 there, 3 here"):
        loop.fit(other, dataset, tmp_path)


@pytest.mark.parametrize(("split", "label", "found"), [("train", -1, "-1 to 9"), ("test", 10, "0 to 10")])
def test_a_label_that_is_no_class_is_refused(tmp_path, split, label, found):
    config, dataset = tiny_run()
    images, labels = getattr(dataset, split)
    wrong = dataset._replace(**{split: data.Split(images, np.where(np.arange(len(labels)) == 3, label, labels))})
    with pytest.raises(ValueError, match=rf"^{split}\w* labels must lie in \[0, 9\], got {found}$"):
        loop.fit(config, wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_last_seeds_there_are_can_be_trained(tmp_path):
    config, dataset = tiny_run(seed=2**32 - 2, optimizer=OptimizerConfig(epochs=1, batch_size=64))
    loop.fit_seeds(config, dataset, tmp_path, 2)
    assert load_run(tmp_path / f"seed{2**32 - 1}").config.seed == 2**32 - 1


def test_what_a_start_left_that_was_killed_is_not_in_the_way(tmp_path):
    config, dataset = tiny_run(optimizer=OptimizerConfig(epochs=1, batch_size=64))
    ours, theirs = tmp_path / "config.json.0123456789abcdef.tmp", tmp_path / "notes.tmp"
    for left in (ours, theirs):
        left.write_text("{")
    (tmp_path / "lock").touch()
    (tmp_path / "checkpoints").mkdir()
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


@pytest.mark.parametrize("seeds", [np.uint32(0), np.arange(2, dtype=np.uint32)])
def test_the_evaluation_is_compiled_once_for_all_its_segments(monkeypatch, caplog, seeds):
    monkeypatch.setattr(evaluation, "_BATCH", 50)  # of 360 test images
    config, dataset = tiny_run()
    initial = functools.partial(initialization.initial_state, config, dataset, schedule.learning_rate("step", 0.1, 12))
    mesh = parallel.mesh(seeds.size)
    state = (
        parallel.shard_seeds(jax.vmap(initial)(seeds), mesh) if seeds.ndim else parallel.replicate(initial(seeds), mesh)
    )
    with jax.log_compiles(), caplog.at_level("WARNING"):
        evaluation.evaluate(state, segments.on_devices(dataset.test, mesh), dataset, mesh)
    assert sum("Compiling jit(evaluate_segment)" in said for said in caplog.messages) == 1


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


def test_no_seed_is_begun_where_one_is_refused(tmp_path):
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "notes").touch()
    with pytest.raises(ValueError, match="seed1 is not empty and holds no run; choose another --output"):
        loop.fit_seeds(*tiny_run(), tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["seed1"]


@pytest.mark.parametrize("fit", [loop.fit, functools.partial(loop.fit_seeds, seeds=4)])
def test_a_configuration_of_several_seeds_is_refused(tmp_path, fit):
    config, dataset = tiny_run(run=OutputConfig(seeds=4))
    with pytest.raises(ValueError, match="must be of one seed, got --seeds=4; fit_seeds is told how many"):
        fit(config, dataset, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_command_at_once(tmp_path, first):
    (tmp_path / "endless").mkdir()
    (tmp_path / "endless" / "__init__.py").write_text("import experiments")  # as each command does
    (tmp_path / "endless" / "__main__.py").write_text(
        "import time\nfrom lsg_jax.training import signals\n"
        "with signals.collected():\n    print('training', flush=True)\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "endless"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
        assert process.stdout.readline() == "training\n"
        process.send_signal(first)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == "stopping once the running steps are saved; once more to stop at once\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr.read() == "stopped; what was saved is kept\n"


BUSY = """
import hashlib, sys
from pathlib import Path
from lsg_jax import models
from lsg_jax.training import evaluation, loop
from tests.conftest import Tiny, tiny_run

def compile_for(*_):
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # for minutes, in which no handler in Python is called

models.MODELS["tiny"] = Tiny
evaluation.compile_for = compile_for
loop.fit(*tiny_run(), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_programs_are_compiled_ends_a_command_at_once(tmp_path, whole_run, number):
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "__init__.py").write_text("import experiments")  # as each command does
    (tmp_path / "busy" / "__main__.py").write_text(BUSY)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "busy", tmp_path / "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline() for _ in range(2)]
        process.send_signal(number)
        try:
            assert process.wait(timeout=2) == -number  # 130 or 143 to a shell
        finally:
            process.kill()
    assert said == ["compiling, which takes longest the first time\n", "busy\n"]
    assert without_times(loop.fit(*tiny_run(), tmp_path / "run")) == without_times(whole_run[1])


def test_ctrl_c_that_is_a_keyboard_interrupt_stays_one_while_programs_are_compiled():
    others = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        before = signal.getsignal(signal.SIGTERM)
        with signals.ending_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGINT, others)


@pytest.mark.parametrize("seeds", [1, 2])
def test_all_programs_are_compiled_before_the_first_step(tmp_path, caplog, monkeypatch, seeds):
    compiled, train = [], loop._train

    def segments_compiled():
        return [said.split()[1] for said in caplog.messages if said.startswith("Compiling") and "_segment" in said]

    def watched(*arguments):
        compiled.extend(segments_compiled())
        train(*arguments)

    monkeypatch.setattr(loop, "_train", watched)
    jax.clear_caches()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        loop.fit_seeds(*tiny_run(), tmp_path, seeds) if seeds > 1 else loop.fit(*tiny_run(), tmp_path)
    assert compiled == [*2 * ["jit(train_segment)"], "jit(evaluate_segment)"]
    assert segments_compiled() == compiled


def test_a_thread_trains_without_signals(tmp_path):
    config, dataset = tiny_run()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        history = pool.submit(loop.fit, config, dataset, tmp_path / "run").result()
    assert without_times(history) == without_times(loop.fit(config, dataset, tmp_path / "other"))


def test_seeds_without_a_common_checkpoint_start_anew_only_where_a_first_one_is_lost(tmp_path, capsys):
    config, dataset = tiny_run()
    whole = loop.fit_seeds(config, dataset, tmp_path, 2)
    first, second = (tmp_path / seed / "checkpoints" for seed in ("seed0", "seed1"))
    shutil.move(second, tmp_path / "aside")
    said = "seed0 has checkpoints of steps that another seed's folder has not; put that"
    for kept, theirs in (({"6", "9", "12"}, set()), ({"9"}, {"12"})):
        for step in first.iterdir():
            if step.name not in kept:
                shutil.rmtree(step)
        for step in theirs:
            shutil.copytree(tmp_path / "aside" / step, second / step)
        with pytest.raises(ValueError, match=said):
            loop.fit_seeds(config, dataset, tmp_path, 2)
        assert [{step.name for step in each.iterdir()} for each in (first, second)] == [kept, theirs]
    shutil.rmtree(first / "9")
    capsys.readouterr()
    again = loop.fit_seeds(config, dataset, tmp_path, 2)
    warning = (
        f"warning: {tmp_path / 'seed1'} has the first checkpoint, and another seed's folder has not; starting anew"
    )
    assert warning in capsys.readouterr().err.splitlines()
    assert [without_times(each) for each in again] == [without_times(each) for each in whole]


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


def test_theta_has_the_learning_rate_and_the_schedule_that_are_set(tmp_path):
    optimizer = OptimizerConfig(epochs=4, batch_size=64, learning_rate=0.25, schedule="step")
    history = loop.fit(*tiny_run(optimizer=optimizer), tmp_path)
    assert [line["learning_rate"] for line in history] == pytest.approx([0.25, 0.25, 0.025, 0.0025])


def test_a_run_that_is_being_trained_is_refused(tmp_path):
    config, dataset = tiny_run()
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path,))
    holder.start()
    while not (tmp_path / "held").exists():
        assert holder.is_alive(), f"it ended with status {holder.exitcode}"
        time.sleep(0.01)
    try:
        with pytest.raises(ValueError, match=f"being trained by process {holder.pid};"):
            loop.fit(config, dataset, tmp_path / "run")
    finally:
        holder.kill()
        holder.join()
    assert len(loop.fit(config, dataset, tmp_path / "run")) == 4


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    said = rf"run cannot be locked \({os.strerror(number)}\); choose an --output on another file system"
    with pytest.raises(ValueError, match=said):
        loop.fit(*tiny_run(), tmp_path / "run")


def hold(folder):
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
    settings = (tmp_path / "config.json").read_text()
    elsewhere = dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=tmp_path))
    train = dataset.train
    for other in (
        dataset._replace(mean=(0.5,)),
        dataset._replace(train=train._replace(labels=train.labels[::-1].copy())),
        dataset._replace(test=dataset.test._replace(images=dataset.test.images // 2)),
    ):
        with pytest.raises(ValueError, match="other data"):
            loop.fit(elsewhere, other, tmp_path)
        assert (tmp_path / "config.json").read_text() == settings
    loop.fit(elsewhere, dataset, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["data"]["data_dir"] == str(tmp_path)


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


@pytest.mark.parametrize(("module", "name"), [(loop, "train_segment"), (evaluation, "evaluate_segment")])
def test_the_bar_is_wiped_away_before_an_error_is_told(tmp_path, monkeypatch, module, name):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "tqdm", lambda **options: tqdm(**options | {"file": screen, "disable": False}))
    segment = getattr(module, name)

    def crash(*arguments, **constants):
        if arguments[-1] > 0:
            raise Crash
        return segment(*arguments, **constants)

    monkeypatch.setattr(module, name, crash)
    with pytest.raises(Crash) as error:
        loop.fit(*tiny_run(), tmp_path)
    assert "epoch 1/4 std" in screen.getvalue()
    assert screen.getvalue().endswith(" \r"), error  # its traceback holds what is still open


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
    assert calls == [(0, 0), (0, 0), (0, 1), (1, 3), (1, 2), (2, 3)]


@pytest.mark.parametrize("measure", ["test_cross_entropy", "lsg_test_accuracy"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_what_is_measured_and_not_finite_is_not_recorded(tmp_path, monkeypatch, measure, seeds):
    config, dataset = tiny_run()
    evaluate, calls = loop.evaluate, []

    def spoilt(*arguments):
        calls.append(arguments)
        measured = evaluate(*arguments)
        if len(calls) == 2:
            measured[measure] += np.squeeze([0.0, np.inf][-seeds:])  # of the last
        return measured

    monkeypatch.setattr(loop, "evaluate", spoilt)
    of_seed = "" if seeds == 1 else " of seed 1"
    said = rf"^{measure} is not finite{of_seed} in epoch 2 \(lsg\), step 3 of 3, at .*; nothing of it was saved, try a"
    with pytest.raises(loop.Diverged, match=said):
        loop.fit(config, dataset, tmp_path) if seeds == 1 else loop.fit_seeds(config, dataset, tmp_path, seeds)
    for lines in tmp_path.rglob("metrics.jsonl"):
        assert len(lines.read_text().splitlines()) == 1
    assert {path.name for path in tmp_path.rglob("checkpoints/*")} == {"3"}


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
