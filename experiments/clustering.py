"""Figure 9 for any run: k-means of its pooled features, above its gate."""

from functools import partial
from typing import Any

from experiments import claims
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import plots
from lsg_jax.analysis import clustering
from lsg_jax.analysis.clustering import Clusters


def measure(networks: list[Network]) -> Claim:
    """Returns the clusters of each network's features."""
    centers: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for network in networks:
        found = clustering.cluster(network.features, network.labels, network.gate)
        directions = clustering.cluster(clustering.unit_rows(network.features), network.labels, network.gate)
        centers[network.name] = found.centers, network.gate
        numbers[network.name] = _described(found) | {"features of unit length": _described(directions)}
    return Claim(
        "clustering",
        "Figure 9: cluster centres",
        "k-means of the pooled features of the test set, as many clusters as classes, each matched to a class by the "
        "Hungarian method. Rows are classes, columns filters. The claim: the centres look like the gate. The adjusted "
        "Rand index tells how well the clusters agree with the labels. k-means goes by distance, so that where some "
        "images activate the filters much more than others it tells apart how much, and not which: hence the same for "
        "features divided by their length.",
        numbers,
        {
            "clustering": Picture(
                partial(plots.cluster_centers, centers, networks[0].run.class_names),
                "Each on its own colour scale; a network trained without a gate is shown with the gate solved for Phi. "
                "Look for centres that are bright where the gate below them is.",
                {name: {"cluster centres": found, "gate": gate} for name, (found, gate) in centers.items()},
            )
        },
    )


def _described(found: Clusters) -> dict[str, float]:
    return {
        "cosine to the class's gate row": found.own_similarity,
        "cosine to other classes' rows": found.other_similarity,
        "adjusted Rand index": found.adjusted_rand_index,
    }


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
