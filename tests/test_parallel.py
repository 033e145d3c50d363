"""The same program on 1, 2 and 8 devices, each a process of its own with as many virtual CPU devices."""

import functools
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from lsg_jax import data
from lsg_jax.config import Config, DataConfig
from lsg_jax.training import loop, parallel, schedule, segments

TRAIN = """
import json, sys
import jax, jax.numpy as jnp
from conftest import Tiny
from lsg_jax import data, models
from lsg_jax.config import Config, DataConfig, OptimizerConfig
from lsg_jax.training import loop, parallel, schedule, segments
models.MODELS["tiny"] = Tiny
config = Config(model="tiny", data=DataConfig(dataset="digits"), optimizer=OptimizerConfig(batch_size=64))
dataset = data.load("digits")
config = config.resolve(len(dataset.train.labels), 10, 4)
mesh = parallel.mesh()
state = loop._initial_state(config, dataset, schedule.learning_rate("cosine", 0.1, 20), jax.random.key(0))
state = parallel.replicate(state, mesh)
split = segments.on_devices(dataset.train, mesh)
constants = {"batch_size": 64, "padding": 2, "flip": True, "mean": dataset.mean, "std": dataset.std}
constants |= {"mesh": mesh, "stacked": False}
losses = []
for step in range(20):
    total = parallel.replicate(jnp.zeros(()), mesh)
    path = ("std", "lsg", "joint")[step % 3]
    state, total = segments.train_segment(
        state, total, split, jax.random.key(0), 0, jnp.int32(step), jnp.int32(step + 1), path=path, **constants
    )
    losses.append(float(total))
measured = loop._evaluate(state, split, dataset, mesh)
measured = {name: float(value) for name, value in measured.items()}
print(json.dumps({"devices": mesh.size, "losses": losses, "gate": state.gate.tolist(), **measured}))
"""


def on_devices(count, *command):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.path.dirname(__file__)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def test_one_two_and_eight_devices_train_alike():
    runs = []
    for count in (1, 2, 8):
        finished = on_devices(count, "-c", TRAIN)
        assert finished.returncode == 0, finished.stderr
        runs.append(json.loads(finished.stdout))
    assert [run["devices"] for run in runs] == [1, 2, 8]
    for run in runs[1:]:
        np.testing.assert_allclose(run["losses"], runs[0]["losses"], rtol=1e-5)
        np.testing.assert_allclose(run["gate"], runs[0]["gate"], atol=1e-5)
        for name in ("test_cross_entropy", "lsg_test_cross_entropy"):
            assert run[name] == pytest.approx(runs[0][name], rel=1e-5)


def test_a_batch_that_does_not_divide_names_the_sizes(tmp_path):
    finished = on_devices(8, "-m", "experiments.digits", "--batch-size=60", "--output", tmp_path / "run")
    assert finished.returncode == 2
    assert "--batch-size 60 does not divide over 8 devices" in finished.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("path", ["std", "lsg"])
def test_the_epoch_program_for_gpu_and_tpu_has_no_host_callback(path):
    config = Config(model="resnet20", data=DataConfig(dataset="digits")).resolve(49_920, 10, 64)
    images = data.Split(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int32))
    dataset = data.load("digits")._replace(train=images)
    rate = schedule.learning_rate("cosine", 0.1, 195)
    state = jax.eval_shape(lambda: loop._initial_state(config, dataset, rate, jax.random.key(0)))
    split = segments.Images(
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
        jax.eval_shape(lambda: jax.random.key(0)),
        0,
        0,
        195,
    )
    program = jax.export.export(segment, platforms=("cuda", "tpu"))(*arguments).mlir_module()
    assert program.count("stablehlo.convolution") >= 3 * 19 - 1
    called = set(re.findall(r"custom_call @(\w+)", program))
    assert called <= {"cu_threefry2x32_ffi", "Sharding", "annotate_device_placement"}, called


def test_a_fast_epoch_takes_a_handful_of_dispatches():
    assert len(list(loop._segments(0, 195, "epoch", 256))) <= 5
