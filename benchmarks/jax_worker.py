"""This project's side, through its own programs. Run by ``benchmarks.turns``: one task, once for every line read."""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.worker import serve
from lsg_jax import gates, losses, models
from lsg_jax.data import Split
from lsg_jax.training import parallel, segments
from lsg_jax.training import state as states

MESH = parallel.mesh()
EVALUATION_BATCH = 500


def new_state(model, precision):
    network = models.create(model, 10, parallel.AXIS, precision)
    state = states.create(
        jax.random.key(0),
        network,
        (32, 32, 3),
        gates.init(10, network.num_filters),
        states.theta_optimizer(0.01, 0.9, 1e-4),
        states.learned_gate_optimizer(0.1),
        losses.Weights(1.0, 0.1, float(network.num_filters)),
    )
    return parallel.replicate(state, MESH)


class Epochs:
    """Training segments as ``fit`` runs them: shuffled, augmented and normalised on the device."""

    def __init__(self, model, path, batch, images, labels, statistics, precision="float32"):
        self.state, self.total = new_state(model, precision), parallel.replicate(jnp.zeros(()), MESH)
        self.split = segments.on_devices(Split(images, labels), MESH)
        self.steps = len(labels) // batch
        constants = {"mesh": MESH, "stacked": False, "batch_size": batch, "padding": 4, "flip": True} | statistics
        self.run = partial(segments.train_segment, path=path, **constants)

    def __call__(self, segment):
        for start in range(0, self.steps, segment):
            stop = min(start + segment, self.steps)
            self.state, self.total = self.run(self.state, self.total, self.split, 0, 0, start, stop)
            jax.block_until_ready(self.total)


def steps(model, path, batch=256, count=10):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (batch * count, 32, 32, 3), np.uint8), rng.integers(0, 10, batch * count)
    train = Epochs(model, path, batch, images, labels.astype(np.int32), {"mean": (0.5,) * 3, "std": (0.25,) * 3})
    return lambda: train(segment=12)


def evaluation(file, state=None):
    data = np.load(file)
    split = segments.on_devices(Split(data["test_images"], data["test_labels"]), MESH)
    constants = {"mesh": MESH, "stacked": False, "batch_size": EVALUATION_BATCH} | _statistics(data)
    state = state or new_state("resnet20", "float32")
    zero = parallel.replicate({"correct": jnp.zeros(()), "cross_entropy": jnp.zeros(())}, MESH)
    batches = -(-len(split.labels) // EVALUATION_BATCH)

    def run(state=state):
        totals = {"std": zero, "lsg": zero}
        jax.block_until_ready(segments.evaluate_segment(state, totals, split, 0, batches, **constants))

    return run


def epoch(file, model="resnet20", path="std", precision="float32", batch=256, segment=12):
    data = np.load(file)
    train = Epochs(model, path, batch, data["train_images"], data["train_labels"], _statistics(data), precision)
    evaluate = evaluation(file, train.state)

    def run():
        train(segment)
        evaluate(train.state)

    return run


def product(size, count):
    matrix, multiply = jnp.ones((size, size)), jax.jit(jnp.matmul)

    def run():
        for _ in range(count):
            jax.block_until_ready(multiply(matrix, matrix))

    return run


def _statistics(data):
    return {name: tuple(data[name].tolist()) for name in ("mean", "std")}


TASKS = {"steps": steps, "evaluation": evaluation, "epoch": epoch, "product": product}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    serve(TASKS, order, f"jax {jax.__version__}")
