"""Accuracy and cross entropy on the test set: of the STD path, and of the LSG path, which is given true labels."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from lsg_jax.data import Dataset
from lsg_jax.training import parallel
from lsg_jax.training.progress import Segments
from lsg_jax.training.segments import DeviceSplit, evaluate_segment
from lsg_jax.training.state import TrainState

_BATCH = 500


def evaluate(state: TrainState, test: DeviceSplit, dataset: Dataset, mesh: Mesh) -> dict[str, np.ndarray]:
    """Returns the measures of both paths on the test split, each f64[], or f64[runs] of runs that are trained together.

    ``test_accuracy`` and ``test_cross_entropy``, nats an example, are those of the STD path, which sees no label;
    ``lsg_test_accuracy`` and ``lsg_test_cross_entropy`` those of the LSG path, gated by the true labels.
    """
    segment, totals, batch_size = _segment(state, test, dataset, mesh)
    with closing(Segments().of(0, -(-len(test.labels) // batch_size), "measuring", batch_size)) as parts:
        for start, stop in parts:
            totals = jax.block_until_ready(segment(state, totals, test, start, stop))
    return {
        f"{prefix}test_{name}": np.asarray(totals[path][key], np.float64) / len(test.labels)
        for path, prefix in (("std", ""), ("lsg", "lsg_"))
        for name, key in (("accuracy", "correct"), ("cross_entropy", "cross_entropy"))
    }


def compile_for(state: TrainState, test: DeviceSplit, dataset: Dataset, mesh: Mesh) -> None:
    """Compiles what ``evaluate`` needs, given the same."""
    segment, totals, _ = _segment(state, test, dataset, mesh)
    segment(state, totals, test, 0, 0)


def _segment(
    state: TrainState, test: DeviceSplit, dataset: Dataset, mesh: Mesh
) -> tuple[Callable[..., Any], dict[str, Any], int]:
    """Returns the program that adds to sums, the sums before the first batch, and the size of a batch."""
    stacked, zero = state.step.ndim > 0, np.zeros(state.step.shape, np.float32)
    totals: Any = {path: {"correct": zero, "cross_entropy": zero} for path in ("std", "lsg")}
    # Placed as what comes back: the program is compiled once.
    totals = (parallel.shard_seeds if stacked else parallel.replicate)(totals, mesh)
    devices = mesh.shape[parallel.AXIS]
    batch_size = -(-min(_BATCH, len(test.labels)) // devices) * devices
    segment = partial(
        evaluate_segment,
        mesh=mesh,
        stacked=stacked,
        batch_size=batch_size,
        mean=dataset.mean,
        std=dataset.std,
    )
    return segment, totals, batch_size
