"""Figure 7 and Table 2 for any run: how its filters correlate, and those of different classes among them (C_IC)."""

from typing import Any

import numpy as np

from experiments import claims, paper
from experiments.claims import Claim, Network
from lsg_jax import metrics, plots
from lsg_jax.analysis import correlation

THRESHOLDS = np.linspace(-0.2, 1, 61)
STATED = (0.1, 0.3, 0.5)  # thresholds whose ratio is stated beside the curve


def measure(networks: list[Network]) -> Claim:
    """Returns the correlation of each network's last filters."""
    matrices, curves = {}, {}
    numbers: dict[str, Any] = {}
    for network in networks:
        matrix = metrics.filter_correlation(np.asarray(network.run.last_kernel))
        order = correlation.class_order(network.gate)
        matrices[network.name] = matrix, order
        curves[network.name] = correlation.ratio_above(matrix, THRESHOLDS)
        value, filters = inter_class(network)
        numbers[network.name] = {
            "C_IC": value,
            "filters a class (m)": filters,
        } | {
            f"share above {threshold}": float(value)
            for threshold, value in zip(STATED, correlation.ratio_above(matrix, np.array(STATED)), strict=True)
        }
    if len(networks) == 2:
        first, second = (numbers[network.name]["C_IC"] for network in networks)
        numbers["C_IC, first over second"] = {"ratio": first / second}
    return Claim(
        "correlation",
        "Figure 7 and Table 2: correlation of filters",
        "Inner products of the unit-norm weights of the last convolution's filters, ordered by the class that holds "
        "them (of a network without a gate: by the gate solved for Phi), and the share of the matrix, diagonal "
        "included, above a threshold. C_IC averages it over pairs of filters among the m most activated by two "
        "different classes. The claim: blocks along the diagonal, a lower curve and half the plain network's C_IC.",
        numbers | {"the paper's C_IC": paper.C_IC},
        {
            "correlation": plots.correlation_matrices(matrices, networks[0].run.class_names),
            "correlation_curves": plots.correlation_curves(THRESHOLDS, curves),
        },
    )


def inter_class(network: Network) -> tuple[float, int]:
    """Returns C_IC and its m: the paper's for the model, but no more than there are filters for a class."""
    matrix = metrics.filter_correlation(np.asarray(network.run.last_kernel))
    filters = paper.FILTERS_PER_CLASS.get(network.run.config.model, 6)
    filters = max(1, min(filters, len(matrix) // len(network.run.class_names)))
    return float(metrics.inter_class_correlation(matrix, network.features, network.labels, filters)), filters


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
