"""What makes one network the control of another: it was trained alike in all but the gate."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsg_jax import Run
from lsg_jax.config import GateConfig
from lsg_jax.pretrained import SUFFIXES

ARM = ("gate", "scheme", *(field.name.replace("_", "-") for field in dataclasses.fields(GateConfig)))


def settings(run: Run) -> dict[str, Any]:
    """Returns how a run was trained: its settings, the name of what it started from, and for how many epochs it was.

    Of an imported network, of whose training nothing is known, it is the model alone.
    """
    if run.imported:
        return {"model": run.config.model, "gate": "none", "epochs trained": "unknown"}
    start = run.config.init
    named = {"init": start and _name(start), "epochs trained": len(run.history)}
    return run.config.settings() | named


def _name(start: Path) -> str:
    """Returns the name of a network, which a PyTorch file and the run folder made of it share."""
    return start.stem if start.suffix in SUFFIXES else start.name


def differences(trained: Sequence[Mapping[str, Any]], apart: Collection[str] = ()) -> dict[str, str]:
    """Returns the settings in which networks differ beside those of the gate and ``apart``, each with its values.

    A tightened gate was learned before, so that its network starts from another than the control, which must start from
    one too.
    """
    found = {}
    for name in trained[0]:
        if name in (*ARM, *apart) or not all(name in each for each in trained):
            continue
        comparable = trained
        if name == "init" and any(each["init"] for each in trained if each["gate"] != "tightened"):
            comparable = [each for each in trained if each["gate"] != "tightened"]
        if len(values := dict.fromkeys(each[name] for each in comparable)) > 1:
            found[name] = ", ".join(map(str, values))
    return found


def told(differing: Mapping[str, str]) -> str:
    """Returns in words what ``differences`` found."""
    return "; ".join(f"{name} ({values})" for name, values in differing.items())
