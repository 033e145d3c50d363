"""``fit``: the host picks the path of each epoch, shows progress and saves; everything else runs on the devices."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from lsg_jax import checks, files, gates, models, schedule
from lsg_jax.config import Config
from lsg_jax.data import Dataset, checked
from lsg_jax.run import describe_data
from lsg_jax.training import divergence, evaluation, initialization, parallel, progress, saving, signals
from lsg_jax.training.divergence import Diverged
from lsg_jax.training.evaluation import evaluate
from lsg_jax.training.folder import RunFolder, check_folder_of_seeds, has_checkpoint, normalization
from lsg_jax.training.segments import DeviceSplit, on_devices, train_segment
from lsg_jax.training.signals import Interrupted
from lsg_jax.training.state import TrainState, step_of


class _Runs(NamedTuple):
    """Runs that differ in their seeds alone, trained as one program: what of them does not change.

    Several are stacked: every array of state, seed and loss has them as first axis.
    """

    configs: list[Config]
    dataset: Dataset
    folders: list[RunFolder]
    mesh: Mesh
    seed: jax.Array
    train: DeviceSplit
    test: DeviceSplit
    learning_rate: optax.Schedule
    steps: int  # of an epoch

    @property
    def config(self) -> Config:
        """That of the first, which is every one's but for the seed."""
        return self.configs[0]

    @property
    def stacked(self) -> bool:
        """Whether there are several."""
        return len(self.configs) > 1


def fit(config: Config, dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Trains, or goes on training, the run in ``folder`` and returns its history, a dictionary an epoch.

    Args:
      config: a resolved configuration (``Config.resolve``) of one seed.
      dataset: what to train and measure on.
      folder: the run folder; made where it does not exist.

    Raises:
      ValueError: if the data set is none to train on (``data.checked``), if the configuration is not resolved, is of
        several seeds or does not fit the data or the devices, if the folder holds a run of another configuration or of
        other data, is being trained already, or is not the same folder for each process, or if ``config.init`` does not
        fit.
      Interrupted: after SIGINT or SIGTERM, once the state is saved; of a finished run too, so that a script stops.
      Diverged: if the loss, theta, batch statistics, G, a momentum or what is measured is not finite.
      OSError: if something cannot be written, or ``config.init`` not be read.
    """
    checks.instance("the configuration", config, Config)
    return _fit([config], dataset, [files.expanded(folder)])[0]


def fit_seeds(config: Config, dataset: Dataset, folder: Path, seeds: int) -> list[list[dict[str, Any]]]:
    """Trains ``seeds`` runs as one program, from ``config.seed`` on; seed N has the run folder ``folder / seedN``.

    Arguments, errors and folders are those of ``fit``, the configuration that of the first seed; returns a history a
    seed. A folder of other seeds is refused: ValueError.
    """
    checks.instance("the configuration", config, Config)
    dataclasses.replace(config, run=dataclasses.replace(config.run, seeds=seeds))  # refuses what is no number of seeds
    folder = files.expanded(folder)
    numbers = range(config.seed, config.seed + seeds)
    configs = [dataclasses.replace(config, seed=number) for number in numbers]
    paths = [folder / f"seed{number}" for number in numbers]
    check_folder_of_seeds(folder, paths)
    return _fit(configs, dataset, paths)


def _fit(configs: list[Config], dataset: Dataset, paths: list[Path]) -> list[list[dict[str, Any]]]:
    config, dataset, mesh = configs[0], checked(dataset), parallel.mesh(len(configs))
    _check(configs, dataset, paths, mesh)
    steps = len(dataset.train.labels) // config.optimizer.batch_size
    total_steps = config.optimizer.epochs * steps
    learning_rate = schedule.learning_rate(config.optimizer.schedule, config.optimizer.learning_rate, total_steps)
    origin = None
    if config.init is not None:
        origin = None if all(map(has_checkpoint, paths)) else initialization.open_origin(config.init, config, dataset)
        mean, std = normalization(paths[0]) if origin is None else (origin.mean, origin.std)
        dataset = dataset._replace(mean=mean, std=std)
    folders = [RunFolder(each, dataset, path) for each, path in zip(configs, paths, strict=True)]
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(folder)
        seed = np.squeeze(np.array([each.seed for each in configs], np.uint32))
        initial = partial(initialization.initial_state, config, dataset, learning_rate, origin=origin)
        state = (jax.vmap(initial) if seed.ndim else initial)(seed)
        place = parallel.shard_seeds if seed.ndim else parallel.replicate
        state, total_loss = place(saving.resume(folders, state, np.zeros(seed.shape, np.float32)), mesh)
        if step := step_of(state):
            done = len(folders[0].history)
            finished = done == config.optimizer.epochs
            print("it was finished before" if finished else f"resuming after epoch {done}, step {step}", flush=True)
        if origin is not None:
            saving.save(folders, state, total_loss, measured=False)  # so that resuming needs the file no more
        train, test = (on_devices(each, mesh) for each in (dataset.train, dataset.test))
        runs = _Runs(configs, dataset, folders, mesh, place(seed, mesh), train, test, learning_rate, steps)
        state, total_loss = _compile(runs, state, total_loss)
        received = stack.enter_context(signals.collected())
        _train(runs, state, total_loss, received)
        return [folder.history for folder in folders]


def _check(configs: list[Config], dataset: Dataset, paths: list[Path], mesh: Mesh) -> None:
    """Raises ValueError where the runs cannot be trained, before anything is written."""
    config = configs[0]
    if config.run.seeds != 1:
        raise ValueError(
            f"the configuration must be of one seed, got --seeds={config.run.seeds}; fit_seeds is told how many"
        )
    model = models.create(config.model, len(dataset.class_names))
    if config != config.resolve(len(dataset.train.labels), model.num_classes, model.num_filters):
        raise ValueError("the configuration is not resolved; call Config.resolve first")
    height, width = dataset.train.images.shape[1:3]
    if min(height, width) < (least := model.least_side):
        raise ValueError(f"--model={config.model} takes images of at least {least}x{least}, got {height}x{width}")
    data = describe_data(dataset)
    parallel.check_same(config.settings() | {"seeds": len(configs), "folder": str(paths[0]), "data": data})
    batch_size, devices = config.optimizer.batch_size, mesh.shape[parallel.AXIS]
    if batch_size % devices:
        raise ValueError(
            f"--batch-size {batch_size} does not divide over {devices} devices; choose a multiple of {devices}"
        )


def _segment(runs: _Runs, path: str) -> Callable[..., Any]:
    """Returns ``train_segment`` of a path, which takes what changes."""
    return partial(
        train_segment,
        mesh=runs.mesh,
        stacked=runs.stacked,
        path=path,
        batch_size=runs.config.optimizer.batch_size,
        padding=runs.dataset.padding,
        flip=runs.dataset.flip,
        mean=runs.dataset.mean,
        std=runs.dataset.std,
    )


def _compile(runs: _Runs, state: TrainState, total_loss: jax.Array) -> tuple[TrainState, jax.Array]:
    """Compiles the programs of the epochs that are left, as a signal then costs nothing: there is nothing to save.

    Each is called for no steps. What is given is donated, and returned as it was.
    """
    left = range(len(runs.folders[0].history), runs.config.optimizer.epochs)
    if not left:
        return state, total_loss
    print("compiling, which takes longest the first time", flush=True)
    with signals.ending_at_once():
        for path in dict.fromkeys(map(runs.config.path, left)):
            state, total_loss = _segment(runs, path)(state, total_loss, runs.train, runs.seed, 0, 0, 0)
        evaluation.compile_for(state, runs.test, runs.dataset, runs.mesh)
        return jax.block_until_ready((state, total_loss))


def _train(runs: _Runs, state: TrainState, total_loss: jax.Array, received: list[int]) -> None:
    """Trains the epochs that are left, each measured, recorded and saved."""
    folders, epochs = runs.folders, runs.config.optimizer.epochs
    segments, spent = progress.Segments(), folders[0].seconds
    while (epoch := len(folders[0].history)) < epochs:
        position = step_of(state) % runs.steps
        state, total_loss, seconds = _train_epoch(runs, epoch, position, state, total_loss, segments, spent, received)
        measured = {
            "train_loss": np.asarray(total_loss, np.float64) / runs.steps,
            **evaluate(state, runs.test, runs.dataset, runs.mesh),
            "density": np.asarray(gates.density(state.gate), np.float64),
        }
        if broken := {name: ~fine for name, values in measured.items() if not (fine := np.isfinite(values)).all()}:
            raise Diverged(_describe_divergence(runs, epoch, range(runs.steps - 1, runs.steps), broken))
        trained = (runs.steps - position) * runs.config.optimizer.batch_size
        common = {
            "learning_rate": float(runs.learning_rate(step_of(state) - 1)),
            "seconds": round(spent + seconds, 3),
            "images_per_second": round(trained / seconds, 1),
        }
        for index, folder in enumerate(folders):
            own = {name: float(np.ravel(values)[index]) for name, values in measured.items()}
            folder.record({"epoch": epoch, "path": runs.config.path(epoch), **own, **common})
        total_loss, spent = jnp.zeros_like(total_loss), 0.0
        last = epoch + 1 == epochs
        if (signum := signals.agreed(received)) or last or (epoch + 1) % runs.config.run.checkpoint_every == 0:
            saving.save(folders, state, total_loss, measured=True)
        print(progress.describe_line([folder.history[-1] for folder in folders], epochs), flush=True)
        if signum:
            raise Interrupted(signum)
    if signum := signals.agreed(received):  # while the last one was saved, or where none was left
        raise Interrupted(signum)


def _train_epoch(
    runs: _Runs,
    epoch: int,
    position: int,
    state: TrainState,
    total_loss: jax.Array,
    segments: progress.Segments,
    spent: float,
    received: list[int],
) -> tuple[TrainState, jax.Array, float]:
    """Takes the steps of an epoch from ``position`` on; ``spent`` are the seconds that those before took.

    Returns state, the epoch's summed loss and the seconds that these steps took. Raises Interrupted, once it is saved,
    and Diverged.
    """
    path, batch_size = runs.config.path(epoch), runs.config.optimizer.batch_size
    segment, arguments = _segment(runs, path), (runs.train, runs.seed, epoch)
    label = f"epoch {epoch + 1}/{runs.config.optimizer.epochs} {path}"
    began = time.perf_counter()
    with closing(segments.of(position, runs.steps, label, batch_size)) as parts:
        for first, stop in parts:
            before = _copied((state, total_loss))
            state, total_loss = segment(state, total_loss, *arguments, first, stop)
            if found := divergence.not_finite(state, total_loss, len(runs.configs)):
                steps, again = divergence.first_not_finite(
                    segment, before, arguments, range(first, stop), len(runs.configs)
                )
                raise Diverged(_describe_divergence(runs, epoch, steps, again or found))
            if (signum := signals.agreed(received)) and stop < runs.steps:
                seconds = spent + time.perf_counter() - began
                saving.save(runs.folders, state, total_loss, measured=False, seconds=seconds)
                raise Interrupted(signum)
    return state, total_loss, time.perf_counter() - began


@jax.jit
def _copied(tree: Any) -> Any:
    """Copies all arrays in one dispatch."""
    return jax.tree.map(jnp.copy, tree)


def _describe_divergence(runs: _Runs, epoch: int, steps: range, found: dict[str, np.ndarray]) -> str:
    broken = np.flatnonzero(np.any(list(found.values()), axis=0))
    of_seeds = f" of seed {', '.join(str(runs.configs[run].seed) for run in broken)}" if runs.stacked else ""
    rate = float(runs.learning_rate(epoch * runs.steps + steps[-1]))
    place = f"step {steps[0] + 1}" if len(steps) == 1 else f"one of the steps {steps[0] + 1} to {steps[-1] + 1}"
    return (
        f"{divergence.in_words(list(found))} not finite{of_seeds} in epoch {epoch + 1} ({runs.config.path(epoch)}), "
        f"{place} of {runs.steps}, at learning rate {rate:.4g}; nothing of it was saved, try a smaller "
        f"{divergence.remedy(list(found), runs.config.gate)} in a new folder"
    )
