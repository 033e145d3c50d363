"""A long training neither grows nor compiles again: memory, file descriptors, threads and compilations by epoch."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

PROJECT = Path(__file__).parents[1]
COMPILED = "Finished XLA compilation"  # as JAX logs it


def watch(command, run, log):
    """Runs a training; returns resident KiB, file descriptors, threads and compilations after each epoch it saw."""
    samples = {}
    environment = os.environ | {"JAX_LOG_COMPILES": "1", "XLA_FLAGS": ""}  # compiled as a user's is, unlike in tests
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
    metrics, of = run / "metrics.jsonl", Path(f"/proc/{process.pid}")
    while process.poll() is None:
        epoch = metrics.read_text().count("\n") if metrics.exists() else 0
        if epoch and epoch not in samples:
            try:
                resident = int((of / "status").read_text().split("VmRSS:")[1].split()[0])
                counts = (len(list((of / each).iterdir())) for each in ("fd", "task"))
                samples[epoch] = (resident, *counts, log.read_text().count(COMPILED))
            except (OSError, IndexError):  # it has just ended
                break
        time.sleep(0.02)
    assert process.wait() == 0, log.read_text()[-2000:]
    return samples


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(
    ("module", "options", "epochs"),
    [("tests.faults.tiny", ("--model=tiny", "--train-examples=320"), 120), ("experiments.digits", (), 300)],
)
def test_it_stays_as_it_is(module, options, epochs, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    command = [sys.executable, "-m", module, *options, f"--epochs={epochs}", f"--output={run}"]
    samples = watch(command, run, log)
    seen = sorted(samples)
    assert len(seen) > epochs / 2
    early, late = (
        [median(values) for values in zip(*(samples[each] for each in seen if first <= each < first + 10), strict=True)]
        for first in (10, epochs - 10)
    )
    assert len(early) == len(late) == 4  # that is, both windows have samples
    for what, before, after in zip(("memory", "file descriptors", "threads"), early[:3], late[:3], strict=True):
        assert 0 < after <= 1.02 * before, f"it takes more {what}"
    compilations = [samples[epoch][3] for epoch in seen if 3 <= epoch < epochs]
    assert compilations[0] > 0, "JAX logs compilations in other words"
    assert len(set(compilations)) == 1, compilations
