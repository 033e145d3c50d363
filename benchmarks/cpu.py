"""``python -m benchmarks.cpu``: training and evaluation on this machine's cores against PyTorch's.

Writes ``results/benchmarks/cpu.json`` and the tables in a page, after each comparison. PyTorch may live in another
environment: ``--torch-python``.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks import results, turns
from experiments import cli, markdown
from lsg_jax import checks, data, machine, models
from lsg_jax.config import Unset

BATCH = 256
PRODUCT = 2048  # rows and columns of the matrices whose product shows what the cores can do
TITLES = {
    "matrix-product": "a matrix product in float32",
    "resnet20-std": "ResNet-20 training, STD epochs (ours shuffles and augments, PyTorch repeats one batch)",
    "resnet20-lsg": "ResNet-20 training, LSG epochs (likewise)",
    "alexnet-std": "AlexNet training, STD epochs (likewise)",
    "evaluation": "evaluation of 10,000 images (ours of both paths)",
    "epoch": "a whole epoch of CIFAR-10: data, augmentation, training, evaluation",
}
OWN_TITLES = {
    "lsg-against-std": "LSG epochs against STD epochs",
    "huge-pages": "STD epochs with memory on huge pages against those without",
}
NAMES = (*TITLES, *OWN_TITLES)


@dataclass(frozen=True, kw_only=True)
class Options(turns.Options):
    """Measures speed against PyTorch on a CPU."""

    torch_python: str = sys.executable
    """The Python that has PyTorch (pip install -e '.[benchmark]')."""
    data_dir: Unset[Path] = None
    """The TFDS data directory that holds CIFAR-10."""
    steps: int = 10
    """Training steps a turn."""
    loader_workers: int = 1
    """Processes of PyTorch's DataLoader."""
    only: Unset[str] = None
    """Measure the comparison of this name alone; the others stay as they were measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("--steps", self.steps, 1)
        checks.whole("--loader-workers", self.loader_workers, 1)
        turns.require_python(self.torch_python)
        if self.only is not None and self.only not in NAMES:
            raise ValueError(f"unknown --only {self.only!r}; choose one of: {', '.join(NAMES)}")


def operations(model: str) -> float:
    """Returns the floating-point operations of one image's forward pass by the definition of a convolution."""
    network, images = models.create(model, 10), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    # Lowered for a GPU, where the convolutions are XLA's own, which it can count.
    return jax.jit(network.apply).trace(variables, images).lower(lowering_platforms=("cuda",)).cost_analysis()["flops"]


def comparisons(options: Options, file: str) -> dict[str, tuple[dict[str, Any], dict[str, Any], int, float]]:
    """Returns, by name, the orders of both sides, the images (or products) of a turn and the operations of each."""

    def ours(task, **arguments):
        order = {"task": task, "arguments": arguments}
        return {"script": "jax_worker", "python": sys.executable} | order

    def theirs(task, **arguments):
        order = {"task": task, "arguments": arguments, "threads": machine.cores()}
        return {"script": "torch_worker", "python": options.torch_python} | order

    def both(task, units, flops, **arguments):
        return ours(task, **arguments), theirs(task, **arguments), units, flops

    std, lsg = ({"model": "resnet20", "path": path, "count": options.steps} for path in ("std", "lsg"))
    alexnet, images, trained = {"model": "alexnet", "path": "std", "count": 2}, BATCH * options.steps, 50_000 // BATCH
    forward = operations("resnet20")
    training = 3 * forward  # the forward pass and the gradients in weights and inputs
    return {
        "matrix-product": both("product", 10, 2.0 * PRODUCT**3, size=PRODUCT, count=10),
        "resnet20-std": both("steps", images, training, **std),
        "resnet20-lsg": both("steps", images, training, **lsg),
        "lsg-against-std": (ours("steps", **lsg), ours("steps", **std), images, training),
        "huge-pages": (ours("steps", **std), ours("steps", **std) | {"huge_pages": False}, images, training),
        "alexnet-std": both("steps", BATCH * 2, 3 * operations("alexnet"), **alexnet),
        "evaluation": both("evaluation", 10_000, forward, file=file),
        "epoch": (
            ours("epoch", file=file),
            theirs("epoch", file=file, workers=options.loader_workers),
            trained * BATCH,
            training + forward * 10_000 / (trained * BATCH),
        ),
    }


def write_arrays(dataset: data.Dataset, folder: Path) -> str:
    """Writes what both sides read, and returns the file."""
    file = folder / "arrays.npz"
    np.savez(
        file,
        train_images=dataset.train.images,
        train_labels=dataset.train.labels,
        test_images=dataset.test.images,
        test_labels=dataset.test.labels,
        mean=np.array(dataset.mean, np.float32),
        std=np.array(dataset.std, np.float32),
    )
    return str(file)


def measure(options: Options) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name of each comparison and what was found."""
    dataset = data.load("cifar10", options.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        file = write_arrays(dataset, Path(folder))
        chosen = comparisons(options, file)
        if options.only is not None:
            chosen = {options.only: chosen[options.only]}
        print(f"{'':20s}{'ours a s':>10s}{'theirs a s':>12s}{'ratio':>8s}")
        for name, (ours, theirs, units, flops) in tqdm(chosen.items(), "comparing", leave=False, disable=None):
            found = turns.compare(ours, theirs, options.pairs, units) | {"flops": flops}
            ratio = median(found["pair_ratios"])
            print(f"{name:20s}{found['ours']:10.2f}{found['theirs']:12.2f}{ratio:8.2f}", flush=True)
            yield name, found


def sides(found: dict[str, Any], unit: str = "images/s") -> tuple[str, ...]:
    """Returns three cells of a table: the medians of both sides, and that of the turns' ratios."""
    rates = (f"{found[side]:.{0 if found[side] > 99 else 1}f} {unit}" for side in ("ours", "theirs"))
    return (*rates, f"{median(found['pair_ratios']):.2f}")


def table(measured: dict[str, Any]) -> str:
    """Returns the Markdown tables of what ``measure`` yielded: against PyTorch, and of ours against ours."""
    comparisons, rows = measured["comparisons"], []
    product = comparisons["matrix-product"]
    limit = product["flops"] * max(product["ours"], product["theirs"])
    for name, found in ((each, comparisons[each]) for each in TITLES if each in comparisons):
        rate = found["ours"] * found["flops"]
        share = f"{rate / limit:.2f}" if found["machine"] == product["machine"] else ""
        cells = sides(found, "products/s" if name == "matrix-product" else "images/s")
        rows.append((TITLES[name], *cells, f"{rate / 1e9:.0f}", share))
    peak = comparisons["epoch"]["peak_bytes"]
    ours, theirs = (f"{peak[side] / 2**20:.0f} MiB" for side in ("ours", "theirs"))
    title = "peak memory of that epoch (PyTorch's DataLoader process not counted)"
    rows.append((title, ours, theirs, f"{peak['ours'] / peak['theirs']:.2f}", "", ""))
    heads = ("what", "ours", "PyTorch", "ratio", "GFLOP/s, ours", "of the matrix product's rate")
    own = [(title, *sides(comparisons[name])) for name, title in OWN_TITLES.items() if name in comparisons]
    own_heads = ("ours against ours", "the first", "the second", "ratio")
    return f"{markdown.table(heads, rows)}\n\n{markdown.table(own_heads, own)}"


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    markdown.page_of("cpu")
    kept = (results.read("cpu") or {"comparisons": {}})["comparisons"]
    command = f"python -m benchmarks.cpu --pairs={options.pairs} --steps={options.steps} "
    command += f"--loader-workers={options.loader_workers}"
    command += "" if options.only is None else f" --only={options.only}"
    for name, found in measure(options):
        kept[name] = found | {"command": command} | results.origin()
        measured = {"comparisons": {each: kept[each] for each in NAMES if each in kept}}
        results.write("cpu", measured, table(measured) if {"matrix-product", "epoch"} <= set(kept) else None)


if __name__ == "__main__":
    cli.main(main)
