"""``fit``: the host picks the step of each epoch and shows progress; everything else runs on the devices."""

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from lsg_jax import cache, gates, losses, models, pretrained
from lsg_jax.checkpoint import Damaged, Incomplete, Run, describe, load_run
from lsg_jax.config import Config
from lsg_jax.data import Dataset
from lsg_jax.training import parallel, schedule
from lsg_jax.training import state as states
from lsg_jax.training.folder import RunFolder, has_checkpoint, normalization
from lsg_jax.training.segments import DeviceSplit, evaluate_segment, on_devices, train_segment
from lsg_jax.training.state import TrainState

_SECONDS_A_SEGMENT = 3.0
_EVALUATION_BATCH = 500


class Interrupted(Exception):
    """A signal stopped the run after its state was saved; ``signum`` tells which."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


class Diverged(Exception):
    """The loss, theta, G or a momentum is not finite; nothing of that was saved."""


def fit(config: Config, dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Trains, or goes on training, the run in ``folder`` and returns its history, a dictionary an epoch.

    Args:
      config: a resolved configuration (``Config.resolve``).
      dataset: what to train and measure on.
      folder: the run folder; made where it does not exist.

    Raises:
      ValueError: if the folder holds a run of another configuration or of other data, is being trained already, or is
        not the same folder for each process, or if ``config.init`` does not fit.
      Interrupted: after SIGINT or SIGTERM, once the state is saved.
      Diverged: if the loss is not finite.
      OSError: if something cannot be written, or ``config.init`` not be read.
    """
    return _fit([config], dataset, [folder])[0]


def fit_seeds(config: Config, dataset: Dataset, folder: Path, seeds: int) -> list[list[dict[str, Any]]]:
    """Trains ``seeds`` runs as one program, from ``config.seed`` on; seed N has the run folder ``folder / seedN``.

    Arguments, errors and folders are those of ``fit``; returns a history a seed. A folder of
    other seeds is refused: ValueError.
    """
    numbers = range(config.seed, config.seed + seeds)
    alone = dataclasses.replace(config.run, seeds=1)
    configs = [dataclasses.replace(config, seed=number, run=alone) for number in numbers]
    paths = [folder / f"seed{number}" for number in numbers]
    if parallel.is_first():
        trained = {path for path in folder.glob("seed*") if has_checkpoint(path)}
        if trained and (trained - set(paths) or not all(path.is_dir() for path in paths)):
            names = ", ".join(sorted(path.name for path in trained))
            raise ValueError(f"{folder} holds {names}, which are not the seeds asked for; choose another --output")
    return _fit(configs, dataset, paths)


def _fit(configs: list[Config], dataset: Dataset, paths: list[Path]) -> list[list[dict[str, Any]]]:
    """Runs that differ in their seeds alone are stacked: every array of state, key and loss has them as first axis."""
    config, epochs, batch_size = configs[0], configs[0].optimizer.epochs, configs[0].optimizer.batch_size
    _check_labels(dataset)
    model = models.create(config.model, len(dataset.class_names))
    if config != config.resolve(len(dataset.train.labels), model.num_classes, model.num_filters):
        raise ValueError("the configuration is not resolved; call Config.resolve first")
    described = describe(config, dataset, [])["data"]
    parallel.check_same(config.settings() | {"seeds": len(configs), "folder": str(paths[0]), "data": described})
    mesh = parallel.mesh(len(configs))
    if batch_size % (devices := mesh.shape[parallel.AXIS]):
        raise ValueError(
            f"--batch-size {batch_size} does not divide over {devices} devices; choose a multiple of {devices}"
        )
    steps = len(dataset.train.labels) // batch_size
    learning_rate = schedule.learning_rate(config.optimizer.schedule, config.optimizer.learning_rate, epochs * steps)
    origin = None
    if config.init is not None:
        origin = None if all(map(has_checkpoint, paths)) else _open_origin(config.init, config, dataset)
        mean, std = normalization(paths[0]) if origin is None else (origin.mean, origin.std)
        dataset = dataset._replace(mean=mean, std=std)
    with ExitStack() as stack:
        folders = [
            stack.enter_context(RunFolder(each, dataset, path)) for each, path in zip(configs, paths, strict=True)
        ]
        seed = np.squeeze(np.array([each.seed for each in configs], np.uint32))
        initial = partial(_initial_state, config, dataset, learning_rate, origin=origin)
        state = (jax.vmap(initial) if seed.ndim else initial)(seed)
        place = parallel.shard_seeds if seed.ndim else parallel.replicate
        state, total_loss = place(_resume(folders, state, np.zeros(seed.shape, np.float32)), mesh)
        seed = place(seed, mesh)
        if step := _step(state):
            done = len(folders[0].history)
            print(
                "it was finished before" if done == epochs else f"resuming after epoch {done}, step {step}", flush=True
            )
        if origin is not None:
            _save(folders, state, total_loss, measured=False)  # so that resuming needs the file no more
        received, segments, spent = stack.enter_context(_signals()), _Segments(), folders[0].seconds
        train, test = (on_devices(each, mesh) for each in (dataset.train, dataset.test))
        while (epoch := len(folders[0].history)) < epochs:
            path, position = config.path(epoch), _step(state) % steps
            segment = partial(
                train_segment,
                mesh=mesh,
                stacked=seed.ndim > 0,
                path=path,
                batch_size=batch_size,
                padding=dataset.padding,
                flip=dataset.flip,
                mean=dataset.mean,
                std=dataset.std,
            )
            label = f"epoch {epoch + 1}/{epochs} {path}"
            if epoch < 2 and sys.stdout.isatty():
                print(f"{label}: compiling", end="\r", flush=True)
            state, total_loss = segment(state, total_loss, train, seed, epoch, 0, 0)  # compiles, runs no step
            jax.block_until_ready(total_loss)
            began = time.perf_counter()
            for start, stop, bar in segments.of(position, steps, label, batch_size):
                before = _copied((state, total_loss))
                state, total_loss = segment(state, total_loss, train, seed, epoch, start, stop)
                if _not_finite(state, total_loss, len(configs)):
                    step, names, broken = _first_not_finite(
                        segment, before, (train, seed, epoch), range(start, stop), len(configs)
                    )
                    of_seeds = f" of seed {', '.join(str(configs[run].seed) for run in broken)}" if seed.ndim else ""
                    raise Diverged(
                        f"{names} not finite{of_seeds} in epoch {epoch + 1} ({path}), step {step + 1} of {steps}, at "
                        f"learning rate {float(learning_rate(epoch * steps + step)):.4g}; nothing of it was saved, "
                        "try a smaller --learning-rate or --sparsity-weight in a new folder"
                    )
                if (signum := _agreed(received)) and stop < steps:
                    bar.close()
                    _save(folders, state, total_loss, measured=False, seconds=spent + time.perf_counter() - began)
                    raise Interrupted(signum)
            seconds = time.perf_counter() - began
            measured = {
                "train_loss": np.asarray(total_loss, np.float64) / steps,
                **_evaluate(state, test, dataset, mesh),
                "density": np.asarray(gates.density(state.gate), np.float64),
            }
            common = {
                "learning_rate": float(learning_rate(_step(state) - 1)),
                "seconds": round(spent + seconds, 3),
                "images_per_second": round((steps - position) * batch_size / seconds, 1),
            }
            for index, folder in enumerate(folders):
                own = {name: float(np.ravel(values)[index]) for name, values in measured.items()}
                folder.record({"epoch": epoch, "path": path, **own, **common})
            total_loss, spent = jnp.zeros_like(total_loss), 0.0
            last = epoch + 1 == epochs
            if (signum := _agreed(received)) or last or (epoch + 1) % config.run.checkpoint_every == 0:
                _save(folders, state, total_loss, measured=True)
            print(_describe_line([folder.history[-1] for folder in folders], epochs), flush=True)
            if signum and not last:
                raise Interrupted(signum)
        return [folder.history for folder in folders]


@jax.jit
def _copied(tree: Any) -> Any:
    """Copies all arrays in one dispatch."""
    return jax.tree.map(jnp.copy, tree)


@partial(jax.jit, static_argnames="runs")
def _all_finite(tree: Any, runs: int) -> Any:
    return jax.tree.map(lambda array: jnp.isfinite(array).reshape(runs, -1).all(axis=1), tree)


def _not_finite(state: TrainState, total_loss: jax.Array, runs: int) -> dict[str, np.ndarray]:
    """Returns the arrays that are not finite, and of each in which runs, bool[runs]."""
    arrays = {"loss": total_loss, **_items(state, total_loss)["variables"], "optimizer": state.optimizer_state}
    finite = jax.device_get(_all_finite(arrays, runs))
    leaves = {name: jax.tree.leaves_with_path(tree) for name, tree in finite.items()}
    named = {name + jax.tree_util.keystr(path): fine for name in arrays for path, fine in leaves[name]}
    return {name: ~fine for name, fine in named.items() if not fine.all()}


def _first_not_finite(
    segment: Callable[..., Any], carry: Any, arguments: tuple[Any, ...], steps: range, runs: int
) -> tuple[int, str, np.ndarray]:
    """Takes the steps of a segment once more, one by one, as far as something is not finite.

    Returns that step, what it is in words, and the runs, i[...].
    """
    found, step = {}, steps[0]
    for step in steps:
        carry = segment(*carry, *arguments, step, step + 1)
        if found := _not_finite(carry[0], carry[1], runs):
            break
    first, *others = found or ["something"]
    words = f"{first} and {len(others)} other arrays ({others[0]}, ...) are" if others else f"{first} is"
    return step, words, np.flatnonzero(np.any(list(found.values()), axis=0))


def _agreed(received: list[int]) -> int:
    """Returns the signal that this process, or else another one, has received, 0 where none has."""
    return int(parallel.max_over_processes(received[0] if received else 0))


def _stack(trees: list[Any]) -> Any:
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    """Returns a tree of NumPy arrays a run: Orbax saves those in half the time that it takes for JAX's."""
    tree = jax.device_get(tree)
    return [tree] if count == 1 else [jax.tree.map(lambda leaf, i=i: leaf[i, ...], tree) for i in range(count)]


def _step(state: TrainState) -> int:
    return int(np.ravel(state.step)[0])


def _save(
    folders: list[RunFolder], state: TrainState, total_loss: jax.Array, *, measured: bool, seconds: float = 0.0
) -> None:
    for folder, items in zip(folders, _unstack(_items(state, total_loss), len(folders)), strict=True):
        folder.save(_step(state), **items, measured=measured, seconds=seconds)


def _resume(folders: list[RunFolder], state: TrainState, total_loss: np.ndarray) -> tuple[TrainState, np.ndarray]:
    """Returns state and loss of the newest step that all folders have undamaged, or the initial ones, on the host."""
    templates = _unstack(_items(state, total_loss), len(folders))
    steps = sorted(set.intersection(*(set(folder.steps) for folder in folders)), reverse=True)
    damaged: list[list[int]] = [[] for _ in folders]
    cut = True  # whether those alone are damaged whose saving was cut short
    for step in steps:
        restored = [_restore(*each, step) for each in zip(folders, templates, strict=True)]
        for found, theirs in zip(restored, damaged, strict=True):
            if isinstance(found, Damaged):
                cut = cut and isinstance(found, Incomplete)
                theirs.append(step)
                if parallel.is_first():
                    print(f"warning: {found}; trying the one before it", file=sys.stderr, flush=True)
        if not parallel.max_over_processes(any(isinstance(found, Damaged) for found in restored)):
            break
    else:
        if steps and not cut:
            raise ValueError(f"{folders[0].path} holds no checkpoint that can be read; choose another --output")
        if several := [folder.path for folder in folders if len(folder.steps) > 1]:
            raise ValueError(
                f"{several[0]} has checkpoints of steps that another seed's folder has not; put that one's back, or "
                "choose another --output"
            )
        step, restored = None, templates
    for folder, theirs in zip(folders, damaged, strict=True):
        folder.go_back(step, theirs)
    items = _stack(restored)
    training = dict(items["training"])
    total_loss = training.pop("total_loss")
    return dataclasses.replace(state, **items["variables"], **training), total_loss


def _restore(folder: RunFolder, template: dict[str, Any], step: int) -> dict[str, Any] | Damaged:
    try:
        return folder.restore(step, **template)
    except Damaged as error:
        return error


def _items(state: TrainState, total_loss: jax.Array | np.ndarray) -> dict[str, Any]:
    variables = {"params": state.params, "batch_stats": state.batch_stats, "gate": state.gate}
    training = {
        "step": state.step,
        "optimizer_state": state.optimizer_state,
        "gate_optimizer_state": state.gate_optimizer_state,
        "total_loss": total_loss,
    }
    return {"variables": variables, "training": training}


def _check_labels(dataset: Dataset) -> None:
    """Raises ValueError where a label is no class: indexing would take the nearest one that is."""
    classes = len(dataset.class_names)
    for name, labels in (("training", dataset.train.labels), ("test", dataset.test.labels)):
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise ValueError(
                f"a {name} image has the label {wrong}; {classes} classes have the labels 0 to {classes - 1}"
            )


def _open_origin(path: Path, config: Config, dataset: Dataset) -> Run:
    """Opens what training starts from; raises ValueError where it does not fit the configuration or the data set."""
    path = cache.expanded(path)
    if not path.suffix and not path.is_dir():
        raise FileNotFoundError(f"there is no run folder --init {path}")
    origin = load_run(path) if path.is_dir() else pretrained.import_torch(path)
    done, asked = len(origin.history), origin.config.optimizer.epochs
    if not origin.imported and done < asked:
        raise ValueError(f"--init {path} has {done} of {asked} epochs; finish it first")
    name, classes, channels = config.data.dataset, len(dataset.class_names), dataset.train.images.shape[-1]
    if origin.config.model != config.model:
        raise ValueError(f"{path} holds a {origin.config.model}, not the {config.model} of --model={config.model}")
    if len(origin.class_names) != classes:
        raise ValueError(f"{path} has {len(origin.class_names)} classes, and {name} has {classes}")
    if origin.image_shape[-1] != channels:
        raise ValueError(
            f"{path} takes images of {origin.image_shape[-1]} channels, and those of {name} have {channels}"
        )
    if config.gate == "tightened" and origin.config.gate != "learned":
        raise ValueError(f"{path} has no learned gate to tighten; choose a run that was trained with --gate=learned")
    return origin


def _initial_state(
    config: Config,
    dataset: Dataset,
    learning_rate: Any,
    seed: Any,
    origin: Run | None = None,
) -> TrainState:
    """Returns the state before the first step: theta drawn from ``seed`` or, where given, that of ``origin``."""
    model = models.create(config.model, len(dataset.class_names), parallel.AXIS, config.precision)
    lsg = config.lsg
    if lsg.sparsity_weight is None or lsg.sparsity_target is None or lsg.shared_filters is None:
        raise ValueError("the configuration is not resolved; call Config.resolve first")
    if config.gate == "fixed":
        per_class = (model.num_filters - lsg.shared_filters) // model.num_classes
        gate = gates.fixed(model.num_classes, per_class, lsg.shared_filters)
    elif config.gate == "tightened" and origin is not None:
        gate = gates.tighten(origin.gate, lsg.tighten_threshold)
    else:
        gate = gates.init(model.num_classes, model.num_filters, lsg.gate_init if config.gate == "learned" else 1.0)
    # The epochs' keys are fold_in(key, 0), fold_in(key, 1), ...: the last number stays clear of them.
    state = states.create(
        jax.random.fold_in(jax.random.key(seed), 2**32 - 1),
        model,
        dataset.train.images.shape[1:],
        gate,
        states.theta_optimizer(learning_rate, config.optimizer.momentum, config.optimizer.weight_decay),
        states.learned_gate_optimizer(lsg.gate_learning_rate) if config.gate == "learned" else states.frozen(),
        losses.Weights(
            lsg.gate_loss_weight, lsg.sparsity_weight, lsg.sparsity_target, lsg.silence_weight, lsg.complement_weight
        ),
    )
    return state if origin is None else dataclasses.replace(state, params=origin.params, batch_stats=origin.batch_stats)


def _evaluate(state: TrainState, test: DeviceSplit, dataset: Dataset, mesh: Mesh) -> dict[str, np.ndarray]:
    """Returns accuracy and cross entropy of both paths, one value a run."""
    zero = np.zeros(state.step.shape, np.float32)
    totals: Any = {path: {"correct": zero, "cross_entropy": zero} for path in ("std", "lsg")}
    devices = mesh.shape[parallel.AXIS]
    batch_size = -(-min(_EVALUATION_BATCH, len(test.labels)) // devices) * devices
    segment = partial(
        evaluate_segment,
        mesh=mesh,
        stacked=state.step.ndim > 0,
        batch_size=batch_size,
        mean=dataset.mean,
        std=dataset.std,
    )
    for start, stop, _ in _Segments().of(0, -(-len(test.labels) // batch_size), "measuring", batch_size):
        totals = jax.block_until_ready(segment(state, totals, test, start, stop))
    return {
        f"{prefix}test_{name}": np.asarray(totals[path][key], np.float64) / len(test.labels)
        for path, prefix in (("std", ""), ("lsg", "lsg_"))
        for name, key in (("accuracy", "correct"), ("cross_entropy", "cross_entropy"))
    }


class _Segments:
    """Cuts epochs into segments that take a few seconds each, whatever the machine, as it learns from those before."""

    def __init__(self) -> None:
        self._length = 1

    def of(self, start: int, stop: int, label: str, batch_size: int) -> Iterator[tuple[int, int, Any]]:
        """Yields (start, stop, bar) of each."""
        with tqdm(
            total=stop * batch_size,
            initial=start * batch_size,
            desc=label,
            unit=" images",
            leave=False,
            unit_scale=True,
            disable=None if parallel.is_first() else True,
        ) as bar:
            while (rest := stop - start) > 0:
                end = start + -(-rest // -(-rest // self._length))
                began = time.perf_counter()
                yield start, end, bar
                seconds, done = parallel.max_over_processes(time.perf_counter() - began), end - start
                bar.update(done * batch_size)
                self._length = max(1, min(4 * done, int(done * _SECONDS_A_SEGMENT / max(seconds, 1e-6))))
                start = end


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second one of either dies as usual."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number: int, _: Any) -> None:
        os.write(2, b"\nstopping after this segment; once more to stop at once\n")
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe_line(lines: list[dict[str, Any]], epochs: int) -> str:
    """Describes an epoch by the means over the runs."""
    first = lines[0]
    mean = {name: np.mean([line[name] for line in lines]) for name, value in first.items() if name != "path"}
    runs = f"{len(lines)} seeds  " if len(lines) > 1 else ""
    return (
        f"epoch {first['epoch'] + 1:{len(str(epochs))}d}/{epochs} {first['path']:5s} {runs}"
        f"lr {mean['learning_rate']:.4f}  loss {mean['train_loss']:8.4f}  accuracy {mean['test_accuracy']:.4f} "
        f"(gated by true labels {mean['lsg_test_accuracy']:.4f})  density {mean['density']:.3f}  "
        f"{len(lines) * mean['images_per_second']:.0f} images/s"
    )
