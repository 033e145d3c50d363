"""Figure 4 for any run: its confusion matrices once the filters of one or two classes are removed."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from experiments import claims, cli
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import plots
from lsg_jax.analysis import comparison
from lsg_jax.analysis.masking import Masking, mask_classes

MASKED = ((0,), (0, 5))
RECOGNISED = "share of their images still recognised"
LOST = "most recall lost by another"
_GATES: dict[str, Callable[[Network], np.ndarray]] = {
    "": lambda network: network.gate,
    ", by the gate solved for Phi": lambda network: np.asarray(network.solved.gate),
}


def measure(networks: list[Network]) -> Claim:
    """Returns the confusion matrices of each network without the filters of class 0, and of classes 0 and 5."""
    names = networks[0].run.class_names
    maskings: dict[str, Masking] = {}
    told: dict[str, str] = {}
    numbers: dict[str, Any] = {network.name: {} for network in networks}
    recognised: dict[str, list[np.ndarray]] = {}
    masked = [each for each in MASKED if max(each) < len(names)]
    for network, (by, gate), classes in product(networks, _GATES.items(), masked):
        kernel, bias = network.linear
        found = mask_classes(network.features, network.labels, kernel, bias, gate(network), classes, cli.THRESHOLD)
        named = f"filters of {', '.join(names[each] for each in classes)}"
        left = (found.predicted_after == network.labels)[np.isin(network.labels, classes)]
        recognised.setdefault(f"without {named}{by}", []).append(left)
        numbers[network.name][f"without {named}{by}"] = _numbers(found, network.labels, classes, names, left)
        if not by:
            title = f"{network.name}, without the {found.removed.sum()} {named}"
            maskings[title] = found
            lost = {names[each]: found.recall_lost[each] for each in classes} | {"others": found.other_loss}
            told[title] = ", ".join(f"{name} {value:.2f}" for name, value in lost.items())
    if len(networks) > 1:
        for mask, both in recognised.items():
            numbers[networks[0].name][mask][claims.less(RECOGNISED)] = claims.over_images(*both)
    after = {title: found.confusion_after for title, found in maskings.items()}
    titled = {f"{title}\nrecall lost: {told[title]}": confusion for title, confusion in after.items()}
    return Claim(
        "masking",
        "Figure 4: filters of a class removed",
        f"Rows are true classes, columns predictions. The filters with G > {cli.THRESHOLD} for the classes named are "
        "set to 0 before the linear layer; a network trained without a gate is masked by the gate solved for Phi. The "
        "claim holds where a removed class's place on the diagonal empties (and with it the column of those taken for "
        "it) and the other rows stay, and where a plain network's place does not: compare the share of their images "
        "that is still recognised (beside it the difference from the other network's on the same images, with its 95 % "
        "interval, which takes both choices of filters as given), and the filters removed for it. By the gate solved "
        "for Phi the filters of both networks are chosen in one way; the pictures are by each network's own. The most "
        "that another class loses has the largest lower and the largest upper end of these classes' intervals beside "
        "it, which hold together with 95 %.",
        numbers,
        {
            "masking": Picture(
                partial(plots.confusion_matrices, titled, names),
                "Shares of each true class in percent. Look at the diagonal: the places of the removed classes should "
                "be empty, and the others as they were. What belongs to a removed class is told as another then.",
                after,
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


def _numbers(
    found: Masking, labels: np.ndarray, classes: Sequence[int], names: Sequence[str], left: np.ndarray
) -> dict[str, Any]:
    """Returns what a network lost with the filters of ``classes``; ``left`` tells which of their images it did not."""
    others = np.delete(np.arange(len(names)), classes)
    confidence = 1 - 0.05 / max(1, len(others))  # of each, so that all hold with 95 %
    before, after = found.predicted_before == labels, found.predicted_after == labels
    ends = [
        comparison.paired_interval(before[own], after[own], confidence)
        for label in others
        if (own := labels == label).any()
    ]
    return {
        "filters removed": int(found.removed.sum()),
        **{f"recall lost by {names[each]}": float(found.recall_lost[each]) for each in classes},
        "recall lost by these classes": float(found.masked_loss),
        RECOGNISED: float(left.mean()) if left.size else np.nan,
        "recall lost by the others": float(found.other_loss),
        LOST: float(np.fmax.reduce(found.recall_lost[others], initial=np.nan)),
        f"{LOST}, from": max((each.low for each in ends), default=np.nan),
        f"{LOST}, to": max((each.high for each in ends), default=np.nan),
    }


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
