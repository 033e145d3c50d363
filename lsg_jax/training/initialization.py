"""What a training starts from: theta drawn or that of another run, and the gate."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import optax

from lsg_jax import files, gates, losses, models, pretrained
from lsg_jax.checkpoint import is_checkpoint
from lsg_jax.config import Config
from lsg_jax.data import Dataset
from lsg_jax.run import Run, load_run
from lsg_jax.training import parallel
from lsg_jax.training import state as states
from lsg_jax.training.state import TrainState


def open_origin(path: Path, config: Config, dataset: Dataset) -> Run:
    """Opens what training starts from: a run that is finished, or a PyTorch checkpoint.

    Raises:
      FileNotFoundError: where there is no such run folder or file.
      ValueError: where it cannot be read (as ``load_run`` and ``import_torch`` say), is not finished, or does not fit
        the configuration or the data set.
      OSError: where the system does not let it be read.
    """
    path = files.expanded(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no run folder or file --init {path}")
    origin = load_run(path) if path.is_dir() else pretrained.import_torch(path)
    done, asked = len(origin.history), origin.config.optimizer.epochs
    if not origin.imported and done < asked:
        if is_checkpoint(path):
            raise ValueError(
                f"--init {path} is a checkpoint after {done} of {asked} epochs; name its run, {path.parents[1]}, which "
                "has to be finished"
            )
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


def initial_state(
    config: Config, dataset: Dataset, learning_rate: optax.Schedule, seed: Any, origin: Run | None = None
) -> TrainState:
    """Returns the state before the first step.

    Args:
      config: a resolved configuration.
      dataset: of which the classes and the shape of images count.
      learning_rate: theta's, as a function of the step.
      seed: u32[], which theta is drawn from.
      origin: whose theta it is instead, where given. Without one a tightened gate is all-one, in the place of that of
        the checkpoint that is restored.
    """
    model = models.create(config.model, len(dataset.class_names), parallel.AXIS, config.precision)
    lsg = config.lsg
    assert lsg.sparsity_weight is not None  # Config.resolve has seen to it
    assert lsg.sparsity_target is not None
    assert lsg.shared_filters is not None
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
        states.learned_gate_optimizer(lsg.gate_learning_rate) if config.gate == "learned" else optax.set_to_zero(),
        losses.Weights(
            lsg.gate_loss_weight, lsg.sparsity_weight, lsg.sparsity_target, lsg.silence_weight, lsg.complement_weight
        ),
    )
    return state if origin is None else dataclasses.replace(state, params=origin.params, batch_stats=origin.batch_stats)
