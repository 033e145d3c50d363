"""Footnote 1 for any runs: how fast and how steadily they were trained, joint or alternating."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from experiments import claims
from experiments.claims import Claim, Picture
from experiments.network import Network
from lsg_jax import plots
from lsg_jax.analysis.comparison import interval
from lsg_jax.analysis.convergence import convergence

CURVES = ("test_accuracy", "test_cross_entropy", "density")
KEPT, DROPS = "epoch from which on it stays there", "drops in all"
SHARE = 0.95  # of the best accuracy that any of them had: the level whose epochs are counted


def measure(networks: list[Network]) -> Claim:
    """Returns the training curves of the networks and what they say of speed and stability."""
    histories = {network.name: network.run.history for network in networks if network.run.history}
    numbers: dict[str, Any] = {network.name: {} for network in networks} | _numbers(histories)
    return Claim(
        "convergence",
        "Training: speed and stability (footnote 1, where the schemes differ)",
        f"The STD path on the test set after each epoch. The level is {SHARE:.0%} of the best accuracy of any network "
        "here. Drops are those of accuracy from an epoch to the next: with alternating epochs they follow the gated "
        "ones. The paper prefers these to equation 3 in every batch (--scheme=joint) for their 'better training "
        "stability and converging speed'.",
        numbers,
        {
            "convergence": Picture(
                partial(plots.compared_curves, histories),
                "Look for the curve that rises first, and for teeth, which are gated epochs. Cross entropy is on a "
                "logarithmic scale.",
                {
                    name: {measure: np.array([line[measure] for line in history]) for measure in CURVES}
                    for name, history in histories.items()
                },
            )
        }
        if histories
        else {},
    )


def compare_schemes(alternating: Mapping[int, Network], joint: Mapping[int, Network]) -> dict[str, Any]:
    """Returns speed and stability of both schemes by seed, and their difference with Student's 95 % interval.

    An accuracy that never stays at the level counts as doing so one epoch after the last, and is counted.
    """
    schemes = {"alternating": alternating, "joint": joint}
    seeds = sorted(set(alternating) & set(joint))
    never = dict.fromkeys(schemes, 0)
    found: dict[str, dict[str, list[float]]] = {measure: {name: [] for name in schemes} for measure in (KEPT, DROPS)}
    for seed in seeds:
        for name, numbers in _numbers({name: arm[seed].run.history for name, arm in schemes.items()}).items():
            never[name] += numbers[KEPT] == "never"
            found[KEPT][name].append(numbers["epochs"] + 1 if numbers[KEPT] == "never" else numbers[KEPT])
            found[DROPS][name].append(numbers[DROPS])
    differences = {
        measure: interval(np.subtract(values["alternating"], values["joint"])) for measure, values in found.items()
    }
    measures = {measure: values | {"difference": differences[measure]._asdict()} for measure, values in found.items()}
    return {"seeds": seeds, "never at the level": never, "measures": measures}


def _numbers(histories: Mapping[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    accuracies = {name: [line["test_accuracy"] for line in history] for name, history in histories.items()}
    level = SHARE * max((max(values) for values in accuracies.values()), default=0.0)
    numbers: dict[str, dict[str, Any]] = {}
    for name, values in accuracies.items():
        found = convergence(np.array(values), level)
        numbers[name] = {
            "epochs": len(values),
            "accuracy, last epoch": values[-1],
            "level": level,
            "first epoch at the level": "never" if found.reached is None else found.reached,
            KEPT: "never" if found.kept is None else found.kept,
            "largest drop between epochs": found.largest_drop,
            DROPS: found.total_drop,
        }
    return numbers


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
