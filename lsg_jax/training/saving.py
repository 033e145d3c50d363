"""Checkpoints of runs that are trained together: one state, with the runs as first axis, and a folder a run."""

import dataclasses
import sys
from typing import Any

import jax
import numpy as np

from lsg_jax.checkpoint import Damaged, Incomplete
from lsg_jax.training import parallel
from lsg_jax.training.folder import RunFolder
from lsg_jax.training.state import TrainState, step_of

_CUT_SHORT, _DAMAGED = 1, 2


def save(
    folders: list[RunFolder], state: TrainState, total_loss: jax.Array, *, measured: bool, seconds: float = 0.0
) -> None:
    """Saves a checkpoint a run; ``measured`` tells whether the last lines of the histories are about this state."""
    for folder, items in zip(folders, _unstack(_items(state, total_loss), len(folders)), strict=True):
        folder.save(step_of(state), **items, measured=measured, seconds=seconds)


def resume(folders: list[RunFolder], state: TrainState, total_loss: np.ndarray) -> tuple[TrainState, np.ndarray]:
    """Returns state and loss of the newest step that all folders have undamaged, or the initial ones, on the host."""
    initial = _unstack(_items(state, total_loss), len(folders))
    step, restored, damaged = _newest_common(folders, initial)
    if step is None:
        _refuse_or_start_anew(folders, damaged)
        restored = initial
    elif old := [folder.path for folder in folders if not folder.verifies(step)]:
        _warn(f"{old[0]}, {step} is of a version that saved no digests, so that damage would go unnoticed")
    for folder, theirs in zip(folders, damaged, strict=True):
        folder.go_back(step, list(theirs))
    items = _stack(restored)
    training = dict(items["training"])
    total_loss = training.pop("total_loss")
    return dataclasses.replace(state, **items["variables"], **training), total_loss


def _newest_common(
    folders: list[RunFolder], templates: list[dict[str, Any]]
) -> tuple[int | None, list[Any], list[dict[int, int]]]:
    """Looks for the newest step that all folders have undamaged, in every process; warns of what is damaged.

    Returns the step and each folder's items, None and none where there is no such step, and the severity of what was
    damaged in each folder, by step.
    """
    steps = sorted(set.intersection(*(set(folder.steps) for folder in folders)), reverse=True)
    damaged: list[dict[int, int]] = [{} for _ in folders]
    for step in steps:
        restored = [_restore(*each, step) for each in zip(folders, templates, strict=True)]
        severity = parallel.max_over_processes(np.array(list(map(_severity, restored))))
        if not severity.any():
            return step, restored, damaged
        for folder, found, severe, theirs in zip(folders, restored, severity, damaged, strict=True):
            if severe:
                theirs[step] = int(severe)
                said = found if isinstance(found, Damaged) else f"another process cannot read {folder.path}, {step}"
                _warn(f"{said}{'' if step == steps[-1] else '; trying the one before it'}")
    return None, [], damaged


def _refuse_or_start_anew(folders: list[RunFolder], damaged: list[dict[int, int]]) -> None:
    """Raises ValueError where starting anew would throw training away; warns where a first checkpoint is lost by it.

    ``damaged`` is what ``_newest_common`` returned: every step that all folders have is in it.
    """
    tried = set[int]().union(*damaged)
    severities = {severe for theirs in damaged for severe in theirs.values()}
    if _DAMAGED in severities or len(tried) > 1:  # a process that is killed leaves but one that is cut short
        path = next(folder.path for folder, theirs in zip(folders, damaged, strict=True) if theirs)
        raise ValueError(f"{path} holds no checkpoint that can be read; choose another --output")
    steps = set[int]().union(*(folder.steps for folder in folders))
    ahead = [folder.path for folder in folders if set(folder.steps) - tried]
    if len(steps) > 1:  # nor did all folders get their first
        raise ValueError(
            f"{ahead[0]} has checkpoints of steps that another seed's folder has not; put that one's back, or "
            "choose another --output"
        )
    if ahead:
        _warn(f"{ahead[0]} has the first checkpoint, and another seed's folder has not; starting anew")
    elif tried:
        _warn("there is none before it; starting anew")


def _warn(said: str) -> None:
    if parallel.is_first():
        print(f"warning: {said}", file=sys.stderr, flush=True)


def _restore(folder: RunFolder, template: dict[str, Any], step: int) -> dict[str, Any] | Damaged:
    try:
        return folder.restore(step, **template)
    except Damaged as error:
        return error


def _severity(found: dict[str, Any] | Damaged) -> int:
    """Returns 0 for a checkpoint that is as it was saved, else ``_CUT_SHORT`` or ``_DAMAGED``."""
    if isinstance(found, Incomplete):
        return _CUT_SHORT
    return _DAMAGED if isinstance(found, Damaged) else 0


def _items(state: TrainState, total_loss: jax.Array | np.ndarray) -> dict[str, Any]:
    variables = {"params": state.params, "batch_stats": state.batch_stats, "gate": state.gate}
    training = {
        "step": state.step,
        "optimizer_state": state.optimizer_state,
        "gate_optimizer_state": state.gate_optimizer_state,
        "total_loss": total_loss,
    }
    return {"variables": variables, "training": training}


def _stack(trees: list[Any]) -> Any:
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    """Returns a tree of NumPy arrays a run: Orbax saves those in half the time that it takes for JAX's."""
    tree = jax.device_get(tree)
    return [tree] if count == 1 else [jax.tree.map(lambda leaf, i=i: leaf[i, ...], tree) for i in range(count)]
