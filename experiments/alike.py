"""What makes one network the control of another: it was trained alike in all but the gate."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lsg_jax import Run
from lsg_jax.config import GateConfig

ARM = ("gate", "scheme", *(field.name.replace("_", "-") for field in dataclasses.fields(GateConfig)))


def settings(run: Run) -> dict[str, Any]:
    """Returns how a run was trained: its settings, and for how many epochs it was."""
    return run.config.settings() | {"epochs trained": len(run.history)}


def differences(trained: Sequence[Mapping[str, Any]], apart: Collection[str] = ()) -> dict[str, str]:
    """Returns the settings in which networks differ beside those of the gate and ``apart``, each with its values.

    A tightened gate was learned before, so that its network starts from another than the control, which must start from
    one too.
    """
    found = {}
    for name in trained[0].keys() - {*ARM, *apart}:
        alike = trained
        if name == "init" and any(each["init"] for each in trained if each["gate"] != "tightened"):
            alike = [each for each in trained if each["gate"] != "tightened"]
        if len(values := dict.fromkeys(str(each[name]) for each in alike)) > 1:
            found[name] = ", ".join(values)
    return {name: found[name] for name in trained[0] if name in found}


def told(differing: Mapping[str, str]) -> str:
    """Returns in words what ``differences`` found."""
    return "; ".join(f"{name} ({values})" for name, values in differing.items())
