"""``python -m benchmarks.commands --before REVISION``: how long whole commands take, from start to end.

What is committed, HEAD, is measured; the digits command is compared with that of the git revision ``REVISION``. Writes
``results/benchmarks/commands.json`` and the table in a page.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import results, turns
from experiments import cli, markdown
from lsg_jax.config import Unset

HEADS = ("what", "seconds", "other's seconds", "of the other's")
# Ends the process when the first step of training is about to run, all of it compiled.
UNTIL_FIRST_STEP = """
import os, sys
from experiments import cifar10, cli
from lsg_jax.training import loop

original = loop.train_segment

def stop_at_first_step(*arguments, **constants):
    if arguments[-1] > arguments[-2]:
        os._exit(0)
    return original(*arguments, **constants)

loop.train_segment = stop_at_first_step
cli.main(lambda: cli.train(cifar10.DEFAULT, ""))
"""


@dataclass(frozen=True, kw_only=True)
class Options(turns.Options):
    """Measures how long whole commands take."""

    before: str
    """The revision to compare with."""
    data_dir: Unset[Path] = None
    """The TFDS data directory that holds CIFAR-10."""


class Stage:
    """A temporary folder with a copy of the project at some revisions, and a cache of its own."""

    def __init__(self, folder: Path, **revisions: str):
        self.folder, self.count = folder, 0
        for name, revision in revisions.items():
            (folder / name).mkdir()
            archive = subprocess.run(["git", "archive", "--end-of-options", revision], capture_output=True)
            if archive.returncode:
                raise ValueError(f"git knows no revision {revision!r}; give one of `git log`")
            subprocess.run(["tar", "-x", "-C", str(folder / name)], input=archive.stdout, check=True)

    def seconds(self, *arguments: str, project: str = "now", cache_name: str = "cache") -> float:
        """Returns how long Python takes with ``arguments`` and a new --output."""
        self.count += 1
        output = f"--output={self.folder / 'runs' / f'run{self.count}'}"
        environment = os.environ | {"XDG_CACHE_HOME": str(self.folder / cache_name)}
        began = time.perf_counter()
        command = [sys.executable, *arguments, output]
        done = subprocess.run(command, cwd=self.folder / project, env=environment, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise ValueError(f"{' '.join(arguments)} failed in {project}: {lines[-1]}")
        return time.perf_counter() - began


def measure(options: Options) -> dict[str, list[float]]:
    """Returns the seconds of every turn."""
    digits, data = ("-m", "experiments.digits"), () if options.data_dir is None else (f"--data-dir={options.data_dir}",)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), before=options.before, now="HEAD")
        tasks: dict[str, Callable[[], float]] = {
            "digits": partial(stage.seconds, *digits),
            "digits before": partial(stage.seconds, *digits, project="before", cache_name="before-cache"),
            "start": partial(stage.seconds, "-c", UNTIL_FIRST_STEP, *data),
        }
        return turns.in_turn(tasks, options.pairs)


def row(title: str, ours: list[float], theirs: list[float]) -> tuple[str, ...]:
    """Returns a row of the table: medians and that of the turns' ratios."""
    return (title, f"{median(ours):.1f}", f"{median(theirs):.1f}", f"{median(turns.ratios(ours, theirs)):.2f}")


def table(measured: dict[str, Any]) -> str:
    """Returns the Markdown table of what the command measured."""
    seconds = measured["seconds"]
    title = f"`experiments.digits`, against itself at revision {measured['before']}"
    start = "a later start of `experiments.cifar10`, until its first step runs"
    rows = [
        row(title, seconds["digits"], seconds["digits before"]),
        (start, f"{median(seconds['start']):.1f}", "", ""),
    ]
    return markdown.table(HEADS, rows)


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    markdown.page_of("commands")
    measured = {
        "command": f"python -m benchmarks.commands --before={options.before} --pairs={options.pairs}",
        "before": options.before,
        "seconds": measure(options),
    }
    results.write("commands", results.origin() | measured, table(measured))


if __name__ == "__main__":
    cli.main(main)
