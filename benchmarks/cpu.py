"""``python -m benchmarks.cpu``: training and evaluation on this machine's cores against PyTorch's.

Writes ``results/benchmarks/cpu.json`` and the table in the README. PyTorch may live in another environment:
``--torch-python``.
"""

import json
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import turns
from experiments import cli, summarize
from lsg_jax import cache, data

BATCH = 256
TITLES = {
    "resnet20-std": "ResNet-20 training, STD epochs (ours shuffles and augments, PyTorch repeats one batch)",
    "resnet20-lsg": "ResNet-20 training, LSG epochs (likewise)",
    "lsg-against-std": "our LSG epochs against our STD epochs",
    "alexnet-std": "AlexNet training, STD epochs (likewise)",
    "evaluation": "evaluation of 10,000 images (ours of both paths)",
    "epoch": "a whole epoch of CIFAR-10: data, augmentation, training, evaluation",
}


@dataclass(frozen=True)
class Options:
    """Measures speed against PyTorch on a CPU."""

    torch_python: str = sys.executable
    """The Python that has PyTorch (pip install -e '.[benchmark]')."""
    data_dir: Path | None = None
    """The TFDS data directory that holds CIFAR-10."""
    pairs: int = 5
    """Turns of each side."""
    steps: int = 10
    """Training steps a turn."""
    loader_workers: int = 1
    """Processes of PyTorch's DataLoader."""
    only: str | None = None
    """Print only the comparison of this name, and write nothing."""


def comparisons(options: Options, file: str) -> dict[str, tuple[dict[str, Any], dict[str, Any], int]]:
    """Returns, by name, the orders of both sides and the images of a turn."""
    threads = len(os.sched_getaffinity(0))

    def ours(task, **arguments):
        order = {"task": task, "arguments": arguments, "warmup": 1}
        return {"script": "jax_worker.py", "python": sys.executable} | order

    def theirs(task, **arguments):
        order = {"task": task, "arguments": arguments, "warmup": 1, "threads": threads}
        return {"script": "torch_worker.py", "python": options.torch_python} | order

    def both(task, images, **arguments):
        return ours(task, **arguments), theirs(task, **arguments), images

    std, lsg = ({"model": "resnet20", "path": path, "count": options.steps} for path in ("std", "lsg"))
    alexnet, images = {"model": "alexnet", "path": "std", "count": 2}, BATCH * options.steps
    return {
        "resnet20-std": both("steps", images, **std),
        "resnet20-lsg": both("steps", images, **lsg),
        "lsg-against-std": (ours("steps", **lsg), ours("steps", **std), images),
        "alexnet-std": both("steps", BATCH * 2, **alexnet),
        "evaluation": both("evaluation", 10_000, file=file),
        "epoch": (
            ours("epoch", file=file),
            theirs("epoch", file=file, workers=options.loader_workers),
            50_000 // BATCH * BATCH,
        ),
    }


def measure(options: Options) -> dict[str, Any]:
    """Returns every comparison, the machine, and the command."""
    dataset = data.load("cifar10", options.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/cifar10.npz"
        np.savez(
            file,
            train_images=dataset.train.images,
            train_labels=dataset.train.labels,
            test_images=dataset.test.images,
            test_labels=dataset.test.labels,
            mean=np.array(dataset.mean, np.float32),
            std=np.array(dataset.std, np.float32),
        )
        chosen = comparisons(options, file)
        if options.only is not None:
            if options.only not in chosen:
                raise ValueError(f"unknown --only {options.only!r}; choose one of: {', '.join(chosen)}")
            chosen = {options.only: chosen[options.only]}
        results = {}
        for name, (ours, theirs, images) in tqdm(chosen.items(), "comparing", leave=False, disable=None):
            results[name] = turns.compare(ours, theirs, options.pairs, images)
            print(
                f"{name:20s}" + "".join(f"{results[name][key]:10.2f}" for key in ("ours", "theirs", "ratio")),
                flush=True,
            )
    return {
        "command": f"python -m benchmarks.cpu --pairs={options.pairs} --steps={options.steps} "
        f"--loader-workers={options.loader_workers}",
        "machine": {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "comparisons": results,
    }


def table(measured: dict[str, Any]) -> str:
    """Returns the Markdown table of what ``measure`` returned."""
    lines = ["| what | ours | theirs | ratio |", "| --- " * 4 + "|"]
    for name, found in measured["comparisons"].items():
        ours, theirs = (f"{found[side]:.0f} images/s" for side in ("ours", "theirs"))
        lines.append(f"| {TITLES[name]} | {ours} | {theirs} | {found['ratio']:.2f} |")
    peak = measured["comparisons"]["epoch"]["peak_bytes"]
    ours, theirs = (f"{peak[side] / 2**20:.0f} MiB" for side in ("ours", "theirs"))
    lines.append(f"| peak memory of that epoch | {ours} | {theirs} | {peak['ratio']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    measured = measure(options)
    if options.only is None:
        file, readme = Path("results/benchmarks/cpu.json"), Path("README.md")
        cache.publish(file, lambda temporary: temporary.write_text(json.dumps(measured, indent=2) + "\n"))
        readme.write_text(summarize.insert(readme.read_text(), "cpu", table(measured)))
        print(f"{file} and README.md written")


if __name__ == "__main__":
    cli.main(main)
