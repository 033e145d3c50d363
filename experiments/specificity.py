"""Beyond the paper, for any run: accuracy with only the filters of each image's class, and without them."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import claims, cli
from experiments.claims import Claim, Network
from lsg_jax import gates, metrics
from lsg_jax.analysis import specificity


def measure(networks: list[Network]) -> Claim:
    """Returns the later literature's measures of each network, and the same once its gate is tightened."""
    return Claim(
        "specificity",
        "Beyond the paper: accuracy with and without a class's own filters",
        f"A filter is a class's own where G >= {cli.THRESHOLD}. Accuracy of the STD path with all filters, with only "
        "the own filters of each image's true class, and without them. A class-specific network keeps the second high "
        "(the gate sees the label, so it nearly always is) and brings the third near 0. The mutual information score "
        "is the mean over filters of the largest mutual information with a class, nats.",
        {network.name: numbers(network) for network in networks},
        {},
    )


def numbers(network: Network) -> dict[str, Any]:
    """Returns one network's column."""
    tight = np.asarray(gates.tighten(jnp.asarray(network.gate), cli.THRESHOLD))
    return {
        "mutual information score": metrics.mutual_information_score(network.features, network.labels),
        "gate": _accuracies(network, network.gate),
        "tightened gate": _accuracies(network, tight),
    }


def _accuracies(network: Network, gate: np.ndarray) -> dict[str, float]:
    found = specificity.specificity(network.features, network.labels, *network.linear, gate, cli.THRESHOLD)
    return {
        "density": float(gates.density(jnp.asarray(gate))),
        "all filters": float(found.all_filters),
        "own filters only": float(found.own_filters),
        "without own filters": float(found.other_filters),
    }


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
