"""Beyond the paper, for any run: what is left of a class without its own filters, and with them alone."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import claims, cli, paper
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import gates, losses, metrics, plots
from lsg_jax.analysis import specificity

PARTS = ("all filters", "own filters only", "without own filters")
GATES = ("gate", "tightened gate", "gate solved for Phi")
# What the costs that keep pulling aim at: an accuracy that the plain network's exceeds by at most the first, the mutual
# information score at least so many times the plain network's, and an accuracy without own filters of at most the last.
MOST_LOST, LEAST_RATIO, MOST_LEFT = 0.005, 1.7, 0.05


def measure(networks: list[Network]) -> Claim:
    """Returns the later literature's measures of each network, and the same once its gate is tightened."""
    found = {network.name: numbers(network) for network in networks}
    if len(networks) > 1:
        found[networks[0].name] |= _aims(*found.values())
    bars = {f"{name}, {gate}": {part: found[name][gate][part] for part in PARTS} for name in found for gate in GATES}
    return Claim(
        "specificity",
        "Costs that keep pulling: what is left of a class without its own filters",
        f"A filter is a class's own where G >= {cli.THRESHOLD}; a network trained without a gate is given the one "
        "solved for Phi on these very images. That gate is shown for every network, as both are named their filters in "
        "the same way by it. Accuracy of the STD path with all filters, with only the own filters of "
        "each image's true class, and without them (ACC1, ACC2, ACC3 of PICNN). A class-specific network keeps the "
        "second high (the gate sees the label, so it nearly always is) and brings the third near 0, sooner if more "
        "filters are removed: compare their number. The silence cost is the share of all "
        "pooled activation that lies outside the images' own filters; the complement cost is the cross entropy, nats, "
        "between the uniform distribution and the prediction without the own filters, whose least, log C, says that "
        "they know nothing of the class. The mutual information score is the mean over filters of the largest mutual "
        "information with a class, nats. All of it is beyond the paper; its last lines are what this project's two "
        "costs aim at.",
        found | {"later papers, CIFAR-10": paper.LATER},
        {
            "specificity": Picture(
                partial(plots.grouped_bars, bars, "accuracy"),
                "Look for a high bar with the own filters alone, and none without them.",
                bars,
            )
        },
    )


def numbers(network: Network) -> dict[str, Any]:
    """Returns one network's column."""
    features, (kernel, bias) = jnp.asarray(network.features), network.linear
    rows = jnp.asarray(network.gate[network.labels])
    tight = gates.tighten(jnp.asarray(network.gate), cli.THRESHOLD)
    return {
        "mutual information score": metrics.mutual_information_score(network.features, network.labels),
        "silence cost": float(losses.silence(features, rows)),
        "complement cost": float(losses.complement((features * losses.others(rows)) @ kernel + bias)),
        **{
            name: _accuracies(network, np.asarray(gate))
            for name, gate in zip(GATES, (network.gate, tight, network.solved.gate), strict=True)
        },
    }


def _aims(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns what the costs that keep pulling are to reach, beside the other network's figures."""
    score, own = "mutual information score", GATES[0]
    return {
        f"aim: accuracy less the other's, at least {-MOST_LOST}": ours[own][PARTS[0]] - other[own][PARTS[0]],
        f"aim: mutual information score by the other's, at least {LEAST_RATIO}": ours[score] / (other[score] or np.nan),
        f"aim: accuracy without own filters, at most {MOST_LEFT}": ours[own][PARTS[2]],
    }


def _accuracies(network: Network, gate: np.ndarray) -> dict[str, float]:
    found = specificity.specificity(network.features, network.labels, *network.linear, gate, cli.THRESHOLD)
    own = np.asarray(gates.ownership(jnp.asarray(gate), cli.THRESHOLD).holds).sum(axis=1)
    return {
        "density": float(gates.density(jnp.asarray(gate))),
        "own filters of an image": float(own[network.labels].mean()),
        "fewest of a class": int(own.min()),
        "most of a class": int(own.max()),
        "all filters": float(found.all_filters),
        "own filters only": float(found.own_filters),
        "without own filters": float(found.other_filters),
    }


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
