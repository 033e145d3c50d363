"""``python -m benchmarks.profile``: what a training step spends where, with the compiled kernels and without.

Writes ``results/benchmarks/profile.json``: milliseconds of a step by kind of operation, summed over threads, which may
wait for one another, so that the sum is not the time of the step.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from benchmarks import jax_worker, results
from experiments import cli

STEPS = 6
SIDES: dict[str, dict[str, str]] = {"compiled kernels": {}, "XLA alone": {"CXX": "none"}}


@dataclass(frozen=True)
class Options:
    """Profiles a training step."""

    model: str = "resnet20"
    """The network: resnet20 or alexnet."""
    alone: bool = False
    """Profile this process and print what was found; write nothing."""

    def __post_init__(self) -> None:
        if self.model not in ("resnet20", "alexnet"):
            raise ValueError(f"unknown --model {self.model!r}; choose one of: resnet20, alexnet")


def profile(model: str) -> dict[str, Any]:
    """Returns the milliseconds of a step and of each kind of operation in it."""
    train = jax_worker.steps(model, "std", count=STEPS)
    train()
    began = time.perf_counter()
    train()
    step = (time.perf_counter() - began) * 1e3 / STEPS
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            train()
        (file,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    spent: Counter[str] = Counter()
    for event in (event for plane in planes for line in plane.lines for event in line.events):
        if any(name == "hlo_op" for name, _ in event.stats):
            spent[re.sub(r"[.\d]+$", "", event.name)] += event.duration_ns / 1e6 / STEPS
    return {"step": step, "operations": {name: spent[name] for name, _ in spent.most_common(12)}}


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    if options.alone:
        print(json.dumps(profile(options.model)))
        return
    measured: dict[str, Any] = {
        "command": f"python -m benchmarks.profile --model={options.model}",
        "ms": {},
    }
    for side, environment in SIDES.items():
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.profile", f"--model={options.model}", "--alone"]
        done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise ValueError(f"no profile of {options.model} with {side}, see above")
        measured["ms"][side] = json.loads(done.stdout)
        print(f"{side}: {measured['ms'][side]['step']:.0f} ms a step", flush=True)
    results.write("profile", results.origin() | measured)


if __name__ == "__main__":
    cli.main(main)
