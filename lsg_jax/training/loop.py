"""``fit``: the host picks the step of each epoch, and everything else runs on the device in segments of many steps."""

import dataclasses
import fcntl
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from tensorboardX import SummaryWriter
from tqdm import tqdm

from lsg_jax import cache, gates, losses, metrics, models
from lsg_jax.checkpoint import Checkpoints, describe
from lsg_jax.config import Config
from lsg_jax.data import Dataset, augment, normalize
from lsg_jax.training import parallel, schedule
from lsg_jax.training import state as states
from lsg_jax.training.state import Batch, TrainState
from lsg_jax.training.steps import UPDATES

_SECONDS_A_SEGMENT = 3.0
_EVALUATION_BATCH = 500


class Interrupted(Exception):
    """A signal stopped the run after its state was saved; ``signum`` tells which."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


class Diverged(Exception):
    """The loss is not finite; nothing of that was saved."""


class Images(NamedTuple):
    """A split on the device, uint8[N, H, W, channels] and i32[N]."""

    images: jax.Array
    labels: jax.Array


@partial(
    jax.jit, static_argnames=("mesh", "path", "batch_size", "padding", "flip", "mean", "std"), donate_argnums=(0, 1)
)
def train_segment(
    state, total_loss, split, key, epoch, start, stop, *, mesh, path, batch_size, padding, flip, mean, std
):
    """Runs steps ``start`` to ``stop`` of an epoch in one dispatch, each batch split over the devices of ``mesh``.

    The order and the augmentation depend only on key, epoch and step, so where an epoch is cut changes nothing.

    Returns:
      The state and ``total_loss`` f32[] with each step's loss added.
    """
    order_key, augment_key = jax.random.split(jax.random.fold_in(key, epoch))
    order = jax.random.permutation(order_key, len(split.labels))
    update = parallel.on_each(UPDATES[path], mesh, inputs=(parallel.REPLICATED, parallel.SPLIT))

    def step(index, carry):
        state, total_loss = carry
        chosen = lax.dynamic_slice_in_dim(order, index * batch_size, batch_size)
        images = augment(jax.random.fold_in(augment_key, index), split.images[chosen], padding=padding, flip=flip)
        batch = parallel.split(Batch(normalize(images, mean, std), split.labels[chosen]), mesh)
        state, measured = update(state, batch)
        return state, total_loss + measured["loss"]

    return lax.fori_loop(start, stop, step, (state, total_loss))


@partial(jax.jit, static_argnames=("mesh", "batch_size", "mean", "std"))
def evaluate_segment(state, totals, split, start, stop, *, mesh, batch_size, mean, std):
    """Adds batches ``start`` to ``stop`` of a split to the sums of both paths; the LSG path is given true labels."""
    count = len(split.labels)

    def measure(state, images, labels, weights):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        features = state.model.apply(variables, images, method="features")
        measured = {}
        for name, a in (("std", features), ("lsg", features * gates.rows(state.gate, labels))):
            logits = state.model.apply(variables, a, method="classify")
            measured[name] = metrics.sums(logits, labels, weights)
        return lax.psum(measured, parallel.AXIS)

    measure = parallel.on_each(measure, mesh, inputs=(parallel.REPLICATED, *3 * [parallel.SPLIT]))

    def step(index, totals):
        positions = index * batch_size + jnp.arange(batch_size)
        weights, positions = (positions < count).astype(jnp.float32), jnp.minimum(positions, count - 1)
        images = normalize(split.images[positions], mean, std)
        measured = measure(state, *parallel.split((images, split.labels[positions], weights), mesh))
        return jax.tree.map(jnp.add, totals, measured)

    return lax.fori_loop(start, stop, step, totals)


def fit(config: Config, dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Trains, or goes on training, the run in ``folder`` and returns its history, a dictionary an epoch.

    Args:
      config: a resolved configuration (``Config.resolve``).
      dataset: what to train and measure on.
      folder: the run folder; made where it does not exist.

    Raises:
      ValueError: if the folder holds a run of another configuration or of other data, or is being trained already.
      Interrupted: after SIGINT or SIGTERM, once the state is saved.
      Diverged: if the loss is not finite.
      OSError: if something cannot be written.
    """
    check_folder(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder):
        return _fit(config, dataset, folder)


def _fit(config: Config, dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    mesh = parallel.mesh()
    if config.optimizer.batch_size % mesh.size:
        raise ValueError(
            f"--batch-size {config.optimizer.batch_size} does not divide over {mesh.size} devices; "
            f"choose a multiple of {mesh.size}"
        )
    key = jax.random.key(config.seed)
    steps = len(dataset.train.labels) // config.optimizer.batch_size
    learning_rate = schedule.learning_rate(
        config.optimizer.schedule, config.optimizer.learning_rate, config.optimizer.epochs * steps
    )
    state = parallel.replicate(_initial_state(config, dataset, key, learning_rate), mesh)
    cache.publish(folder / "config.json", lambda file: file.write_text(json.dumps(config.to_json(), indent=2) + "\n"))
    checkpoints = Checkpoints(folder / "checkpoints")
    history: list[dict[str, Any]] = []
    total_loss = parallel.replicate(jnp.zeros(()), mesh)
    try:
        if (latest := checkpoints.latest) is not None:
            saved = checkpoints.describe(latest)
            history = saved["history"]
            if saved["data"] != describe(config, dataset, history)["data"]:
                raise ValueError(
                    f"{folder} was trained on other data (its mean or classes differ); choose another --output"
                )
            state, total_loss = _restore(checkpoints, latest, state, total_loss)
            if len(history) < config.optimizer.epochs:
                print(
                    f"resuming in epoch {len(history) + 1}, after {int(state.step) % steps} of {steps} steps",
                    flush=True,
                )
        lines = "".join(json.dumps(line) + "\n" for line in history)
        cache.publish(folder / "metrics.jsonl", lambda file: file.write_text(lines))
        with _signals() as received, SummaryWriter(str(folder), purge_step=len(history)) as events:

            def save() -> None:
                variables, training = _items(state, total_loss)
                whole = int(state.step) == len(history) * steps
                measured = history[-1] if whole and history else None
                checkpoints.save(int(state.step), variables, training, describe(config, dataset, history), measured)

            train, test = (
                parallel.replicate(Images(*map(jnp.asarray, s)), mesh) for s in (dataset.train, dataset.test)
            )
            while len(history) < config.optimizer.epochs:
                epoch, position = len(history), int(state.step) % steps
                path = config.path(epoch)
                segment = partial(
                    train_segment,
                    mesh=mesh,
                    path=path,
                    batch_size=config.optimizer.batch_size,
                    padding=dataset.padding,
                    flip=dataset.flip,
                    mean=dataset.mean,
                    std=dataset.std,
                )
                label = f"epoch {epoch + 1}/{config.optimizer.epochs} {path}"
                if epoch < 2 and sys.stdout.isatty():
                    print(f"{label}: compiling", end="\r", flush=True)
                state, total_loss = segment(state, total_loss, train, key, epoch, 0, 0)  # compiles, runs no step
                jax.block_until_ready(total_loss)
                began = time.perf_counter()
                images = (steps - position) * config.optimizer.batch_size
                for start, stop, bar in _segments(position, steps, label, config.optimizer.batch_size):
                    state, total_loss = segment(state, total_loss, train, key, epoch, start, stop)
                    jax.block_until_ready(total_loss)
                    if not math.isfinite(float(total_loss)):
                        raise Diverged(
                            f"the loss is {float(total_loss)} in epoch {epoch + 1} ({path}), step {stop} of {steps}, "
                            f"at learning rate {float(learning_rate(int(state.step) - 1)):.4g}; it was not saved, "
                            "try a smaller --learning-rate or --sparsity-weight in a new folder"
                        )
                    if received and stop < steps:
                        bar.close()
                        save()
                        raise Interrupted(received[0])
                seconds = time.perf_counter() - began
                loss = float(total_loss) / steps
                line = {
                    "epoch": epoch,
                    "path": path,
                    "learning_rate": float(learning_rate(int(state.step) - 1)),
                    "train_loss": loss,
                    **_evaluate(state, test, dataset, mesh),
                    "density": float(gates.density(state.gate)),
                    "seconds": round(seconds, 3),
                    "images_per_second": round(images / seconds, 1),
                }
                history.append(line)
                total_loss = parallel.replicate(jnp.zeros(()), mesh)
                last = len(history) == config.optimizer.epochs
                if received or last or len(history) % config.run.checkpoint_every == 0:
                    save()
                _append(folder / "metrics.jsonl", line)
                for name, value in line.items():
                    if isinstance(value, float):
                        events.add_scalar(name, value, epoch)
                events.flush()
                print(_describe_line(line, config.optimizer.epochs), flush=True)
                if received and not last:
                    raise Interrupted(received[0])
    finally:
        checkpoints.close()
    return history


def check_folder(config: Config, folder: Path) -> None:
    """Raises ValueError if ``folder`` holds a run of another configuration, with the differences; writes nothing."""
    if not folder.is_dir() or not any(path.name != "lock" for path in folder.iterdir()):
        return
    theirs, ours = _stored_config(folder).settings(), config.settings()
    different = [f"--{name} {theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name]]
    if different:
        raise ValueError(f"{folder} holds another run: {'; '.join(different)}; choose another --output")


def _stored_config(folder: Path) -> Config:
    """Returns the configuration in config.json or, where that is missing or damaged, in the newest checkpoint."""
    try:
        return Config.from_json(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, AttributeError) as error:
        if (folder / "checkpoints").is_dir():
            checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
            try:
                if (latest := checkpoints.latest) is not None:
                    return Config.from_json(checkpoints.describe(latest)["config"])
            finally:
                checkpoints.close()
        raise ValueError(f"{folder} is not empty and holds no run; choose another --output") from error


def _initial_state(config: Config, dataset: Dataset, key: jax.Array, learning_rate: Any) -> TrainState:
    model = models.create(config.model, len(dataset.class_names), parallel.AXIS, config.precision)
    lsg = config.lsg
    if lsg.sparsity_weight is None or lsg.sparsity_target is None or lsg.shared_filters is None:
        raise ValueError("the configuration is not resolved; call Config.resolve first")
    if config.gate == "fixed":
        per_class = (model.num_filters - lsg.shared_filters) // model.num_classes
        gate = gates.fixed(model.num_classes, per_class, lsg.shared_filters)
    else:
        gate = gates.init(model.num_classes, model.num_filters, lsg.gate_init if config.gate == "learned" else 1.0)
    # The epochs' keys are fold_in(key, 0), fold_in(key, 1), ...: the last number stays clear of them.
    return states.create(
        jax.random.fold_in(key, 2**32 - 1),
        model,
        dataset.train.images.shape[1:],
        gate,
        states.theta_optimizer(learning_rate, config.optimizer.momentum, config.optimizer.weight_decay),
        states.learned_gate_optimizer(lsg.gate_learning_rate) if config.gate == "learned" else states.frozen(),
        losses.Weights(lsg.gate_loss_weight, lsg.sparsity_weight, lsg.sparsity_target),
    )


def _items(state: TrainState, total_loss: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
    variables = {"params": state.params, "batch_stats": state.batch_stats, "gate": state.gate}
    training = {
        "step": state.step,
        "optimizer_state": state.optimizer_state,
        "gate_optimizer_state": state.gate_optimizer_state,
        "total_loss": total_loss,
    }
    return variables, training


def _restore(
    checkpoints: Checkpoints, step: int, state: TrainState, total_loss: jax.Array
) -> tuple[TrainState, jax.Array]:
    variables, training = _items(state, total_loss)
    restored = checkpoints.restore(step, variables=variables, training=training)
    training = dict(restored["training"])
    total_loss = training.pop("total_loss")
    return dataclasses.replace(state, **restored["variables"], **training), total_loss


def _evaluate(state: TrainState, test: Images, dataset: Dataset, mesh: Mesh) -> dict[str, float]:
    zero = {"correct": jnp.zeros(()), "cross_entropy": jnp.zeros(())}
    totals = {"std": zero, "lsg": zero}
    batch_size = -(-_EVALUATION_BATCH // mesh.size) * mesh.size
    segment = partial(evaluate_segment, mesh=mesh, batch_size=batch_size, mean=dataset.mean, std=dataset.std)
    for start, stop, _ in _segments(0, -(-len(test.labels) // batch_size), "measuring", batch_size):
        totals = segment(state, totals, test, start, stop)
        jax.block_until_ready(totals)
    count = len(test.labels)
    return {
        f"{prefix}test_{name}": float(totals[path][key]) / count
        for path, prefix in (("std", ""), ("lsg", "lsg_"))
        for name, key in (("accuracy", "correct"), ("cross_entropy", "cross_entropy"))
    }


def _segments(start: int, stop: int, label: str, batch_size: int) -> Iterator[tuple[int, int, Any]]:
    """Yields (start, stop, bar) of segments that take a few seconds each, whatever the machine."""
    length = 1
    with tqdm(
        total=stop * batch_size,
        initial=start * batch_size,
        desc=label,
        unit=" images",
        leave=False,
        unit_scale=True,
        disable=None,
    ) as bar:
        while start < stop:
            end = min(start + length, stop)
            began = time.perf_counter()
            yield start, end, bar
            seconds = time.perf_counter() - began
            bar.update((end - start) * batch_size)
            start, length = end, max(1, min(4 * length, int(length * _SECONDS_A_SEGMENT / max(seconds, 1e-6))))


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system takes back when the process ends, however it ends."""
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ValueError(
                f"{folder} is being trained by process {file.read().strip()}; wait for it or choose another --output"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


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


def _append(file: Path, line: dict[str, Any]) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def _describe_line(line: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {line['epoch'] + 1:{len(str(epochs))}d}/{epochs} {line['path']:5s} lr {line['learning_rate']:.4f}  "
        f"loss {line['train_loss']:8.4f}  accuracy {line['test_accuracy']:.4f} "
        f"(gated by true labels {line['lsg_test_accuracy']:.4f})  density {line['density']:.3f}  "
        f"{line['images_per_second']:.0f} images/s"
    )
