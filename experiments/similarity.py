"""Figure 5 for any run: how features of true positives and of false negatives resemble the rows of its gate."""

from functools import partial
from typing import Any

from experiments import claims
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import plots
from lsg_jax.analysis import similarity

GAP = "share on the diagonal, true positives less false negatives"
AGREEMENT = "classes whose false negatives resemble most the class that they are most taken for"


def measure(networks: list[Network]) -> Claim:
    """Returns S_TP and S_FN of each network."""
    names, pictures = networks[0].run.class_names, {}
    numbers: dict[str, Any] = {}
    for network in networks:
        predicted = network.logits.argmax(1)
        found = similarity.similarities(network.features, network.labels, predicted, network.gate)
        numbers[network.name] = {}
        for title, each in (("true positives", found.true_positives), ("false negatives", found.false_negatives)):
            pictures[f"{network.name}, {title}"] = each
            numbers[network.name][title] = {
                "share on the diagonal": similarity.dominance(each).share,
                "classes largest on the diagonal": similarity.dominance(each).largest,
                "images": int(each.images.sum()),
            }
        own = numbers[network.name]
        own[GAP] = similarity.dominance_gap(found)
        pairs = similarity.confused_pairs(network.labels, predicted, len(names))
        own[AGREEMENT] = similarity.confusion_agreement(found.false_negatives, network.labels, predicted)
        own["confused most"] = [
            f"{names[first]} and {names[second]} ({count})"
            for (first, second), count in zip(pairs.classes[:5], pairs.images, strict=False)
        ]
    return Claim(
        "similarity",
        "Figure 5: similarity of features and gate rows",
        "Mean inner product of the pooled features of a class's images (rows) and the gate's rows (columns), over the "
        "images that are classified correctly and over those that are not. A network trained without a gate is "
        "compared with the gate solved for Phi. The claim: the first is diagonally dominant, the second is not, and "
        "classes that share features are close there: beside it the share of classes whose false negatives, of all "
        "gate rows but their own, resemble most that of the class that most of them are taken for (a guess is right "
        "for one in C - 1). Classes without such an image are grey, and where the shares on the diagonal of both are "
        "compared, those count that have images of both kinds.",
        numbers,
        {
            "similarity": Picture(
                partial(plots.similarity_matrices, pictures, names),
                "Each row's share in each gate row, in percent. Look for a diagonal among the true positives that is "
                "brighter than all else, and for bright places off it among the false negatives: classes that share "
                "features.",
                {title: each.matrix for title, each in pictures.items()},
            )
        },
    )


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
