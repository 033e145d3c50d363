"""A network small enough to be followed by hand, known to every test as ``tiny``, and runs of it."""

import dataclasses
import os
from pathlib import Path

import flax.linen as nn
import jax
import pytest

from lsg_jax import cache, data, models
from lsg_jax.config import Config, DataConfig, OptimizerConfig
from lsg_jax.models.network import Conv, GatedNetwork
from lsg_jax.models.normalization import BatchNorm
from lsg_jax.training import loop

# What tests compile is kept for the commands that they start and for the next time, but not among the user's programs.
PROGRAMS = Path(__file__).parents[1] / "build" / f"programs-{cache.processor()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROGRAMS))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def pytest_configure():
    """Compiles fast: tests, and the commands that they start, wait for the compiler more than for what it compiled."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"


class Tiny(GatedNetwork):
    """One convolution with 4 filters."""

    num_filters = 4
    last_convolution = ("conv",)

    def setup(self):
        self.conv = Conv(4)
        self.norm = BatchNorm(self.batch_axis)
        self.classifier = nn.Dense(self.num_classes)

    def feature_maps(self, images, train=False):
        return nn.relu(self.norm(self.conv(images), train))


def tiny_run(**changes):
    config = Config(model="tiny", data=DataConfig(dataset="digits"), optimizer=OptimizerConfig(epochs=4, batch_size=64))
    config = dataclasses.replace(config, **changes)
    dataset = data.load("digits", train_examples=200)
    return config.resolve(200, 10, 4), dataset


def without_times(history):
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in history]


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forgets compiled programs: a process that holds those of all tests runs out of memory maps, and crashes."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True, scope="session")
def tiny_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "tiny", Tiny)
        yield


@pytest.fixture(scope="session")
def runs(tiny_model, tmp_path_factory):
    """A folder with two tiny runs on digits, ``learned`` and ``none``."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = data.load("digits", train_examples=320)
    for gate in ("learned", "none"):
        config = Config(
            model="tiny",
            gate=gate,
            data=DataConfig(dataset="digits", train_examples=320),
            optimizer=OptimizerConfig(epochs=4, batch_size=64),
        ).resolve(320, 10, 4)
        loop.fit(config, dataset, folder / gate)
    return folder


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, loop.fit(*tiny_run(), folder)


@pytest.fixture
def quick_attacks(monkeypatch, tmp_path):
    from experiments import attacks  # not for the commands that take the network from here

    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")

    quick = {
        "one pixel": {"population": 8, "generations": 1},
        "local search": {"rounds": 2, "max_candidates": 8},
    }
    monkeypatch.setitem(attacks.BUDGETS, "short", quick)
