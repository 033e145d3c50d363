"""``python -m benchmarks.gpu``: training on a GPU against PyTorch's, and the paper's 150 epochs.

Both sides compute in bfloat16, in channels-last layout, and keep the data set on the GPU, where they shuffle, crop and
flip it; PyTorch's network runs eagerly, compiled, and compiled with CUDA graphs. Writes
``results/benchmarks/gpu.json``. With ``--smoke`` it runs through on any machine in minutes, on a few images, and writes
nothing.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import jax

from benchmarks import cpu, results, turns
from experiments import cli
from lsg_jax import checks, data, machine
from lsg_jax.config import Unset

# Of a --smoke: images of each split, images a step, and the comparisons, so that each part of the code runs once.
EXAMPLES, SMOKE_BATCH, SMOKE = 64, 32, ((("resnet20", "lsg"), "graphs"), (("alexnet", "std"), "eager"))
ARMS = (("resnet20", "std"), ("resnet20", "lsg"), ("alexnet", "std"))
KINDS = ("eager", "compiled", "graphs")


@dataclass(frozen=True, kw_only=True)
class Options(turns.Options):
    """Measures speed against PyTorch on a GPU."""

    torch_python: str = sys.executable
    """The Python that has PyTorch; without PyTorch, only this project's side is measured."""
    data_dir: Unset[Path] = None
    """The TFDS data directory that holds CIFAR-10."""
    output: Path = Path("runs/gpu")
    """Where the run folders of the 150 epochs go."""
    epochs: int = 150
    """Of the runs with and without a gate that are timed from start to end."""
    smoke: bool = False
    """Run through on a few images, one turn and one epoch, on whatever device there is; write nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("--epochs", self.epochs, 1)
        turns.require_python(self.torch_python)


def compare(options: Options, file: str, examples: int) -> dict[str, Any]:
    """Returns whole epochs with evaluation, images a second: ours against PyTorch's, and our LSG against our STD."""
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    batch = SMOKE_BATCH if options.smoke else cpu.BATCH

    def ours(model, path):
        arguments = {"file": file, "model": model, "path": path, "precision": "bfloat16"}
        order = {"task": "epoch", "arguments": arguments | {"batch": batch, "segment": 10_000}}
        return {"script": "jax_worker", "python": sys.executable} | order

    def theirs(model, path, kind):
        arguments = {"file": file, "model": model, "path": path, "device": device, "kind": kind}
        order = {"task": "device_epoch", "arguments": arguments | {"batch": batch}, "threads": machine.cores()}
        return {"script": "torch_worker", "python": options.torch_python} | order

    sides: dict[str, dict[str, Any]] = {}
    chosen: dict[str, tuple[str, str]] = {}
    if options.torch_python != sys.executable or find_spec("torch"):
        for (model, path), kind in SMOKE if options.smoke else product(ARMS, KINDS):
            one, other = f"{model}-{path}", f"{model}-{path}-{kind}"
            sides |= {one: ours(model, path), other: theirs(model, path, kind)}
            chosen[other] = one, other
    sides |= {f"resnet20-{path}": ours("resnet20", path) for path in ("std", "lsg")}
    chosen["resnet20-lsg-against-std"] = "resnet20-lsg", "resnet20-std"
    measured, found = turns.measure(sides, options.pairs), {}
    for name, (one, other) in chosen.items():
        found[name] = turns.against(measured[one], measured[other], examples // batch * batch)
        shown = found[name]["ours"], found[name]["theirs"], median(found[name]["pair_ratios"])
        print(f"{name:26s}" + "".join(f"{each:12.2f}" for each in shown), flush=True)
    return found


def whole_runs(options: Options) -> dict[str, Any]:
    """Returns, for each gate, the seconds of ``experiments.cifar10`` from start to end, and its last metrics."""
    found = {}
    for gate in ("none", "learned"):
        output = options.output / gate
        arguments = [f"--gate={gate}", "--precision=bfloat16", f"--epochs={options.epochs}", f"--output={output}"]
        arguments += [] if options.data_dir is None else [f"--data-dir={options.data_dir}"]
        if options.smoke:
            arguments += [f"--train-examples={EXAMPLES}", f"--holdout={EXAMPLES}", f"--batch-size={SMOKE_BATCH}"]
        began = time.perf_counter()
        status = subprocess.run([sys.executable, "-m", "experiments.cifar10", *arguments]).returncode
        if status:
            raise ValueError(f"experiments.cifar10 {shlex.join(arguments)} ended with status {status}")
        lines = (output / "metrics.jsonl").read_text("utf-8").splitlines()
        found[gate] = {"seconds": time.perf_counter() - began, "epochs": len(lines), "last": json.loads(lines[-1])}
    return found


def comparisons(options: Options) -> dict[str, Any]:
    """Returns every comparison."""
    dataset = data.load("cifar10", options.data_dir, EXAMPLES if options.smoke else None)
    if options.smoke:
        dataset = dataset._replace(test=data.Split(*(array[:EXAMPLES] for array in dataset.test)))
    with tempfile.TemporaryDirectory() as folder:
        file = cpu.write_arrays(dataset, Path(folder))
        return compare(options, file, len(dataset.train.labels))


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    if not options.smoke:
        if options.output.exists():
            raise ValueError(
                f"{options.output} exists, and resuming it would not take its full time; give another --output"
            )
        cli.check_writable(options.output)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # PyTorch's side uses one GPU
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # both sides stay on the GPU while they take turns
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            tried = replace(options, pairs=1, epochs=1, output=Path(folder))
            comparisons(tried)
            whole_runs(tried)
        print("all of it ran; nothing written")
        return
    if jax.default_backend() != "gpu":
        raise ValueError(f"JAX sees no GPU but {jax.devices()[0].device_kind}; install '.[cuda12]', or try --smoke")
    command = f"python -m benchmarks.gpu --pairs={options.pairs} --epochs={options.epochs}"
    measured = results.origin() | {"command": command, "comparisons": comparisons(options)}
    results.write("gpu", measured)  # so that they are kept, whatever becomes of the runs
    results.write("gpu", measured | {"runs": whole_runs(options)})


if __name__ == "__main__":
    cli.main(main)
