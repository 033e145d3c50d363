"""Figure 4 for any run: its confusion matrices once the filters of one or two classes are removed."""

from functools import partial
from typing import Any

import numpy as np

from experiments import claims, cli
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import plots
from lsg_jax.analysis import comparison, masking

MASKED = ((0,), (0, 5))
RECOGNISED = "share of their images still recognised"
LOST = "most recall lost by another"


def measure(networks: list[Network]) -> Claim:
    """Returns the confusion matrices of each network without the filters of class 0, and of classes 0 and 5."""
    names, pictures, titles = networks[0].run.class_names, {}, {}
    maskings: dict[str, masking.Masking] = {}
    numbers: dict[str, Any] = {}
    recognised: dict[str, list[np.ndarray]] = {}
    for network in networks:
        numbers[network.name], before = {}, network.logits.argmax(1)
        for classes in (each for each in MASKED if max(each) < len(names)):
            found = masking.mask_classes(
                network.features, network.labels, *network.linear, network.gate, classes, cli.THRESHOLD
            )
            named = f"filters of {', '.join(names[each] for each in classes)}"
            title = f"without {named}"
            theirs = np.isin(network.labels, classes)
            left = found.predicted_after[theirs] == network.labels[theirs]
            recognised.setdefault(title, []).append(left)
            others = np.delete(np.arange(len(names)), classes)
            confidence = 1 - 0.05 / max(1, len(others))  # of each, so that all hold with 95 %
            ends = [
                comparison.paired_interval(before[own] == label, found.predicted_after[own] == label, confidence)
                for label in others
                if (own := network.labels == label).any()
            ]
            lost = {names[label]: float(found.recall_lost[label]) for label in classes}
            told = ", ".join(f"{name} {value:.2f}" for name, value in (lost | {"others": found.other_loss}).items())
            pictures[f"{network.name}, {title}"] = found.confusion_after
            removed = int(found.removed.sum())
            maskings[f"{network.name}, without the {removed} {named}"] = found
            titles[f"{network.name}, without the {removed} {named}\nrecall lost: {told}"] = found.confusion_after
            numbers[network.name][title] = {
                "filters removed": removed,
                **{f"recall lost by {name}": value for name, value in lost.items()},
                "recall lost by these classes": float(found.masked_loss),
                RECOGNISED: float(left.mean()) if left.size else np.nan,
                "recall lost by the others": float(found.other_loss),
                LOST: float(np.fmax.reduce(found.recall_lost[others], initial=np.nan)),
                f"{LOST}, from": max((each.low for each in ends), default=np.nan),
                f"{LOST}, to": max((each.high for each in ends), default=np.nan),
            }
    if len(networks) > 1:
        for title, left in recognised.items():
            numbers[networks[0].name][title][claims.less(RECOGNISED)] = claims.over_images(*left)
    return Claim(
        "masking",
        "Figure 4: filters of a class removed",
        f"Rows are true classes, columns predictions. The filters with G > {cli.THRESHOLD} for the classes named are "
        "set to 0 before the linear layer; a network trained without a gate is masked by the gate solved for Phi. The "
        "claim holds where a removed class's place on the diagonal empties (and with it the column of those taken for "
        "it) and the other rows stay, and where a plain network's place does not: compare the share of their images "
        "that is still recognised (beside it the difference from the other network's on the same images, with its 95 % "
        "interval, which takes both choices of filters as given), and the filters removed for it. The most that "
        "another class loses has the largest lower and the largest upper end of these classes' intervals beside it, "
        "which hold together with 95 %.",
        numbers,
        {
            "masking": Picture(
                partial(plots.confusion_matrices, titles, names),
                "Shares of each true class in percent. Look at the diagonal: the places of the removed classes should "
                "be empty, and the others as they were. What belongs to a removed class is told as another then.",
                pictures,
            ),
            "masked_recall": Picture(
                partial(plots.masked_recall, maskings, names),
                "How many images of each class are recognised with all filters and without those. The removed classes "
                "should be lost, and the others stay.",
                {
                    f"{title}, {when}": confusion.diagonal()
                    for title, found in maskings.items()
                    for when, confusion in (("before", found.confusion_before), ("after", found.confusion_after))
                },
            ),
        },
    )


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
