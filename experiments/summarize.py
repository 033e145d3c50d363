"""Gathers finished runs into results/NAME.json and a table in the README, with means and standard deviations."""

import json
import platform
import re
import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments import cli
from lsg_jax import load_run

MEASURES = {
    "test_accuracy": "accuracy, STD path",
    "lsg_test_accuracy": "accuracy, LSG path (true labels)",
    "test_cross_entropy": "cross entropy, STD path (nats)",
    "density": "gate density",
    "images_per_second": "training images/s",
}
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True)
class Options:
    """Which runs to gather."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The run folders."""
    name: str = "digits"
    """The table's name: results/NAME.json is written, and the README's part between its marks."""


def gather(runs: tuple[Path, ...]) -> dict[str, Any]:
    """Returns each run's last metric line and command, and the mean and standard deviation (n - 1) per gate."""
    described: list[dict[str, Any]] = []
    for path in runs:
        run = load_run(path)
        if len(run.history) != run.config.optimizer.epochs:
            raise ValueError(f"{path} has {len(run.history)} of {run.config.optimizer.epochs} epochs; finish it first")
        speed = float(np.median([line["images_per_second"] for line in run.history]))
        last = run.history[-1] | {"images_per_second": speed}
        described.append({"gate": run.config.gate, "settings": run.config.settings(), "last": last})
    described.sort(key=lambda each: (each["gate"], each["settings"]["seed"]))
    groups: dict[str, Any] = {}
    for gate in ("none", "learned", "fixed"):
        chosen = [each["last"] for each in described if each["gate"] == gate]
        if chosen:
            columns = {measure: [line[measure] for line in chosen] for measure in MEASURES}
            groups[gate] = {"runs": len(chosen), "epochs": chosen[0]["epoch"] + 1} | {
                measure: {
                    "mean": float(np.mean(values)),
                    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                }
                for measure, values in columns.items()
            }
    return {"groups": groups, "runs": described}


def table(summary: dict[str, Any]) -> str:
    """Returns the Markdown table of a summary."""
    lines = ["| gate | runs | epochs | " + " | ".join(MEASURES.values()) + " |", "| --- " * (3 + len(MEASURES)) + "|"]
    for gate, group in summary["groups"].items():
        cells = []
        for measure in MEASURES:
            digits = 0 if measure == "images_per_second" else 4
            cell = f"{group[measure]['mean']:.{digits}f}"
            if group[measure]["std"] is not None:
                cell += f" ± {group[measure]['std']:.{digits}f}"
            cells.append(cell)
        lines.append(f"| {gate} | {group['runs']} | {group['epochs']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def insert(page: str, name: str, content: str) -> str:
    """Returns ``page`` with the part between the marks of ``name`` replaced by ``content``."""
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
    if not re.search(pattern, page, re.DOTALL):
        raise ValueError(f"README.md has no part marked <!-- {name} --> ... <!-- /{name} -->")
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", page, flags=re.DOTALL)


def write(options: Options) -> None:
    """Writes results/NAME.json and the README's table."""
    if not options.runs:
        raise ValueError("name at least one run folder")
    readme = Path("README.md")
    summary = gather(options.runs)
    summary["command"] = "python -m experiments.summarize " + shlex.join(sys.argv[1:])
    summary["versions"] = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    summary["device"] = jax.devices()[0].device_kind
    page = insert(readme.read_text(), options.name, table(summary))
    file = Path("results") / f"{options.name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(summary, indent=1) + "\n")
    readme.write_text(page)
    print(f"{file} and README.md written")


if __name__ == "__main__":
    cli.main(lambda: write(cli.parse(Options, __doc__ or "")))
