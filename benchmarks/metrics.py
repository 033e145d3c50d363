"""``python -m benchmarks.metrics --run RUN``: Phi and mutual information of a trained network, and the gate's own cost.

Writes ``results/benchmarks/metrics.json`` and the table in the README.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy
import sklearn
from sklearn.feature_selection import mutual_info_classif
from tqdm import tqdm

from benchmarks import results
from benchmarks.cpu import PRODUCT
from experiments import cli
from lsg_jax import data, gates, load_run, losses, metrics
from lsg_jax.models import GatedNetwork
from lsg_jax.training import state as states
from lsg_jax.training.state import Batch
from lsg_jax.training.steps import lsg_step, std_step

CLASSES, FILTERS, BATCH = 1000, 2048, 256
RESNET50_FLOPS = 3 * 2 * 4.1e9  # of an image's training step: multiply-adds as He et al. (2016) count them


@dataclass(frozen=True)
class Options:
    """Measures how long the metrics take."""

    run: Path
    """The run folder of a network trained on CIFAR-10."""
    data_dir: Path | None = None
    """The TFDS data directory that holds CIFAR-10."""
    pairs: int = 5
    """Turns of each side."""


class Head(GatedNetwork):
    """What follows the last convolution of a network for ImageNet: normalisation, pooling, the gate, a linear layer."""

    num_filters = FILTERS

    def setup(self) -> None:
        self.norm = nn.BatchNorm()
        self.classifier = nn.Dense(self.num_classes)

    def feature_maps(self, images: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(self.norm(images, use_running_average=not train))


def seconds(task: Callable[[], Any]) -> float:
    """Returns how long ``task`` takes until what it returns is there."""
    began = time.perf_counter()
    jax.block_until_ready(task())
    return time.perf_counter() - began


def in_turn(tasks: dict[str, Callable[[], Any]], pairs: int) -> dict[str, list[float]]:
    """Returns the seconds of every turn of every task, after one turn of each that does not count."""
    for task in tasks.values():
        jax.block_until_ready(task())
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in tqdm(range(pairs), ", ".join(tasks), leave=False, disable=None):
        for name, task in tasks.items():
            found[name].append(seconds(task))
    return found


def of_network(options: Options) -> dict[str, Any]:
    """Returns the times of Phi and of the mutual information of every pair of filter and class, and what they gave."""
    run = load_run(options.run)
    test = data.load(run.config.data.dataset, options.data_dir).test
    features, classifier = run.features(test.images), run.params["classifier"]
    a, labels = jnp.asarray(features), jnp.asarray(test.labels)
    weights = {"sparsity_weight": 0.01, "sparsity_target": float(features.shape[1])}

    def phi():
        return metrics.phi(a, labels, classifier["kernel"], classifier["bias"], **weights)

    def ours():
        return metrics.mutual_information(features, test.labels)

    def theirs():
        members = [test.labels == each for each in range(len(run.class_names))]
        return np.stack([mutual_info_classif(features, member, random_state=0) for member in members], axis=1)

    solved = phi()
    return {
        "shape": [*features.shape, len(run.class_names)],
        "phi": in_turn({"ours": phi}, options.pairs)
        | weights
        | {"value": float(solved.value), "steps": int(solved.steps), "residual": float(solved.residual)},
        "mutual-information": in_turn({"ours": ours, "theirs": theirs}, options.pairs)
        | {"largest_difference": float(np.abs(ours() - theirs()).max())},
    }


def of_gate(options: Options) -> dict[str, Any]:
    """Returns the times of both steps of a head for ImageNet, and of a matrix product of PRODUCT rows."""
    model, key = Head(CLASSES), jax.random.key(0)
    images = jax.random.uniform(key, (BATCH, 7, 7, FILTERS))
    batch = Batch(images, jax.random.randint(key, (BATCH,), 0, CLASSES))
    cost = losses.Weights(1.0, 1e-6, float(FILTERS))
    optimizer, gate_optimizer = optax.sgd(0.1, 0.9), states.learned_gate_optimizer(0.1)
    initial = states.create(key, model, (7, 7, FILTERS), gates.init(CLASSES, FILTERS), optimizer, gate_optimizer, cost)
    state = {"state": initial}

    def steps(step):
        def run():
            state["state"], _ = step(state["state"], batch)
            return state["state"]

        return run

    matrix, multiply = jnp.ones((PRODUCT, PRODUCT)), jax.jit(jnp.matmul)
    tasks = {"std": steps(std_step), "lsg": steps(lsg_step), "product": lambda: multiply(matrix, matrix)}
    return {"classes": CLASSES, "filters": FILTERS, "batch": BATCH} | in_turn(tasks, 5 * options.pairs)


def table(measured: dict[str, Any]) -> str:
    """Returns the Markdown table of what the command measured."""
    examples, filters, classes = measured["network"]["shape"]
    solved, information, gate = measured["network"]["phi"], measured["network"]["mutual-information"], measured["gate"]
    extra = median(gate["lsg"]) - median(gate["std"])
    step = RESNET50_FLOPS * gate["batch"] * median(gate["product"]) / (2 * PRODUCT**3)
    ours, theirs = median(information["ours"]), median(information["theirs"])
    size = f"{examples} images x {filters} filters x {classes} classes"
    lines = [
        "| what | seconds | against |",
        "| --- | --- | --- |",
        f"| Phi of {size}, from pooled features to a converged G | {median(solved['ours']):.3f} | |",
        f"| mutual information of all {filters * classes} pairs of the same | {ours:.2f} | scikit-learn's "
        f"`mutual_info_classif` {theirs:.1f} s, {theirs / ours:.0f} times as long; largest difference "
        f"{information['largest_difference']:.0e} nats |",
        f"| gate and projection, C = {gate['classes']}, K = {gate['filters']}: LSG step less STD step | {extra:.4f} | "
        f"{extra / median(gate['lsg']):.1%} of a step of what follows the last convolution (batch {gate['batch']}), "
        f"{extra / (extra + step):.2%} of a step of a whole ResNet-50 at the rate of a matrix product |",
    ]
    return "\n".join(lines)


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    measured = {
        "command": f"python -m benchmarks.metrics --run={options.run.name} --pairs={options.pairs}",
        "versions": {"jax": jax.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
        "network": of_network(options),
        "gate": of_gate(options),
    }
    results.write("metrics", measured, table(measured))


if __name__ == "__main__":
    cli.main(main)
