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
        matrix = network.correlation
        matrices[network.name] = matrix, correlation.class_order(network.gate)
        curves[network.name] = correlation.ratio_above(matrix, THRESHOLDS)
        shares = correlation.ratio_above(matrix, np.array(STATED))
        numbers[network.name] = inter_class(network) | {
            f"share above {threshold}": float(share) for threshold, share in zip(STATED, shares, strict=True)
        }
    return Claim(
        "correlation",
        "Figure 7 and Table 2: correlation of filters",
        "Inner products of the unit-norm weights of the last convolution's filters, ordered by the class that holds "
        "them (of a network without a gate: by the gate solved for Phi), and the share of the matrix, diagonal "
        "included, above a threshold. C_IC averages it over pairs of filters among the m most activated by two "
        "different classes. Correlations of both signs cancel in it, so that it may be near 0 in any network; the mean "
        "of absolute ones does not. The claim: blocks along the diagonal, a lower curve and half the plain network's "
        "C_IC.",
        numbers | {"the paper's C_IC": paper.C_IC},
        {
            "correlation": plots.correlation_matrices(matrices, networks[0].run.class_names),
            "correlation_curves": plots.correlation_curves(THRESHOLDS, curves),
        },
    )


def inter_class(network: Network) -> dict[str, float]:
    """Returns C_IC, that of absolute correlations, and m: the paper's, but at most as many as a class can have."""
    filters = paper.FILTERS_PER_CLASS.get(network.run.config.model, 6)
    filters = max(1, min(filters, len(network.correlation) // len(network.run.class_names)))

    def over(matrix: np.ndarray) -> float:
        return metrics.inter_class_correlation(matrix, network.features, network.labels, filters)

    return {
        "C_IC": over(network.correlation),
        "C_IC of absolute correlations": over(np.abs(network.correlation)),
        "filters a class (m)": filters,
    }


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
