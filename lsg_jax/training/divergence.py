"""What stops a training whose numbers are not finite any more, and tells where that began."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsg_jax.training.state import TrainState


class Diverged(Exception):
    """The loss, theta, batch statistics, G, a momentum or a measure is not finite; nothing of that was saved."""


def not_finite(state: TrainState, total_loss: jax.Array, runs: int) -> dict[str, np.ndarray]:
    """Returns the arrays that are not finite, the loss first, and of each in which runs, bool[runs]."""
    arrays = {
        "loss": total_loss,
        "params": state.params,
        "batch_stats": state.batch_stats,
        "gate": state.gate,
        "optimizer": state.optimizer_state,
    }
    finite = jax.device_get(_all_finite(arrays, runs))
    leaves = {name: jax.tree.leaves_with_path(tree) for name, tree in finite.items()}
    named = {name + jax.tree_util.keystr(path): fine for name in arrays for path, fine in leaves[name]}
    return {name: ~fine for name, fine in named.items() if not fine.all()}


def first_not_finite(
    segment: Callable[..., Any], carry: Any, arguments: tuple[Any, ...], steps: range, runs: int
) -> tuple[range, dict[str, np.ndarray]]:
    """Takes the steps of a segment once more, one by one, as far as something is not finite.

    Args:
      segment: takes a state, the loss, ``arguments``, the first step and the one after the last.
      carry: state and loss before the segment; donated.
      arguments: what else it takes.
      steps: those of the segment.
      runs: how many are trained together.

    Returns:
      That step, and its ``not_finite``; all steps and nothing, where everything came out finite this time.
    """
    for step in steps:
        state, total_loss = carry = segment(*carry, *arguments, step, step + 1)
        if found := not_finite(state, total_loss, runs):
            return range(step, step + 1), found
    return steps, {}


@partial(jax.jit, static_argnames="runs")
def _all_finite(tree: Any, runs: int) -> Any:
    return jax.tree.map(lambda array: jnp.isfinite(array).reshape(runs, -1).all(axis=1), tree)


def remedy(arrays: list[str], gate: str) -> str:
    """Returns the options of which a smaller value may help: G's own where G alone is not finite."""
    of_gate = "--gate-learning-rate or --sparsity-weight"
    if gate != "learned":
        return "--learning-rate"
    return of_gate if arrays == ["gate"] else f"--learning-rate, {of_gate}"


def in_words(arrays: list[str]) -> str:
    """Returns "loss is", or where there are more "loss and 3 other arrays (gate, ...) are"."""
    first, *others = arrays
    return f"{first} and {len(others)} other arrays ({others[0]}, ...) are" if others else f"{first} is"
