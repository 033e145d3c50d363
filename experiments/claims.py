"""What the commands of the paper's claims share: the network under study, what a claim is, and how one is written."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import cli
from lsg_jax import Run, cache, data, load_run, metrics
from lsg_jax.data import Dataset
from lsg_jax.metrics import Phi


class Claim(NamedTuple):
    """One claim of the paper, measured.

    Attributes:
      name: of the files it is written to.
      title: which claim it is.
      caption: what to look for in the picture, and how it was computed.
      numbers: what was measured, by network, as JSON takes it.
      figures: the pictures, by the names of their files.
    """

    name: str
    title: str
    caption: str
    numbers: dict[str, Any]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Options:
    """Which networks to look at."""

    run: Path
    """The run folder."""
    against: Path | None = None
    """A second run folder, to compare with."""
    data_dir: Path | None = None
    """The TFDS data directory to read from (default: the one it was trained from)."""
    output: Path | None = None
    """The folder for the picture and the numbers (default: figures/ in the run folder)."""


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network and what it makes of the test set, each part computed when it is first needed.

    Attributes:
      name: that of the run folder.
      run: the run.
      dataset: what it was trained on, and the test set that its own metrics were measured on.
    """

    name: str
    run: Run = field(repr=False)
    dataset: Dataset = field(repr=False)

    @property
    def images(self) -> np.ndarray:
        """The test set's, uint8[N, H, W, channels]."""
        return self.dataset.test.images

    @property
    def labels(self) -> np.ndarray:
        """The test set's, i32[N]."""
        return self.dataset.test.labels

    @cached_property
    def features(self) -> np.ndarray:
        """Pooled features, f32[N, K]."""
        return self.run.features(self.images)

    @cached_property
    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """The classifier's kernel f32[K, C] and bias f32[C]."""
        classifier = self.run.params["classifier"]
        return np.asarray(classifier["kernel"]), np.asarray(classifier["bias"])

    @cached_property
    def logits(self) -> np.ndarray:
        """Of the STD path, f32[N, C]."""
        kernel, bias = self.linear
        return self.features @ kernel + bias

    @cached_property
    def correlation(self) -> np.ndarray:
        """Of the last convolution's filters, f64[K, K]."""
        return metrics.filter_correlation(np.asarray(self.run.last_kernel))

    @cached_property
    def solved(self) -> Phi:
        """Phi in density form, a = 1 and s = 1 / C: CE + | density - 1 / C |, on the test set, from an all-one G."""
        kernel, bias = self.linear
        filters, classes = kernel.shape
        arrays = map(jnp.asarray, (self.features, self.labels, kernel, bias))
        return metrics.phi(*arrays, sparsity_weight=1 / (classes * filters), sparsity_target=float(filters))

    @cached_property
    def gate(self) -> np.ndarray:
        """G, f32[C, K]: the one the network was trained with or, where it had none, the one that is solved for Phi."""
        return np.asarray(self.solved.gate if self.run.config.gate == "none" else self.run.gate)


def open_networks(run: Path, against: Path | None, data_dir: Path | None) -> list[Network]:
    """Opens the run and, where there is one, the run it is compared with, on the same test set."""
    paths = [run] if against is None else [run, against]
    networks = []
    for path in paths:
        opened = load_run(path)
        settings = opened.config.data
        folder = data_dir or settings.data_dir
        dataset = data.load(settings.dataset, folder, settings.train_examples, settings.holdout)
        networks.append(Network(path.resolve().name, opened, dataset))
    first, last = networks[0], networks[-1]
    if first.run.class_names != last.run.class_names or not np.array_equal(first.images, last.images):
        raise ValueError(f"{run} and {against} were measured on different images; choose one data set")
    if len(networks) == 2 and first.name == last.name:
        raise ValueError(f"{run} and {against} have the same folder name, which is to tell them apart")
    if len({len(network.run.history) for network in networks}) > 1:
        done = " and ".join(f"{network.name} {len(network.run.history)}" for network in networks)
        print(f"note: they were not trained for as long: {done} epochs", file=sys.stderr)
    return networks


def check_agreed(images: np.ndarray, networks: list[Network]) -> None:
    """Raises ValueError where there are no ``images`` that all networks classify correctly."""
    if not len(images):
        names = " and ".join(network.name for network in networks)
        raise ValueError(f"no test image is classified correctly by {names}")


def to_json(content: Any) -> str:
    """Returns ``content`` as JSON, with null for NaN, which is what a class without images measures."""
    return json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n"


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list):
        return list(map(_without_nan, content))
    return None if isinstance(content, float) and math.isnan(content) else content


def write(claim: Claim, folder: Path) -> None:
    """Writes NAME.json and the pictures."""
    content = to_json({"title": claim.title, "caption": claim.caption, "numbers": claim.numbers})
    cache.publish(folder / f"{claim.name}.json", lambda file: file.write_text(content))
    for name, figure in claim.figures.items():
        cli.save_figure(figure, folder / f"{name}.png")


def main(measure: Callable[[list[Network]], Claim], description: str) -> None:
    """The whole of a claim's command: measures it, prints its numbers and writes both files."""

    def command() -> None:
        options = cli.parse(Options, description)
        folder = options.output or options.run / "figures"
        networks = open_networks(options.run, options.against, options.data_dir)
        cli.check_writable(folder)
        claim = measure(networks)
        write(claim, folder)
        for name, numbers in claim.numbers.items():
            print(name)
            _print(numbers, "  ")
        for name in claim.figures:
            print(folder / f"{name}.png")

    cli.main(command)


def _print(numbers: dict[str, Any], indent: str) -> None:
    for name, value in numbers.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print(value, indent + "  ")
        elif isinstance(value, float):
            print(f"{indent}{name:34s}{value:10.4f}")
        elif isinstance(value, int | str):
            print(f"{indent}{name:34s}{value!s:>10s}")
