"""The same program on 1, 2 and 8 devices, each a process of its own with as many virtual CPU devices."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

TRAIN = """
import json, sys
import jax, jax.numpy as jnp
from conftest import Tiny
from lsg_jax import data, models
from lsg_jax.config import Config, DataConfig, OptimizerConfig
from lsg_jax.training import loop, parallel, schedule
models.MODELS["tiny"] = Tiny
config = Config(model="tiny", data=DataConfig(dataset="digits"), optimizer=OptimizerConfig(batch_size=64))
dataset = data.load("digits")
config = config.resolve(len(dataset.train.labels), 10, 4)
mesh = parallel.mesh()
state = loop._initial_state(config, dataset, jax.random.key(0), schedule.learning_rate("cosine", 0.1, 20))
state = parallel.replicate(state, mesh)
split = parallel.replicate(loop.Images(*map(jnp.asarray, dataset.train)), mesh)
constants = {"mesh": mesh, "batch_size": 64, "padding": 2, "flip": True, "mean": dataset.mean, "std": dataset.std}
losses = []
for step in range(20):
    total = parallel.replicate(jnp.zeros(()), mesh)
    path = ("std", "lsg", "joint")[step % 3]
    state, total = loop.train_segment(
        state, total, split, jax.random.key(0), 0, jnp.int32(step), jnp.int32(step + 1), path=path, **constants
    )
    losses.append(float(total))
measured = loop._evaluate(state, split, dataset, mesh)
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
