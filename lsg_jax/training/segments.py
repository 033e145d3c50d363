"""What runs on the devices: many steps of an epoch, or many batches of an evaluation, in one dispatch."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from lsg_jax import gates, metrics
from lsg_jax.data import Split, augment, normalize
from lsg_jax.training import parallel
from lsg_jax.training.state import Batch
from lsg_jax.training.steps import UPDATES


class DeviceSplit(NamedTuple):
    """A split on the devices: uint8[N or more, H, W, channels], spread over them, and i32[N], on each."""

    images: jax.Array
    labels: jax.Array


def on_devices(split: Split, mesh: Mesh) -> DeviceSplit:
    """Puts a split on the devices of ``mesh``."""
    return DeviceSplit(parallel.shard(split.images, mesh), parallel.replicate(split.labels, mesh))


@partial(
    jax.jit,
    static_argnames=("mesh", "stacked", "path", "batch_size", "padding", "flip", "mean", "std"),
    donate_argnums=(0, 1),
)
def train_segment(
    state, total_loss, split, seed, epoch, start, stop, *, mesh, stacked, path, batch_size, padding, flip, mean, std
):
    """Runs steps ``start`` to ``stop`` of an epoch in one dispatch, each batch split over the devices of ``mesh``.

    The order and the augmentation depend only on seed, epoch and step, so where an epoch is cut changes nothing. Where
    ``stacked``, state, ``total_loss`` and seed have the runs that are trained together as first axis.

    Args:
      state: a ``TrainState``; donated.
      total_loss: f32[], the sum of the epoch's losses so far, nats; donated.
      split: the training images, a ``DeviceSplit``.
      seed: u32[], the run's.
      epoch: i32[], from 0.
      start: i32[], the first step in the epoch.
      stop: i32[], the step after the last.
      mesh: of the devices.
      stacked: whether several runs are trained together.
      path: which of ``steps.UPDATES`` is taken: std, lsg or joint.
      batch_size: of all devices together.
      padding: pixels that images are padded by before they are cropped.
      flip: whether half of them are mirrored.
      mean: per channel, of images scaled to [0, 1].
      std: likewise.

    Returns:
      The state and ``total_loss`` f32[] with each step's loss added.
    """
    update = parallel.shard_map(UPDATES[path], mesh, inputs=(parallel.REPLICATED, parallel.SPLIT))

    def train(state, total_loss, seed):
        order_key, augment_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), epoch))
        order = jax.random.permutation(order_key, len(split.labels))

        def step(index, carry):
            state, total_loss = carry
            chosen = lax.dynamic_slice_in_dim(order, index * batch_size, batch_size)
            images = augment(jax.random.fold_in(augment_key, index), split.images[chosen], padding=padding, flip=flip)
            batch = parallel.constrain_batch(Batch(normalize(images, mean, std), split.labels[chosen]), mesh)
            state, measured = update(state, batch)
            return state, total_loss + measured["loss"]

        return lax.fori_loop(start, stop, step, (state, total_loss))

    return (parallel.map_seeds(train, mesh) if stacked else train)(state, total_loss, seed)


@partial(jax.jit, static_argnames=("mesh", "stacked", "batch_size", "mean", "std"))
def evaluate_segment(state, totals, split, start, stop, *, mesh, stacked, batch_size, mean, std):
    """Adds batches ``start`` to ``stop`` of a split to the sums of both paths; the LSG path is given true labels.

    Arguments are those of ``train_segment``, but for ``totals``, a dictionary of ``metrics.sums`` for each of std and
    lsg, and of that form is what it returns. The last batch may be smaller; what fills it up does not count.
    """
    count = len(split.labels)

    def measure(state, images, labels, weights):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        features = state.model.apply(variables, images, method="features")
        measured = {}
        for name, a in (("std", features), ("lsg", features * gates.rows(state.gate, labels))):
            logits = state.model.apply(variables, a, method="classify")
            measured[name] = metrics.sums(logits, labels, weights)
        return lax.psum(measured, parallel.AXIS)

    measure = parallel.shard_map(measure, mesh, inputs=(parallel.REPLICATED, *3 * [parallel.SPLIT]))

    def evaluate(state, totals):
        def step(index, totals):
            positions = index * batch_size + jnp.arange(batch_size)
            weights, positions = (positions < count).astype(jnp.float32), jnp.minimum(positions, count - 1)
            images = normalize(split.images[positions], mean, std)
            measured = measure(state, *parallel.constrain_batch((images, split.labels[positions], weights), mesh))
            return jax.tree.map(jnp.add, totals, measured)

        return lax.fori_loop(start, stop, step, totals)

    return (parallel.map_seeds(evaluate, mesh) if stacked else evaluate)(state, totals)
