"""Copies a finished run to a small folder that ``lsg_jax.load_run`` opens: no optimizer states, one checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import cli
from lsg_jax import load_run, save_run


@dataclass(frozen=True)
class Options:
    """Which run to copy, and where."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    output: tyro.conf.Positional[Path]
    """The folder to make."""


def publish(options: Options) -> None:
    """Writes the folder. An unfinished run is refused."""
    cli.check_writable(options.output.parent)
    run = load_run(options.run)
    if not run.imported:
        cli.check_finished(options.run, run)
    save_run(run, options.output)
    print(options.output)


if __name__ == "__main__":
    cli.main(lambda: publish(cli.parse(Options, __doc__ or "")))
