"""Figure 3 for any run: its gate as a picture, beside another run's on the same colour scale."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import cli
from lsg_jax import gates, load_run, plots


@dataclass(frozen=True)
class Options:
    """Which runs to show."""

    run: Path
    """The run folder whose gate is shown."""
    against: Path | None = None
    """A second run folder, shown below the first."""
    output: Path | None = None
    """The PNG to write (default: figures/gates.png in the run folder)."""


def show(options: Options) -> None:
    """Writes the picture that the options describe."""
    runs = [(path, load_run(path)) for path in (options.run, options.against) if path is not None]
    titles = {
        f"{i + 1}. {path.name}: density {float(gates.density(run.gate)):.3f}": np.asarray(run.gate)
        for i, (path, run) in enumerate(runs)
    }
    if runs[0][1].class_names != runs[-1][1].class_names:
        raise ValueError(f"{options.run} and {options.against} were trained on different classes")
    file = options.output or options.run / "figures" / "gates.png"
    if file.is_dir() or file.suffix != ".png":
        raise ValueError(f"--output must be a file that ends in .png, got {file}")
    cli.save_figure(plots.gate_matrices(titles, runs[0][1].class_names), file)
    print(file)


if __name__ == "__main__":
    cli.main(lambda: show(cli.parse(Options, __doc__ or "")))
