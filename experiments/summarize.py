"""Gathers finished runs into results/NAME.json and a table in a page, with means and standard deviations."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments import cli, markdown
from lsg_jax import data, files, load_run
from lsg_jax.config import Config

MEASURES = {
    "test_accuracy": "accuracy, STD path",
    "lsg_test_accuracy": "accuracy, LSG path (true labels)",
    "test_cross_entropy": "cross entropy, STD path (nats)",
    "density": "gate density",
}


@dataclass(frozen=True)
class Options:
    """Which runs to gather."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The run folders."""
    name: str
    """The table's name: results/NAME.json is written, and the part between its marks in README.md or
    results/findings.md."""
    by: tuple[str, ...] = ("gate",)
    """The settings that tell the rows of the table apart; runs that agree in them are averaged."""


def gather(runs: tuple[Path, ...], by: tuple[str, ...]) -> dict[str, Any]:
    """Returns each run's command, environment and last line, and mean and standard deviation (n - 1) by group."""
    described: list[dict[str, Any]] = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    alike: dict[tuple[Any, ...], dict[str, Any]] = {}
    if len({path.resolve() for path in runs}) < len(runs):
        raise ValueError("a run is named twice")
    for path in runs:
        run = load_run(path)
        settings = run.config.settings()
        if unknown := set(by) - set(settings):
            raise ValueError(f"--by knows no setting {sorted(unknown)[0]!r}; choose among: {', '.join(settings)}")
        cli.check_finished(path, run)
        last = run.history[-1]
        described.append({"command": command(run.config), "environment": run.environment, "last": last})
        group = tuple(settings[name] for name in by)
        others = {name: value for name, value in settings.items() if name != "seed"}
        if others != alike.setdefault(group, others):
            different = next(name for name in others if others[name] != alike[group][name])
            raise ValueError(f"{path} differs from the others in --{different}; name that in --by or leave the run out")
        groups.setdefault(group, []).append(last)
    return {"groups": [_statistics(by, values, chosen) for values, chosen in groups.items()], "runs": described}


def command(config: Config) -> str:
    """Returns the command that trains a run of ``config``, every setting written out, but of --init the name alone.

    What was trained on other data than the commands' was so by no command.
    """
    if config.data.dataset not in data.DATASETS:
        return f"a program of its own, on {config.data.dataset} (lsg_jax.training.loop.fit)"
    settings = config.settings() | {"init": config.init and config.init.name}
    flags = [f"--{name}={value}" for name, value in settings.items() if value is not None and name != "dataset"]
    return shlex.join(["python", "-m", f"experiments.{settings['dataset']}", *flags])


def _statistics(by: tuple[str, ...], values: tuple[Any, ...], chosen: list[dict[str, Any]]) -> dict[str, Any]:
    group: dict[str, Any] = {"by": dict(zip(by, values, strict=True)), "runs": len(chosen)}
    group["epochs"] = chosen[0]["epoch"] + 1
    for measure in MEASURES:
        column = [line[measure] for line in chosen]
        spread = float(np.std(column, ddof=1)) if len(column) > 1 else None
        group[measure] = {"mean": float(np.mean(column)), "std": spread}
    return group


def table(summary: dict[str, Any]) -> str:
    """Returns the Markdown table of a summary."""
    described = dict.fromkeys((*summary["groups"][0]["by"], "runs", "epochs"))
    heads = [*described, *MEASURES.values()]
    rows = []
    for group in summary["groups"]:
        cells = [str((group | group["by"])[name]) for name in described]
        for measure in MEASURES:
            cell = f"{group[measure]['mean']:.4f}"
            if group[measure]["std"] is not None:
                cell += f" ± {group[measure]['std']:.4f}"
            cells.append(cell)
        rows.append(cells)
    return markdown.table(heads, rows)


def write(options: Options) -> None:
    """Writes results/NAME.json and the table."""
    if not options.runs:
        raise ValueError("name at least one run folder")
    summary = gather(options.runs, options.by)
    page = markdown.page_of(options.name)
    summary["command"] = "python -m experiments.summarize " + shlex.join(sys.argv[1:])
    file, content = Path("results") / f"{options.name}.json", json.dumps(summary, indent=1) + "\n"
    files.publish_text(file, content)
    markdown.fill({options.name: table(summary)})
    print(f"{file} and {page} written")


if __name__ == "__main__":
    cli.main(lambda: write(cli.parse(Options, __doc__ or "")))
