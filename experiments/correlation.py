"""Figure 7 and Table 2 for any run: how its filters correlate, and those of different classes among them (C_IC)."""

import math
from functools import partial
from typing import Any

import numpy as np

from experiments import claims, paper
from experiments.claims import Claim, Picture
from experiments.network import Network
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
        numbers[network.name] = inter_class(network)
        pairs = correlation.pairs(network.gate)
        for name, elements in (
            ("share above", matrix),
            ("share of pairs above", matrix[~np.eye(len(matrix), dtype=bool)]),
            ("share of pairs of different classes above", matrix[pairs.of_different_classes]),
            ("share of pairs of one class above", matrix[pairs.of_one_class]),
        ):
            shares = correlation.ratio_above(elements, np.array(STATED)) if elements.size else len(STATED) * [math.nan]
            numbers[network.name] |= {
                f"{name} {each}": float(share) for each, share in zip(STATED, shares, strict=True)
            }
    return Claim(
        "correlation",
        "Figure 7 and Table 2: correlation of filters",
        "Inner products of the unit-norm weights of the last convolution's filters, ordered by the class that holds "
        "them (of a network without a gate: by the gate solved for Phi), and the share of the matrix above a "
        "threshold, as in the paper with the diagonal, whose entries are 1, and that of pairs, without it: of all, of "
        "those whose filters two classes hold, and of those that one class holds. C_IC "
        "averages it over pairs of filters among the m most activated by two different classes. Correlations of both "
        "signs cancel in it, so that it may be near 0 in any network; the mean of absolute ones does not. A filter "
        "that is among those of two classes counts with its correlation with itself, 1, but not in C_IC of different "
        "filters. The claim: blocks along the diagonal, a lower curve and half the plain network's C_IC.",
        numbers | {"the paper's C_IC, CIFAR-10": paper.C_IC},
        {
            "correlation": Picture(
                partial(plots.correlation_matrices, matrices, networks[0].run.class_names),
                "Filters in the order of the classes, whose blocks are framed in black; those of no single class come "
                "last, as shared. Red is a correlation above 0, blue one below, on the same scale in every such "
                "picture. Look for blocks along the diagonal that are redder than the rest.",
                {
                    name: {"filters": order.filters, "correlation": matrix[np.ix_(order.filters, order.filters)]}
                    for name, (matrix, order) in matrices.items()
                },
            ),
            "correlation_curves": Picture(
                partial(plots.correlation_curves, THRESHOLDS, curves),
                "The share of the matrix above each threshold (Figure 7 e). The lower, the fewer filters are alike.",
                {"thresholds": THRESHOLDS, **curves},
            ),
        },
    )


def inter_class(network: Network) -> dict[str, float]:
    """Returns C_IC, its two variants, and m: the paper's, but at most as many as a class can have."""
    filters = paper.FILTERS_PER_CLASS.get(network.run.config.model, 6)
    filters = max(1, min(filters, len(network.correlation) // len(network.run.class_names)))

    def over(matrix: np.ndarray) -> float:
        return metrics.inter_class_correlation(matrix, network.features, network.labels, filters)

    return {
        "C_IC": over(network.correlation),
        "C_IC of different filters": over(np.where(np.eye(len(network.correlation)), 0, network.correlation)),
        "C_IC of absolute correlations": over(np.abs(network.correlation)),
        "filters a class (m)": filters,
    }


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
