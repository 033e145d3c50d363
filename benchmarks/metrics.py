"""``python -m benchmarks.metrics --run RUN``: Phi and mutual information of a trained network, and the gate's own cost.

Writes ``results/benchmarks/metrics.json`` and the table in a page.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

from benchmarks import results, turns
from experiments import cli, markdown
from lsg_jax import data, gates, load_run, losses, metrics
from lsg_jax.config import Unset
from lsg_jax.models import GatedNetwork
from lsg_jax.models.convolution import convolution
from lsg_jax.models.normalization import BatchNorm
from lsg_jax.training import state as states
from lsg_jax.training.state import Batch
from lsg_jax.training.steps import lsg_step, std_step

CLASSES, FILTERS, BATCH = 1000, 2048, 256


@dataclass(frozen=True, kw_only=True)
class Options(turns.Options):
    """Measures how long the metrics take."""

    run: Path
    """The run folder of a network trained on CIFAR-10."""
    data_dir: Unset[Path] = None
    """The TFDS data directory that holds CIFAR-10."""


class Normalized(nn.Module):
    """A convolution and the batch normalisation that follows it."""

    size: int
    filters: int
    stride: int = 1

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        shape = (self.size, self.size, maps.shape[-1], self.filters)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return BatchNorm()(convolution(maps, kernel, self.stride), train)


class Bottleneck(nn.Module):
    """A residual block of ResNet-50's last stage (He et al., 2016): convolutions of 1x1, 3x3 and 1x1."""

    stride: int

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        shortcut = maps if self.stride == 1 else Normalized(1, FILTERS, self.stride)(maps, train)
        maps = nn.relu(Normalized(1, FILTERS // 4)(maps, train))
        maps = nn.relu(Normalized(3, FILTERS // 4, self.stride)(maps, train))
        return nn.relu(shortcut + Normalized(1, FILTERS)(maps, train))


class LastStage(GatedNetwork):
    """ResNet-50's last stage and what follows it, on 14x14 maps of 1,024 channels."""

    num_filters = FILTERS

    def setup(self) -> None:
        self.blocks = [Bottleneck(stride) for stride in (2, 1, 1)]
        self.classifier = nn.Dense(self.num_classes)

    def feature_maps(self, images: jax.Array, train: bool = False) -> jax.Array:
        for block in self.blocks:
            images = block(images, train)
        return images


class Head(GatedNetwork):
    """What follows the last convolution of a network for ImageNet: normalisation, pooling, the gate, a linear layer."""

    num_filters = FILTERS

    def setup(self) -> None:
        self.norm = BatchNorm()
        self.classifier = nn.Dense(self.num_classes)

    def feature_maps(self, images: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(self.norm(images, train))


def seconds(task: Callable[[], Any]) -> float:
    """Returns how long ``task`` takes until what it returns is there."""
    began = time.perf_counter()
    jax.block_until_ready(task())
    return time.perf_counter() - began


def in_turn(tasks: dict[str, Callable[[], Any]], pairs: int) -> dict[str, list[float]]:
    """Returns the seconds of every turn of every task."""
    return turns.in_turn({name: partial(seconds, task) for name, task in tasks.items()}, pairs)


def of_network(options: Options) -> dict[str, Any]:
    """Returns the times of Phi and of the mutual information of every pair of filter and class, and what they gave."""
    run = load_run(options.run)
    if run.config.data.dataset != "cifar10":
        raise ValueError(f"{options.run} was trained on {run.config.data.dataset}; name a run of CIFAR-10")
    test = data.load(run.config.data.dataset, options.data_dir).test
    features, classifier = run.features(test.images), run.params["classifier"]
    a, labels = jnp.asarray(features), jnp.asarray(test.labels)
    weights: dict[str, Any] = {"sparsity_weight": 0.01, "sparsity_target": float(features.shape[1])}

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
    """Returns the times of both steps of a head for ImageNet, and of an STD step of the last stage with it."""
    head, stage = training(Head(CLASSES), (7, 7, FILTERS)), training(LastStage(CLASSES), (14, 14, FILTERS // 2))
    found = in_turn({"std": partial(head, std_step), "lsg": partial(head, lsg_step)}, 5 * options.pairs)
    found |= in_turn({"stage": partial(stage, std_step)}, options.pairs)
    return {"classes": CLASSES, "filters": FILTERS, "batch": BATCH} | found


def training(model: GatedNetwork, shape: tuple[int, int, int]) -> Callable[..., Any]:
    """Returns a function that takes a step of the kind it is given, from where the step before it ended."""
    key = jax.random.key(0)
    batch = Batch(jax.random.uniform(key, (BATCH, *shape)), jax.random.randint(key, (BATCH,), 0, CLASSES))
    cost = losses.Weights(1.0, 1e-6, float(FILTERS))
    optimizer, gate_optimizer = optax.sgd(0.1, 0.9), states.learned_gate_optimizer(0.1)
    state = states.create(key, model, shape, gates.init(CLASSES, FILTERS), optimizer, gate_optimizer, cost)

    def take(step):
        nonlocal state
        state, _ = step(state, batch)
        return state

    return take


def table(measured: dict[str, Any]) -> str:
    """Returns the Markdown table of what the command measured."""
    examples, filters, classes = measured["network"]["shape"]
    solved, information, gate = measured["network"]["phi"], measured["network"]["mutual-information"], measured["gate"]
    extras = [lsg - std for lsg, std in zip(gate["lsg"], gate["std"], strict=True)]
    extra, share = median(extras), median(turns.ratios(extras, gate["lsg"]))
    longer = median(turns.ratios(information["theirs"], information["ours"]))
    size = f"{examples} images x {filters} filters x {classes} classes"
    rows = [
        (f"Phi of {size}, from pooled features to a converged G", f"{median(solved['ours']):.3f}", ""),
        (
            f"mutual information of all {filters * classes} pairs of the same",
            f"{median(information['ours']):.2f}",
            f"scikit-learn's `mutual_info_classif` {median(information['theirs']):.1f} s, {longer:.0f} times as long; "
            f"largest difference {information['largest_difference']:.0e} nats",
        ),
        (
            f"gate and projection, C = {gate['classes']}, K = {gate['filters']}: LSG step less STD step",
            f"{extra:.4f}",
            f"{extra / (extra + median(gate['stage'])):.2%} of a step of ResNet-50's last stage and head (batch "
            f"{gate['batch']}, {median(gate['stage']):.1f} s), {share:.0%} of what follows the last convolution",
        ),
    ]
    return markdown.table(("what", "seconds", "against"), rows)


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    markdown.page_of("metrics")
    measured = {
        "command": f"python -m benchmarks.metrics --run={options.run.name} --pairs={options.pairs}",
        "versions": {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
        "network": of_network(options),
        "gate": of_gate(options),
    }
    results.write("metrics", results.origin() | measured, table(measured))


if __name__ == "__main__":
    cli.main(main)
