"""A long training neither grows nor compiles again: memory, file descriptors, threads and compilations by epoch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from experiments import malloc_environment

PROJECT = Path(__file__).parents[1]
POOL = "ts_pool_worker"  # TensorStore's, for saving: it starts one more where writes wait, and ends one idle for 20 s


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(
    ("module", "options", "epochs"),
    [("tests.faults.tiny", ("--model=tiny", "--train-examples=320"), 120), ("experiments.digits", (), 300)],
)
def test_it_stays_as_it_is(module, options, epochs, tmp_path):
    steady(module, options, epochs, tmp_path)


def steady(module, options, epochs, folder):
    """Trains in ``folder``, and returns in words what the process held early and late."""
    file = folder / "samples"
    command = [sys.executable, "-m", "tests.sampled", file, module, *options]
    # compiled as a user's is, unlike in tests
    environment = malloc_environment() | {"JAX_LOG_COMPILES": "1", "XLA_FLAGS": ""}
    subprocess.run(
        [*command, f"--epochs={epochs}", f"--output={folder / 'run'}"], cwd=PROJECT, env=environment, check=True
    )
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(samples) == epochs
    early, late = samples[10:20], samples[-10:]

    def held(window, of):
        return median(of(sample) for sample in window)

    figures = []
    for name, of in {
        "MiB": lambda sample: sample["memory"] / 1024,
        "descriptors": lambda sample: sample["descriptors"],
        "threads": lambda sample: sum(n for name, n in sample["threads"].items() if name != POOL),
    }.items():
        assert 0 < held(late, of) <= 1.02 * held(early, of), name
        figures.append(f"{held(early, of):.0f} to {held(late, of):.0f} {name}")
    pool = [held(window, lambda sample: sample["threads"].get(POOL, 0)) for window in (early, late)]
    assert 0 < pool[1] <= pool[0] + os.cpu_count()
    compilations = {sample["compilations"] for sample in samples[3:]}
    assert len(compilations) == 1, compilations
    assert min(compilations) > 0, "JAX logs compilations in other words"
    return ", ".join([*figures, f"{min(compilations)} compilations"])
