"""The same program on 1 and 8 virtual CPU devices, and on 4 that belong to two processes."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from lsg_jax import data, load_run, machine, schedule
from lsg_jax.config import Config, DataConfig
from lsg_jax.training import initialization, parallel, progress, segments
from tests.faults.faults import address

TRAIN = """
import dataclasses, json, sys
import jax, jax.numpy as jnp
from conftest import Tiny
from lsg_jax import data, gates, models, schedule
from lsg_jax.config import Config, DataConfig, GateConfig, OptimizerConfig
from lsg_jax.training import evaluation, initialization, parallel, segments
models.MODELS["tiny"] = Tiny
if len(sys.argv) > 1:
    parallel.join(sys.argv[1], 2, int(sys.argv[2]))
config = Config(
    model="tiny",
    data=DataConfig(dataset="digits"),
    optimizer=OptimizerConfig(batch_size=64),
    lsg=GateConfig(silence_weight=2.0, complement_weight=0.5),
)
dataset = data.load("digits")
config = config.resolve(len(dataset.train.labels), 10, 4)
mesh = parallel.mesh()
state = initialization.initial_state(config, dataset, schedule.learning_rate("cosine", 0.1, 20), 0)
state = dataclasses.replace(state, gate=gates.project(jax.random.uniform(jax.random.key(1), (10, 4))))
state = parallel.replicate(state, mesh)
split = segments.on_devices(dataset.train, mesh)
constants = {"batch_size": 64, "padding": 2, "flip": True, "mean": dataset.mean, "std": dataset.std}
constants |= {"mesh": mesh, "stacked": False}
losses = []
for step in range(20):
    total = parallel.replicate(jnp.zeros(()), mesh)
    path = ("std", "lsg", "joint")[step % 3]
    state, total = segments.train_segment(
        state, total, split, 0, 0, jnp.int32(step), jnp.int32(step + 1), path=path, **constants
    )
    losses.append(float(total))
measured = evaluation.evaluate(state, split, dataset, mesh)
measured = {name: float(value) for name, value in measured.items()}
measured["held"] = sum(len(shard.data) for shard in split.images.addressable_shards)
print(json.dumps({"devices": mesh.size, "losses": losses, "gate": state.gate.tolist(), **measured}))
"""


DIGITS = """
import sys
from conftest import Tiny
from experiments import cli, digits
from lsg_jax import models
models.MODELS["tiny"] = Tiny
cli.main(lambda: cli.train(digits.DEFAULT, ""))
"""


def start(devices, *command, folder=None):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    flags += " --xla_backend_optimization_level=0"  # compiling takes longer than what is compiled
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.path.dirname(__file__)}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def in_two_processes(*command):
    coordinator = address()
    numbered = [f"--coordinator={coordinator}", "--processes=2"]
    return [start(1, *command, *numbered, f"--process={process}") for process in range(2)]


def test_seeds_are_trained_alike_on_any_devices(tmp_path):
    command = ("-c", DIGITS, "--model=tiny", "--seeds=4", "--epochs=2")
    folders = [tmp_path / name for name in ("1", "8", "processes")]  # four seeds a device, two devices a seed, ...
    finished = [finish(start(int(folder.name), *command, f"--output={folder}")) for folder in folders[:2]]
    finished += map(finish, in_two_processes(*command, f"--output={folders[2]}"))
    assert [each.returncode for each in finished] == 4 * [0], [each.stderr for each in finished]
    histories = [[load_run(folder / f"seed{seed}").history for seed in range(4)] for folder in folders]
    measures = ("train_loss", "test_cross_entropy", "lsg_test_cross_entropy", "density")
    one, *others = [[[line[name] for name in measures] for run in runs for line in run] for runs in histories]
    for other in others:
        np.testing.assert_allclose(other, one, rtol=1e-3)
    assert len({line[0] for line in one}) == 8


@pytest.mark.parametrize(("extra", "flags"), [(0, ""), (1, ""), (0, "--xla_force_host_platform_device_count=3")])
def test_cores_become_devices_where_seeds_share_them_out(extra, flags):
    cores = machine.cores()
    script = f"from lsg_jax.training import parallel; parallel.use_cores({2 * cores + extra}); "
    script += "import jax; print(jax.device_count())"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    expected = 3 if flags else 1 if extra else cores
    assert int(done.stdout) == expected


def test_devices_and_processes_train_alike():
    finished = [finish(start(count, "-c", TRAIN)) for count in (1, 8)]
    coordinator = address()
    finished += map(finish, [start(2, "-c", TRAIN, coordinator, process) for process in range(2)])
    assert [each.returncode for each in finished] == 4 * [0], [each.stderr for each in finished]
    runs = [json.loads(each.stdout.splitlines()[-1]) for each in finished]
    assert [run["devices"] for run in runs] == [1, 8, 4, 4]
    assert [run["held"] for run in runs] == [1437, 1440, 720, 720]
    for run in runs[1:]:
        np.testing.assert_allclose(run["losses"], runs[0]["losses"], rtol=1e-5)
        np.testing.assert_allclose(run["gate"], runs[0]["gate"], atol=1e-5)
        for name in ("test_cross_entropy", "lsg_test_cross_entropy"):
            assert run[name] == pytest.approx(runs[0][name], rel=1e-5)


def test_a_batch_that_does_not_divide_names_the_sizes(tmp_path):
    finished = finish(start(8, "-m", "experiments.digits", "--batch-size=60", "--output", tmp_path / "run"))
    assert finished.returncode == 2
    assert "--batch-size 60 does not divide over 8 devices" in finished.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_two_processes_stop_together_and_one_resumes(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = ("-c", DIGITS, "--model=tiny", "--epochs=24", "--train-examples=640")
    often = (*settings, "--checkpoint-every=1")
    alone = finish(start(2, *settings, f"--output={whole}"))
    assert alone.returncode == 0, alone.stderr

    first, second = in_two_processes(*often, f"--output={cut}")
    while not (cut / "metrics.jsonl").exists() or not (cut / "metrics.jsonl").read_text():
        assert first.poll() is None
        time.sleep(0.02)
    second.send_signal(signal.SIGTERM)
    stopped = finish(first), finish(second)
    assert [each.returncode for each in stopped] == [143, 143], [each.stderr for each in stopped]
    assert "epoch" in stopped[0].stdout
    assert not stopped[1].stdout
    lines = (cut / "metrics.jsonl").read_text().splitlines()
    assert 1 <= len(lines) < 24
    assert [json.loads(line)["epoch"] for line in lines] == list(range(len(lines)))

    resumed = finish(start(2, *often, f"--output={cut}"))
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stdout
    expected, run = load_run(whole), load_run(cut)
    assert [line["epoch"] for line in run.history] == list(range(24))
    np.testing.assert_allclose(run.gate, expected.gate, atol=1e-4)
    for ours, theirs in zip(run.history, expected.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


def test_a_process_that_fails_ends_the_others(tmp_path):
    (tmp_path / "file").touch()
    first, second = map(finish, in_two_processes("-m", "experiments.digits", f"--output={tmp_path}"))
    assert first.returncode == 2
    assert first.stderr.splitlines()[-1] == f"error: {tmp_path} is not empty and holds no run; choose another --output"
    assert second.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_processes_with_different_settings_are_refused(tmp_path):
    coordinator = address()
    command = (
        "-m",
        "experiments.digits",
        f"--output={tmp_path / 'run'}",
        f"--coordinator={coordinator}",
        "--processes=2",
    )
    both = [start(1, *command, f"--process={process}", f"--seed={process}") for process in range(2)]
    finished = [finish(each) for each in both]
    assert all(each.returncode != 0 for each in finished)
    assert any("started with different settings" in each.stderr for each in finished)
    assert not (tmp_path / "run").exists()


def test_processes_that_do_not_share_the_folder_are_refused(tmp_path):
    command = ("-m", "experiments.digits", "--output=run", f"--coordinator={address()}", "--processes=2")
    both = []
    for process in range(2):
        (tmp_path / str(process)).mkdir()
        both.append(start(1, *command, f"--process={process}", folder=tmp_path / str(process)))
    finished = [finish(each) for each in both]
    assert all(each.returncode != 0 for each in finished)
    assert any("the processes do not share run; choose an --output on storage" in each.stderr for each in finished)
    assert not list(tmp_path.rglob("shared-*"))


def test_a_coordinator_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr(parallel, "_SECONDS_TO_JOIN", 0)
    for coordinator in (address(), "no-such-host.invalid:1234"):
        with pytest.raises(ValueError, match=f"--coordinator {coordinator} cannot be reached"):
            parallel.join(coordinator, 2, 1)


def test_auto_without_a_cluster_says_so():
    finished = finish(start(1, "-m", "experiments.digits", "--coordinator=auto"))
    assert finished.returncode == 2
    assert "--coordinator auto found no cluster" in finished.stderr.splitlines()[-1]


@pytest.mark.parametrize("path", ["std", "lsg"])
def test_the_epoch_program_for_gpu_and_tpu_has_no_host_callback(path):
    config = Config(model="resnet20", data=DataConfig(dataset="digits")).resolve(49_920, 10, 64)
    images = data.Split(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int32))
    dataset = data.load("digits")._replace(train=images)
    rate = schedule.learning_rate("cosine", 0.1, 195)
    state = jax.eval_shape(lambda: initialization.initial_state(config, dataset, rate, 0))
    split = segments.DeviceSplit(
        jax.ShapeDtypeStruct((49_920, 32, 32, 3), np.uint8), jax.ShapeDtypeStruct((49_920,), np.int32)
    )
    constants = {"batch_size": 256, "padding": 4, "flip": True, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    segment = jax.jit(
        functools.partial(segments.train_segment, mesh=parallel.mesh(), stacked=False, path=path, **constants)
    )
    arguments = (
        state,
        jax.ShapeDtypeStruct((), np.float32),
        split,
        0,
        0,
        0,
        195,
    )
    program = jax.export.export(segment, platforms=("cuda", "tpu"))(*arguments).mlir_module()
    assert program.count("stablehlo.convolution") >= 3 * 19 - 1
    called = set(re.findall(r"custom_call @(\w+)", program))
    assert called <= {"cu_threefry2x32_ffi", "Sharding", "annotate_device_placement"}, called


def test_a_fast_epoch_takes_a_handful_of_dispatches():
    assert len(list(progress.Segments().of(0, 195, "epoch", 256))) <= 5
