"""Figure 3 for any run: its gate as a picture, beside another run's on the same colour scale."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments import cli
from experiments.claims import Claim, Network
from lsg_jax import Run, gates, load_run, plots


@dataclass(frozen=True)
class Options:
    """Which runs to show."""

    run: Path
    """The run folder whose gate is shown."""
    against: Path | None = None
    """A second run folder, shown below the first."""
    output: Path | None = None
    """The PNG to write (default: figures/gates.png in the run folder)."""


def picture(runs: list[tuple[str, Run]]) -> Figure:
    """Returns the named runs' gates, one below the other."""
    titles = {
        f"{i + 1}. {name}: density {float(gates.density(run.gate)):.3f}": np.asarray(run.gate)
        for i, (name, run) in enumerate(runs)
    }
    return plots.gate_matrices(titles, runs[0][1].class_names)


def measure(networks: list[Network]) -> Claim:
    """Returns the gates of the networks and how many filters each class holds alone."""
    numbers = {}
    for network in networks:
        owned = gates.ownership(network.run.gate, cli.THRESHOLD)
        monopolised = zip(network.run.class_names, owned.monopolised.tolist(), strict=True)
        numbers[network.name] = {
            "density": float(gates.density(network.run.gate)),
            "filters shared": int(owned.shared),
            **{f"filters of {name} alone": count for name, count in monopolised},
        }
    return Claim(
        "gates",
        "Figure 3: the gate",
        "Rows are classes, columns filters, the colour is G. With the sparsity term each filter is left to one or few "
        f"classes; trained without a gate, G is all-one. A class holds a filter where G >= {cli.THRESHOLD}.",
        numbers,
        {"gate": picture([(network.name, network.run) for network in networks])},
    )


def show(options: Options) -> None:
    """Writes the picture that the options describe."""
    runs = [(path.name, load_run(path)) for path in (options.run, options.against) if path is not None]
    if runs[0][1].class_names != runs[-1][1].class_names:
        raise ValueError(f"{options.run} and {options.against} were trained on different classes")
    file = options.output or options.run / "figures" / "gates.png"
    if file.is_dir() or file.suffix != ".png":
        raise ValueError(f"--output must be a file that ends in .png, got {file}")
    cli.save_figure(picture(runs), file)
    print(file)


if __name__ == "__main__":
    cli.main(lambda: show(cli.parse(Options, __doc__ or "")))
