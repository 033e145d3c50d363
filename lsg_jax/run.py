"""A trained network opened for analysis, and its folder: ``load_run`` and ``save_run``."""

import json
import logging
import platform
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lsg_jax import checks, files, gates, machine, models
from lsg_jax.checkpoint import Checkpoints, Damaged, is_checkpoint
from lsg_jax.config import Config, OutputConfig
from lsg_jax.data import Dataset, normalize

_PACKAGES = ("lsg-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
_BATCH = 500


@lru_cache
def environment() -> dict[str, str]:
    """Returns what figures depend on beside settings and data: versions, by package, and the kind of device."""
    packages = {name: machine.version(name) or "not installed" for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, "device": jax.devices()[0].device_kind}


def describe(config: Config, dataset: Dataset, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the ``run`` item: all that rebuilding the model needs beside its arrays."""
    data = describe_data(dataset)
    return {"config": config.to_json(), "data": data, "history": history, "environment": environment()}


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Returns that item's part about the data: what the model takes and gives, and which images these are."""
    return {
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.train.images.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "digest": dataset.digest(),
    }


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network opened for analysis; the functions batch their input and return NumPy arrays.

    Attributes:
      config: the run's resolved configuration.
      params: theta, a pytree.
      batch_stats: the batch normalisation statistics, a pytree.
      gate: G, f32[C, K].
      class_names: C names, in the order of the labels.
      image_shape: (H, W, channels) of the images it was trained on.
      history: the metric lines, a dictionary an epoch.
      mean, std: the input normalisation per channel, of images scaled to [0, 1].
      environment: the versions and the kind of device that it was trained with; empty where that is not known.
    """

    config: Config
    params: Any = field(repr=False)
    batch_stats: Any = field(repr=False)
    gate: jax.Array = field(repr=False)
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    history: list[dict[str, Any]] = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def imported(self) -> bool:
        """Whether it was trained elsewhere, so that its configuration says nothing of its training."""
        return not self.history and not self.environment

    def logits(self, images: Any, labels: Any = None) -> np.ndarray:
        """Returns f32[N, C] of the STD path, or of the LSG path where labels i32[N] are given.

        Images are [N, H, W, channels] of ``image_shape``, uint8 or floating point in [0, 1].
        """
        images = self._checked(images)
        if labels is None:
            return self._batched(self._apply("__call__"), images)
        labels = np.asarray(labels)
        if labels.shape != (len(images),):
            raise ValueError(f"labels must be one an image, i[{len(images)}], got shape {labels.shape}")
        return self._batched(self._apply("__call__"), images, np.asarray(gates.rows(self.gate, labels)))

    @cached_property
    def probabilities(self) -> Partial:
        """The STD path's softmax, a traceable function from images to f32[N, C], which checks and batches nothing.

        Images are as in ``logits``, but floating-point ones may leave [0, 1], as some attacks' probes do. It is a
        pytree too, whose leaves are what was trained: a program that takes it as an argument serves every such network.
        """
        return Partial(_probabilities, self._apply("__call__"))

    def features(self, images: Any) -> np.ndarray:
        """Returns the pooled features a, f32[N, K]."""
        return self._batched(self._apply("features"), self._checked(images))

    def feature_maps(self, images: Any) -> np.ndarray:
        """Returns the last convolution's feature maps, f32[N, H', W', K]."""
        return self._batched(self._apply("feature_maps"), self._checked(images))

    @property
    def last_kernel(self) -> jax.Array:
        """The weights of the last convolution's filters, f32[h, w, I, K]."""
        layer = self.params
        for name in models.create(self.config.model, len(self.class_names)).last_convolution:
            layer = layer[name]
        return layer["kernel"]

    def _apply(self, method: str) -> Partial:
        model = models.create(self.config.model, len(self.class_names), precision=self.config.precision)
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        return Partial(_compiled(model, method), variables, jnp.asarray(self.mean), jnp.asarray(self.std))

    def _checked(self, images: Any) -> np.ndarray:
        images = np.asarray(images)
        if images.shape[1:] != self.image_shape or not len(images):
            sizes = ", ".join(map(str, self.image_shape))
            raise ValueError(f"images must be [N, {sizes}] with N > 0, got shape {images.shape}")
        if images.dtype != np.uint8:
            if not jnp.issubdtype(images.dtype, jnp.floating):
                raise ValueError(f"images must be uint8, or floating point in [0, 1], got {images.dtype}")
            if not (images.min() >= 0 and images.max() <= 1):
                raise ValueError(f"floating-point images must lie in [0, 1], got {images.min()} to {images.max()}")
        return images

    def _batched(self, function: Callable[..., jax.Array], images: np.ndarray, *others: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), _BATCH)
        return np.concatenate(
            [np.asarray(function(*(a[start : start + _BATCH] for a in (images, *others)))) for start in starts]
        )


@lru_cache
def _compiled(model: nn.Module, method: str) -> Callable[..., jax.Array]:
    """Returns a function of what was trained and images; of equal models it is the same, and compiled once."""

    @jax.jit
    def apply(variables, mean, std, images, *gate_rows):
        found = model.apply(variables, normalize(images, mean, std), *gate_rows, method=method)
        return jnp.asarray(found, jnp.float32)

    return apply


def _probabilities(logits: Partial, images: jax.Array) -> jax.Array:
    return jax.nn.softmax(logits(images))


def save_run(run: Run, path: str | Path) -> None:
    """Writes a folder that ``load_run`` opens: theta, G, configuration and history.

    It is small, about 1 MB for a ResNet-20, and cannot be trained on: optimizer states are left out, and where the data
    and the run lay on this machine too.

    Raises:
      FileExistsError: where there is something at ``path`` already.
      OSError: where it cannot be written.
      ValueError: where ``run`` is none, or ``path``.
    """
    checks.instance("the run", run, Run)
    path = files.expanded(path)
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists already; remove it or choose another folder")
    config = replace(run.config, data=replace(run.config.data, data_dir=None), run=OutputConfig())
    config = replace(config, init=None if config.init is None else Path(config.init.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        folder = Path(temporary, path.name)
        data = {name: list(getattr(run, name)) for name in ("class_names", "image_shape", "mean", "std")}
        described = {"config": config.to_json(), "data": data, "history": run.history, "environment": run.environment}
        variables = {"params": run.params, "batch_stats": run.batch_stats, "gate": run.gate}
        # The accuracy tells the best of several checkpoints; the history's may be of others than these variables.
        with closing(Checkpoints(folder / "checkpoints")) as checkpoints:
            checkpoints.save(len(run.history), variables, None, described, None)
        (folder / "config.json").write_text(json.dumps(config.to_json(), indent=2) + "\n", "utf-8")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in run.history), "utf-8")
        folder.rename(path)


def load_run(path: str | Path) -> Run:
    """Opens a run folder, or one checkpoint inside it (``RUN/checkpoints/STEP``; a folder opens its newest).

    Where the newest is incomplete, as it is while a process saves it, a folder opens the one before and a warning is
    logged.

    It needs neither the training data nor the devices that the run was made on.

    Raises:
      FileNotFoundError: where ``path`` holds no checkpoint.
      Damaged: a ValueError, where the checkpoint is not what was saved; the message names it and the one before it.
      ValueError: where it was written by another version.
    """
    path = files.expanded(path)
    folder, wanted = (path.parent, int(path.name)) if is_checkpoint(path) else (path / "checkpoints", None)
    if not path.exists():
        raise FileNotFoundError(f"there is no run folder {path}; train one, or name another")
    if not folder.is_dir():
        if seeds := [each.parent for each in path.glob("seed*/checkpoints")]:
            first = min(seeds, key=lambda seed: (len(seed.name), seed.name))
            raise FileNotFoundError(f"{path} holds a run for each of several seeds; name one of them, such as {first}")
        raise FileNotFoundError(f"{path} is not a run folder: it has no checkpoints; train one, or name another")
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        steps = [step for step in checkpoints.steps if wanted is None or step <= wanted]
        if not steps or wanted not in (None, steps[0]):
            raise FileNotFoundError(f"{path} holds no complete checkpoint")
        if wanted is None and len(steps) > 1 and not checkpoints.is_complete(steps[0]):
            logging.getLogger(__name__).warning(
                "%s is incomplete; opening the one before it", folder / str(steps.pop(0))
            )
        run = checkpoints.describe(steps[0])
        config, data = Config.from_json(run["config"]), run["data"]
        model = models.create(config.model, len(data["class_names"]))
        images = jax.ShapeDtypeStruct((1, *data["image_shape"]), jnp.float32)
        shape = jax.eval_shape(model.init, jax.random.key(0), images)
        template = dict(shape) | {"gate": jnp.zeros((model.num_classes, model.num_filters))}
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        template = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), template)
        variables = checkpoints.restore(steps[0], variables=template)["variables"]
    except Damaged as error:
        earlier = f"open {folder / str(steps[1])} instead" if len(steps) > 1 else "there is no earlier one"
        raise Damaged(f"{error}; {earlier}") from error
    finally:
        checkpoints.close()
    return Run(
        config,
        variables["params"],
        variables["batch_stats"],
        variables["gate"],
        tuple(data["class_names"]),
        tuple(data["image_shape"]),
        run["history"],
        tuple(data["mean"]),
        tuple(data["std"]),
        run.get("environment", {}),
    )
