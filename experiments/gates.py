"""Figure 3 for any run: its gate as a picture, beside another run's on the same colour scale."""

from functools import partial

import numpy as np

from experiments import claims, cli
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import gates, plots


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
    titled = {
        f"{name}: density {numbers[name]['density']:.3f}": np.asarray(network.run.gate)
        for name, network in zip(numbers, networks, strict=True)
    }
    return Claim(
        "gates",
        "Figure 3: the gate",
        "The gate that each network was trained with; without one it is all-one. A class holds a filter where "
        f"G >= {cli.THRESHOLD}.",
        numbers,
        {
            "gates": Picture(
                partial(plots.gate_matrices, titled, networks[0].run.class_names),
                "Rows are classes, columns filters, one colour scale. With the sparsity term each filter is left to "
                "one class or a few.",
                titled,
            )
        },
    )


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
