"""Which claims reports, pictures and counts tell of, the paper's figures of each, and when one holds."""

import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import alike, claims, convergence, masking, paper, similarity, specificity, stored
from lsg_jax.analysis import comparison
from lsg_jax.analysis.comparison import Interval

WORDS = {True: "yes", False: "no", None: "cannot tell"}
TOO = "yes, the control too"  # of a claim that is judged without it
UNSEEN = "no images to tell by"
DENSITY = 0.12  # of a sparse gate; the least is 1 / C
PAIRED = "Phi is lower after the training's budget of updates of G"  # the control's depends on whose it is


class Row(NamedTuple):
    """One claim about a network beside its control.

    Attributes:
      claim: in words.
      paper: its figures.
      place: where ours lie in a report.
      margin: by how much it holds, from our figure and the control's; negative where it does not.
      tells: whether a control with such a figure can tell that it holds.
      over_images: whether our figure less the control's, with its interval over the images, lies beside ours.
      counted: where the number of ``counts`` that ours is of lies in a report, of networks alike.
      counts: what it is a number of.
      effect: what short tables and pictures of arms, which show not every claim, call the figure.
      alone: whether ours is judged without the control's.
      own_interval: whether the ends of our figure's own interval lie beside it.
    """

    claim: str
    paper: str
    place: tuple[str, ...]
    margin: Callable[[float, float], float]
    tells: Callable[[float], bool] = lambda control: True
    over_images: bool = False
    counted: tuple[str, ...] = ()
    counts: str = "filters"
    effect: str | None = None
    alone: bool = False
    own_interval: bool = False


class Finding(NamedTuple):
    """One claim about training, or about many networks, judged.

    Attributes:
      claim: in words.
      paper: what the paper says.
      measured: on which runs.
      ours: our figure, and that which it is compared with.
      holds: whether it does; None where that cannot be told.
    """

    claim: str
    paper: str
    measured: str
    ours: str
    holds: bool | None


def rows(report: dict[str, Any]) -> list[Row]:
    """Returns the claims that a report of a gated network against a plain one can tell of, by what it measured."""
    std, lsg = paper.TABLE1["STD"], paper.TABLE1["LSG"]
    first = report["networks"][0]
    c_ic = paper.C_IC.get(report["trained"][first]["model"], paper.C_IC["resnet20"])
    phi = f"{lsg['Phi']} against {std['Phi']}"

    def later(measure: str) -> str:
        stated = (
            (" against ".join(f"{each[measure]:g}" for each in found.values() if measure in each), name)
            for name, found in paper.LATER.items()
        )
        return "; ".join(f"{figures} ({name})" for figures, name in stated)

    masks = report["claims"]["masking"]["numbers"][first] if "masking" in report["claims"] else ()
    masked = [
        row
        for mask in masks
        for row in (
            Row(
                f"{mask}: fewer images of these classes are still recognised",
                "none, against some",
                ("masking", mask, masking.RECOGNISED),
                _lower,
                over_images=True,
                counted=("masking", mask, "filters removed"),
            ),
            Row(
                f"{mask}: no other class loses 0.02 of its recall (the one that loses most)",
                "none",
                ("masking", mask, masking.LOST),
                lambda ours, control: 0.02 - ours,
                counted=("masking", mask, "filters removed"),
                alone=True,
                own_interval=True,
            ),
        )
    ]
    attacked = [
        Row(
            f"{name} attack: success rate is lower",
            f"{figures['LSG']:.2f} against {figures['STD']:.2f}",
            ("attacks", name, "success rate"),
            _lower,
            over_images=True,
        )
        for name, figures in paper.ATTACKS.items()
    ]
    every = [
        Row(
            "accuracy within half a point of the plain network's",
            f"{lsg['accuracy']} against {std['accuracy']}; {later('accuracy')}",
            ("table1", "accuracy"),
            lambda ours, control: ours - (control - specificity.MOST_LOST),
            over_images=True,
            effect="accuracy",
        ),
        Row(
            "cross entropy is not higher than the plain network's (nats an image)",
            f"{lsg['cross entropy']} against {std['cross entropy']}, of unknown unit",
            ("table1", "cross entropy"),
            _lower,
            over_images=True,
        ),
        Row(
            f"the gate is sparse (L1 norm / C K at most {DENSITY})",
            f"{lsg['L1 norm']}; {later('density')}",
            ("table1", "L1 norm"),
            lambda ours, control: DENSITY - ours,
            alone=True,
        ),
        Row(
            "the gate is sparser than that solved for the plain network's Phi (at most 0.37 of its density)",
            f"{lsg['L1 norm']} against {std['L1 norm']}",
            ("table1", "L1 norm"),
            lambda ours, control: 0.37 * control - ours,
        ),
        Row(
            "Phi is lower (converged, a = 1 on the density)",
            phi,
            ("table1", "Phi", "Phi"),
            _lower,
        ),
        Row(
            PAIRED,
            phi,
            ("table1", "Phi, training's budget", "Phi"),
            _lower,
        ),
        *masked,
        Row(
            "true positives resemble their gate row more (share on the diagonal)",
            "significantly",
            ("similarity", "true positives", "share on the diagonal"),
            operator.sub,
        ),
        Row(
            "true positives resemble their gate row more than false negatives do, by more (difference of the shares)",
            "significantly",
            ("similarity", similarity.GAP),
            operator.sub,
            counted=("similarity", "false negatives", "images"),
            counts="false negatives",
        ),
        Row(
            "false negatives resemble most, of other gate rows, that of the class they are most taken for, more often "
            "(share of the classes)",
            "classes that share features are close",
            ("similarity", similarity.AGREEMENT),
            operator.sub,
            counted=("similarity", "false negatives", "images"),
            counts="false negatives",
        ),
        Row(
            "activation maps are more precise (insertion area, relative; more is better)",
            "shown by examples",
            ("localization", "insertion area, relative"),
            operator.sub,
            over_images=True,
        ),
        Row(
            "activation maps are more precise (deletion area, relative; less is better)",
            "shown by examples",
            ("localization", "deletion area, relative"),
            _lower,
            over_images=True,
        ),
        Row(
            "activation maps are more concentrated (share of the image with 90 % of the map)",
            "shown by examples",
            ("localization", "area of 90 % of the map"),
            _lower,
            over_images=True,
        ),
        Row(
            "C_IC is at most 0.62 of the plain network's",
            f"{c_ic['LSG']} (fixed gate) against {c_ic['STD']}",
            ("correlation", "C_IC"),
            _at_most_062,
            lambda control: control > 0,
            effect="C_IC",
        ),
        Row(
            "beyond the paper: C_IC of different filters is at most 0.62 of the plain network's",
            "",
            ("correlation", "C_IC of different filters"),
            _at_most_062,
            lambda control: control > 0,
        ),
        Row(
            "beyond the paper: C_IC of absolute correlations is at most 0.62 of the plain network's",
            "",
            ("correlation", "C_IC of absolute correlations"),
            _at_most_062,
            effect="C_IC of absolute correlations",
        ),
        *(
            Row(
                f"fewer correlated pairs of filters{which} (share above {threshold})",
                "fewer, mostly of these" if which else "fewer",
                ("correlation", f"share of pairs{which} above {threshold}"),
                _lower,
            )
            for which in ("", " of different classes")
            for threshold in (0.1, 0.3)
        ),
        Row(
            "cluster centres look more like the gate (cosine)",
            "almost the same",
            ("clustering", "cosine to the class's gate row"),
            operator.sub,
        ),
        Row(
            "beyond the paper: clusters agree better with the classes (adjusted Rand index)",
            "",
            ("clustering", "adjusted Rand index"),
            operator.sub,
        ),
        Row(
            "beyond the paper: centres of clusters of unit-length features look more like the gate (cosine)",
            "",
            ("clustering", "features of unit length", "cosine to the class's gate row"),
            operator.sub,
        ),
        Row(
            "beyond the paper: clusters of unit-length features agree better with the classes (adjusted Rand index)",
            "",
            ("clustering", "features of unit length", "adjusted Rand index"),
            operator.sub,
        ),
        *attacked,
        Row(
            f"beyond the paper: mutual information score is at least {specificity.LEAST_RATIO} times the plain "
            "network's",
            later("mutual information score"),
            ("specificity", "mutual information score"),
            lambda ours, control: ours - specificity.LEAST_RATIO * control,
            effect="mutual information score",
        ),
        *(
            Row(
                f"beyond the paper: accuracy without a class's own filters{named} is at most {specificity.MOST_LEFT}",
                "",
                ("specificity", gate, "without own filters"),
                lambda ours, control: specificity.MOST_LEFT - ours,
                counted=("specificity", gate, "own filters of an image"),
                alone=True,
                effect=None if named else "accuracy without own filters",
            )
            for gate, named in zip(
                specificity.GATES, ("", " by the tightened gate", " by the gate solved for Phi"), strict=True
            )
        ),
    ]
    return [row for row in every if row.place[0] in report["claims"]]


def read(file: Path) -> dict[str, Any]:
    """Returns a report. Raises ValueError where it lacks what one of its claims is judged by."""
    report = stored.read(file)
    try:
        controlled = has_control(report)
        for row in rows(report):
            for network in report["networks"]:
                for place in filter(None, (row.place, row.counted)):
                    figure(place, report, network)
            if controlled:
                verdict(row, report)
    except KeyError as missing:
        raise ValueError(f"{file} has no {missing}; make it again with experiments.report") from None
    return report


def has_control(report: dict[str, Any]) -> bool:
    """Tells whether a report is of a network with a gate against one without that was trained alike."""
    plain = [report["trained"][name]["gate"] == "none" for name in report["networks"]]
    return plain == [False, True] and not unlike(report)


def unlike(report: dict[str, Any]) -> dict[str, str]:
    """Returns the settings beside those of the gate in which the networks of a report differ, with their values."""
    return alike.differences([report["trained"][name] for name in report["networks"]])


def figure(place: tuple[str, ...], report: dict[str, Any], network: str) -> Any:
    """Returns what lies in a place of a report."""
    return beside(place, report["claims"], network)[place[-1]]


def found(row: Row, report: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the numbers that a claim is judged by, of the network and of its control."""
    return [beside(row.place, report["claims"], network) for network in report["networks"]]


def verdict(row: Row, report: dict[str, Any]) -> str:
    """Returns whether a claim holds, in words."""
    both = found(row, report)
    values = [numbers[row.place[-1]] for numbers in both]
    if None in (values[:1] if row.alone else values):
        return UNSEEN
    ours, control = values
    judged = [ours]
    if row.over_images:
        difference = both[0][claims.less(row.place[-1])]
        if difference["low"] is None:
            return WORDS[None]
        judged = [control + difference[end] for end in ("low", "high")]
    elif row.own_interval:
        judged = own_ends(row, both[0])
    holds = _told(row, [row.margin(each, control) for each in judged], control)
    if not row.alone or control is None:
        return said(holds, False)
    of_control = own_ends(row, both[1]) if row.own_interval else [control]
    return said(holds, _all(row.margin(each, each) for each in of_control))


def own_ends(row: Row, numbers: dict[str, Any]) -> list[float]:
    """Returns the ends of the interval that lies beside a figure."""
    return [numbers[f"{row.place[-1]}, {end}"] for end in ("from", "to")]


def said(holds: bool | None, too: bool | None) -> str:
    """Returns in words whether a claim holds; ``too`` tells whether it is judged alone and holds of the control too."""
    return TOO if holds and too else WORDS[holds]


def over_seeds(row: Row, ours: Mapping[int, float], controls: Mapping[int, float]) -> bool | None:
    """Tells whether a claim holds, from the figures of each seed; None where they cannot tell, as one seed cannot."""
    margins = comparison.interval(np.array([row.margin(value, controls[seed]) for seed, value in ours.items()]))
    return _told(row, margins[1:], comparison.interval(np.array([controls[seed] for seed in ours])).low)


def _told(row: Row, margins: Iterable[float], control: float) -> bool | None:
    """Tells whether a claim holds by its margins, beside such a control."""
    told = _all(margins)
    return told if row.tells(control) or not told else None


def _all(margins: Iterable[float]) -> bool | None:
    """Tells whether all of the margins are above 0, or none; None in between, and at 0. NaN does not count.

    They are rounded to nine decimals, so that 0 is what it is meant to be.
    """
    holds = {margin > 0 if margin else None for each in margins if not np.isnan(margin := round(float(each), 9))}
    return holds.pop() if len(holds) == 1 else None


def _about_a_tenth(found: Interval) -> bool | None:
    """Tells whether a percentage is 5 to 15, by its interval; None where that lies inside in part."""
    if found.high < 5 or found.low > 15:
        return False
    return True if found.low >= 5 and found.high <= 15 else None


def _lower(ours: float, control: float) -> float:
    return control - ours


def _at_most_062(ours: float, control: float) -> float:
    """A ratio to what is not above 0 tells nothing, but what is not even lower is not at most 0.62 of it."""
    return min(0.62 * control, control) - ours


def beside(place: tuple[str, ...], claims: dict[str, Any], network: str) -> dict[str, Any]:
    """Returns the numbers among which the last name of ``place`` is."""
    claim, *inner = place[:-1]
    numbers: dict[str, Any] = claims[claim]["numbers"][network]
    for name in inner:
        numbers = numbers[name]
    return numbers


def of_sparsity(measured: str, density: float, without: float) -> Finding:
    """Figure 3, from the densities of gates learned with the sparsity term and without it."""
    return Finding(
        f"the gate is sparse with the sparsity term (L1 norm / C K at most {DENSITY}) and not without it",
        "seen in Figure 3",
        measured,
        f"{density:.4f} against {without:.4f}",
        density <= DENSITY < without,
    )


def of_schemes(measured: str, schemes: dict[str, Any]) -> list[Finding]:
    """Footnote 1, from what experiments.tradeoff writes of two arms that differ in the scheme alone.

    The interval of the difference over several seeds tells; one seed cannot.
    """
    claimed = (
        ("stay at 95 % of the best accuracy of the two from an earlier epoch on", "converging speed", convergence.KEPT),
        ("lose less accuracy from an epoch to the next (drops in all)", "training stability", convergence.DROPS),
    )
    findings = []
    for claim, quality, measure in claimed:
        found = schemes["measures"][measure]
        difference = found["difference"]
        means = [f"{np.mean(found[scheme]):.4g}" for scheme in ("alternating", "joint")]
        if measure == convergence.KEPT:
            counts = schemes["never at the level"].values()
            means = [mean + (f" ({count} never)" if count else "") for mean, count in zip(means, counts, strict=True)]
        shown = " against ".join(means) + claims.ends(difference, ".4g")
        margins = [-difference[end] for end in ("low", "high") if difference[end] is not None]
        findings.append(Finding(f"alternating epochs {claim}", f"better {quality}", measured, shown, _all(margins)))
    return findings


def of_ownership(measured: str, alone: list[Interval], shared: Interval) -> list[Finding]:
    """Section 4.4, from the percentage of the filters that each class holds alone, and of those shared.

    Each has its interval over the networks, those of the classes one for all of them at once.
    """
    each = [_about_a_tenth(found) for found in alone]
    return [
        Finding(
            "on average over the networks, each class alone holds about a tenth of the filters (5 to 15 %)",
            "10 %",
            measured,
            f"{min(found.mean for found in alone):.1f} to {max(found.mean for found in alone):.1f} %",
            False if False in each else None if None in each else True,
        ),
        Finding(
            "on average over the networks, about a tenth of the filters is shared (5 to 15 %)",
            "10 %",
            measured,
            f"{shared.mean:.1f} % ({shared.low:.1f} to {shared.high:.1f})",
            _about_a_tenth(shared),
        ),
    ]
