"""A trained network under study: what it makes of the test set, each part computed when it is first needed."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import alike
from lsg_jax import Run, data, load_run, metrics
from lsg_jax.data import Dataset
from lsg_jax.metrics import Phi
from lsg_jax.metrics.examples import group_means

_SAME_COPY = 0.01  # rounding on other devices changes the accuracy on the same images by less


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network and what it makes of the test set, each part computed when it is first needed.

    Attributes:
      name: that of the run folder.
      run: the run.
      load: returns what it was trained on, and the test set that its own metrics were measured on.
    """

    name: str
    run: Run = field(repr=False)
    load: Callable[[], Dataset] = field(repr=False)

    @cached_property
    def dataset(self) -> Dataset:
        """What ``load`` returns. Raises ValueError where the network was not made for images and classes like those."""
        dataset = self.load()
        made_for = self.run.image_shape, len(self.run.class_names)
        found = dataset.test.images.shape[1:], len(dataset.class_names)
        if made_for != found:
            raise ValueError(
                f"{self.name} is a network for images {list(made_for[0])} of {made_for[1]} classes, and "
                f"{self.run.config.data.dataset} has images {list(found[0])} of {found[1]}"
            )
        return dataset

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
        """Pooled features, f32[N, K]. Says so where the images seem not to be those that the run was measured on."""
        features = self.run.features(self.images)
        if len(self.run.history) == self.run.config.optimizer.epochs:
            stated = self.run.history[-1]["test_accuracy"]
            found = float(np.mean(self._classified(features).argmax(1) == self.labels))
            if abs(found - stated) > _SAME_COPY:
                print(
                    f"note: {self.name} recognises {found:.4f} of these images and, after its last epoch, {stated:.4f} "
                    "of those of its training; is this another copy of the data set?",
                    file=sys.stderr,
                )
        return features

    @cached_property
    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """The classifier's kernel f32[K, C] and bias f32[C]."""
        classifier = self.run.params["classifier"]
        return np.asarray(classifier["kernel"]), np.asarray(classifier["bias"])

    @cached_property
    def logits(self) -> np.ndarray:
        """Of the STD path, f32[N, C]."""
        return self._classified(self.features)

    def _classified(self, features: np.ndarray) -> np.ndarray:
        kernel, bias = self.linear
        return features @ kernel + bias

    @cached_property
    def correlation(self) -> np.ndarray:
        """Of the last convolution's filters, f64[K, K]."""
        return metrics.filter_correlation(np.asarray(self.run.last_kernel))

    def phi_after(self, trained: "Network", share: float = 1.0) -> Phi:
        """Phi after a share of as many updates of G alone as a network's training had, or had had with a learned gate.

        The settings are those of that training, as in Algorithm 1.
        """
        training, (classes, filters) = trained.run.config, self.run.gate.shape
        lsg = training.lsg if training.gate == "learned" else replace(training.lsg, sparsity_weight=None)
        examples = len(trained.dataset.train.labels)
        config = replace(training, gate="learned", lsg=lsg).resolve(examples, classes, filters)
        assert config.lsg.sparsity_weight is not None  # Config.resolve has seen to it
        assert config.lsg.sparsity_target is not None
        return metrics.phi_by_training(
            *self._phi_arguments,
            jax.random.key(0),
            **self._density_form,
            training_weight=config.lsg.sparsity_weight,
            training_target=config.lsg.sparsity_target,
            learning_rate=config.lsg.gate_learning_rate * config.lsg.gate_loss_weight,
            batch_size=config.optimizer.batch_size,
            steps=max(1, round(share * config.gated_epochs() * (examples // config.optimizer.batch_size))),
        )

    @cached_property
    def stationary(self) -> dict[str, Phi]:
        """Stationary points of Phi in density form on the test set, by the G that the search started from."""
        kernel, _ = self.linear
        activation = group_means(self.features, self.labels == np.arange(kernel.shape[1])[:, None])
        starts = {  # of every network alike: its own gate, which not all have, would favour those
            "all-one": np.ones(kernel.T.shape),
            "after its training's updates": np.asarray(self.phi_after(self).gate),
            "each filter of the class it answers to most": activation == activation.max(axis=0),
            "each filter of the class whose logit it adds most to": kernel.T.max(axis=0) == kernel.T,
        }
        return {
            name: metrics.phi(*self._phi_arguments, **self._density_form, gate=jnp.asarray(start, jnp.float32))
            for name, start in starts.items()
        }

    @cached_property
    def solved(self) -> Phi:
        """The lowest of the stationary points."""
        return min(self.stationary.values(), key=lambda found: float(found.value))

    @property
    def _phi_arguments(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        features, labels, kernel, bias = map(jnp.asarray, (self.features, self.labels, *self.linear))
        return features, labels, kernel, bias

    @property
    def _density_form(self) -> dict[str, Any]:
        """Of Phi: a = 1 and s = 1 / C, so that it is CE + | density - 1 / C |."""
        classes, filters = self.run.gate.shape
        return {"sparsity_weight": 1 / (classes * filters), "sparsity_target": float(filters)}

    @cached_property
    def gate(self) -> np.ndarray:
        """G, f32[C, K]: the one the network was trained with or, where it had none, the one that is solved for Phi."""
        return np.asarray(self.solved.gate if self.run.config.gate == "none" else self.run.gate)


def open_networks(run: Path, against: Path | None, data_dir: Path | None) -> list[Network]:
    """Opens the run and, where there is one, the run it is compared with, on the same test set."""
    paths = [run] if against is None else [run, against]
    opened = [load_run(path) for path in paths]
    settings = opened[0].config.data
    images = [f"{each.config.data.dataset}, holdout {each.config.data.holdout}" for each in opened]
    if len(set(images)) > 1 or opened[0].class_names != opened[-1].class_names:
        raise ValueError(
            f"{run} and {against} were measured on different images ({' and '.join(images)}) or have other classes; "
            "choose two runs of one data set"
        )
    if differing := alike.differences(list(map(alike.settings, opened))):
        print(f"note: they differ in more than the gate: {alike.told(differing)}", file=sys.stderr)
    folder = data_dir or settings.data_dir
    load = cache(partial(data.load, settings.dataset, folder, holdout=settings.holdout))
    return [
        Network(name, each, partial(load, each.config.data.train_examples))
        for name, each in zip(_names(paths), opened, strict=True)
    ]


def _names(paths: list[Path]) -> list[str]:
    """Returns the names of run folders, and where they are the same those of the folders that they are in too."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise ValueError(f"{paths[0]} cannot be compared with itself")
    names = [path.name for path in resolved]
    parts = 1
    while len(set(names)) < len(names):
        parts += 1
        names = ["-".join(path.parts[-parts:]) for path in resolved]
    return names


def check_agreed(images: np.ndarray, networks: list[Network]) -> None:
    """Raises ValueError where there are no ``images`` that all networks classify correctly."""
    if not len(images):
        names = " and ".join(network.name for network in networks)
        raise ValueError(f"no test image is classified correctly by {names}")
