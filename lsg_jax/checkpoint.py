"""Runs on disk: Orbax checkpoints that hold theta and G together, and ``load_run`` to open them."""

import hashlib
import itertools
import json
import logging
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import Partial

from lsg_jax import files, gates, models
from lsg_jax.config import Config, OutputConfig
from lsg_jax.data import Dataset, normalize

# Of what a checkpoint means: 1 had other strided convolutions (XLA's 'SAME') and did not say so; 2 may lack digests.
_FORMAT, _READABLE = 3, (2, 3)
_DIGESTS = "digests.json"
_PACKAGES = ("lsg-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
_BATCH = 500


class Damaged(ValueError):
    """A checkpoint that cannot be read, or does not hold what was saved."""


class Incomplete(Damaged):
    """A checkpoint without its digests: its process was killed right after it was saved, or they were removed."""


class Checkpoints:
    """The ``checkpoints/`` of a run folder: the last three and the best by test accuracy.

    Each holds ``variables`` (params, batch_stats, gate), ``training`` (optimizer states, counters, running totals) and
    ``run`` (configuration, data description, history), so that one is enough to rebuild the model. The digests of its
    files are saved beside them, and compared before they are read.
    """

    def __init__(self, folder: Path, read_only: bool = False):
        if read_only:
            this = jax.process_index()  # which opens it without waiting for other processes of a run
            options = ocp.CheckpointManagerOptions(
                read_only=True,
                create=False,
                save_interval_steps=0,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process{this}"
                ),
            )
        else:
            options = ocp.CheckpointManagerOptions(preservation_policy=self, enable_async_checkpointing=False)
        handlers = {
            "variables": ocp.StandardCheckpointHandler(),
            "training": ocp.StandardCheckpointHandler(),
            "run": ocp.JsonCheckpointHandler(),
        }
        self._accuracies: dict[int, float | None] = {}  # by step
        with _only_errors(logging.getLogger("absl")) if read_only else nullcontext():  # it warns of being read-only
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Orbax's preservation policy: the last three and the best. Its own forgets metrics where training resumes."""
        steps = [each.step for each in checkpoints]
        accuracies = {step: accuracy for step in steps if (accuracy := self._accuracy(step)) is not None}
        best = max(accuracies, key=lambda step: (accuracies[step], step), default=None)
        return [step == best or step in steps[-3:] for step in steps]

    def _accuracy(self, step: int) -> float | None:
        """Returns the test accuracy of a checkpoint, None where it was not measured, or cannot be read."""
        if step not in self._accuracies:
            try:
                run = json.loads((self._folder(step) / "run" / "metadata").read_text())
                if "test_accuracy" not in run:  # an earlier version's; seconds are those of an unfinished epoch
                    run["test_accuracy"] = None if run.get("seconds") else run["history"][-1]["test_accuracy"]
                self._accuracies[step] = run["test_accuracy"]
            except (OSError, ValueError, AttributeError, LookupError, TypeError):
                self._accuracies[step] = None
        return self._accuracies[step]

    def save(
        self, step: int, variables: Any, training: Any | None, run: dict[str, Any], test_accuracy: float | None
    ) -> None:
        """Saves the checkpoint of ``step``; an interrupted save leaves the earlier ones as they were.

        ``test_accuracy`` is that of these very variables, None in the middle of an epoch. Without ``training`` the run
        can be opened but not trained on.

        Raises OSError where it cannot be written.
        """
        self._accuracies[step] = test_accuracy
        run = run | {"format": _FORMAT, "written by": version("lsg-jax"), "test_accuracy": test_accuracy}
        items = {"variables": ocp.args.StandardSave(variables), "run": ocp.args.JsonSave(run)}
        if training is not None:
            items["training"] = ocp.args.StandardSave(training)
        try:
            with files.naming(self._folder(step)):
                self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except ValueError as error:  # tensorstore's word for what the system refused
            if (code := re.search(r"os_error_code='(\d+)'", str(error))) is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(self._folder(step))) from error
        if jax.process_index() == 0:
            folder = self._folder(step)
            content = json.dumps(_digests(folder), indent=1) + "\n"
            files.publish(folder / _DIGESTS, lambda file: file.write_text(content))

    def _folder(self, step: int) -> Path:
        return Path(self._manager.directory, str(step))

    def discard_after(self, step: int | None) -> None:
        """Removes the checkpoints of later steps than ``step``, all of them for None."""
        for later in self._manager.all_steps():
            if step is None or later > step:
                self._manager.delete(later)

    def set_aside(self, steps: list[int], folder: Path) -> None:
        """Moves checkpoints to ``folder``, where they are in nobody's way; one process does it for all."""
        for step in steps:
            folder.mkdir(exist_ok=True)
            names = (folder / f"{step}-{count}" for count in itertools.count(1))
            self._folder(step).rename(next(name for name in names if not name.exists()))

    def reload(self) -> None:
        """Looks again which checkpoints there are."""
        self._manager.reload()

    def describe(self, step: int) -> dict[str, Any]:
        """Returns the ``run`` item of a checkpoint.

        Raises Damaged where it is not what was saved, and ValueError where it is of another format.
        """
        run = self._restore(step, run=ocp.args.JsonRestore())["run"]
        if (found := run.get("format", 1)) not in _READABLE:
            readable = " and ".join(map(str, _READABLE))
            written = run.get("written by", "0.1.0, as it was when this was written")
            raise ValueError(
                f"checkpoint {self._folder(step)} is of format {found}, and this version reads formats {readable}; "
                f"train it again, or use lsg-jax {written}"
            )
        return run

    def restore(self, step: int, **templates: Any) -> dict[str, Any]:
        """Returns the items named, each shaped like its template of arrays or ShapeDtypeStructs.

        Raises Damaged where they are not what was saved, or of other shapes.
        """
        items = {name: ocp.args.StandardRestore(template) for name, template in templates.items()}
        restored = self._restore(step, **items)
        # Orbax compares the shapes of JAX arrays only.
        if jax.tree.map(np.shape, restored) != jax.tree.map(np.shape, templates):
            raise self._damaged(step, "arrays of other shapes")
        return restored

    def _restore(self, step: int, **items: Any) -> dict[str, Any]:
        self._verify(step)
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            return {name: restored[name] for name in items}
        except (OSError, MemoryError) as error:
            if not isinstance(error, FileNotFoundError):
                raise
            raise self._damaged(step, "a part of it is missing") from error
        except Exception as error:  # another structure or version surfaces as any of a dozen types
            raise self._damaged(step, type(error).__name__) from error

    def _verify(self, step: int) -> None:
        """Raises Damaged where a file is not as it was saved: given one, Orbax leaves failing readers behind.

        Files that others put beside them do not count.
        """
        folder = self._folder(step)
        if not (folder / _DIGESTS).is_file():
            if self._format(step) < _FORMAT:
                return
            raise Incomplete(f"checkpoint {folder} is incomplete ({_DIGESTS} is missing)")
        try:
            saved = dict(json.loads((folder / _DIGESTS).read_text()))
        except (ValueError, TypeError) as error:
            raise self._damaged(step, f"{_DIGESTS} is not as it was saved") from error
        found = _digests(folder)
        if different := sorted(name for name in saved if saved[name] != found.get(name)):
            raise self._damaged(step, f"{different[0]} is not as it was saved")

    def _format(self, step: int) -> int:
        """Returns the format that a checkpoint without digests has, this version's where that cannot be read."""
        try:
            return int(json.loads((self._folder(step) / "run" / "metadata").read_text()).get("format", 1))
        except (OSError, ValueError, AttributeError, TypeError):
            return _FORMAT

    def _damaged(self, step: int, reason: str) -> Damaged:
        return Damaged(f"checkpoint {self._folder(step)} is damaged or of another version ({reason})")

    def close(self) -> None:
        self._manager.close()


def _digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a checkpoint, but of marks, of which only their being there counts."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (_DIGESTS, "commit_success.txt"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def _only_errors(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


@lru_cache
def environment() -> dict[str, str]:
    """Returns what figures depend on beside settings and data: versions, by package, and the kind of device."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, "device": jax.devices()[0].device_kind}


def describe(config: Config, dataset: Dataset, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the ``run`` item: all that rebuilding the model needs beside its arrays."""
    data = {
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.train.images.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "digest": dataset.digest(),
    }
    return {"config": config.to_json(), "data": data, "history": history, "environment": environment()}


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
    """
    path = files.expanded(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another folder")
    config = replace(run.config, data=replace(run.config.data, data_dir=None), run=OutputConfig())
    config = replace(config, init=None if config.init is None else Path(config.init.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        folder = Path(temporary, path.name)
        checkpoints = Checkpoints(folder / "checkpoints")
        data = {name: list(getattr(run, name)) for name in ("class_names", "image_shape", "mean", "std")}
        described = {"config": config.to_json(), "data": data, "history": run.history, "environment": run.environment}
        variables = {"params": run.params, "batch_stats": run.batch_stats, "gate": run.gate}
        accuracy = run.history[-1]["test_accuracy"] if run.history else None
        checkpoints.save(len(run.history), variables, None, described, accuracy)
        checkpoints.close()
        for marker in folder.rglob("commit_success.txt"):
            marker.write_text("")  # its being there counts; it says where the folder was written
        (folder / "config.json").write_text(json.dumps(config.to_json(), indent=2) + "\n")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in run.history))
        folder.rename(path)


def load_run(path: str | Path) -> Run:
    """Opens a run folder, or one checkpoint inside it (``RUN/checkpoints/STEP``; a folder opens its newest).

    It needs neither the training data nor the devices that the run was made on.

    Raises:
      FileNotFoundError: where ``path`` holds no checkpoint.
      Damaged: a ValueError, where the checkpoint is not what was saved; the message names it and the one before it.
      ValueError: where it was written by another version.
    """
    path = files.expanded(path)
    one = path.name.isdigit() and path.parent.name == "checkpoints"
    folder, wanted = (path.parent, int(path.name)) if one else (path / "checkpoints", None)
    if not path.exists():
        raise FileNotFoundError(f"there is no run folder {path}; train one, or name another")
    if not folder.is_dir():
        raise FileNotFoundError(f"{path} is not a run folder: it has no checkpoints; train one, or name another")
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        steps = [step for step in checkpoints.steps if wanted is None or step <= wanted]
        if not steps or wanted not in (None, steps[0]):
            raise FileNotFoundError(f"{path} holds no complete checkpoint")
        step = steps[0]
        run = checkpoints.describe(step)
        config, data = Config.from_json(run["config"]), run["data"]
        model = models.create(config.model, len(data["class_names"]))
        shape = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *data["image_shape"])))
        template = dict(shape) | {"gate": jnp.zeros((model.num_classes, model.num_filters))}
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        template = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), template)
        variables = checkpoints.restore(step, variables=template)["variables"]
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
