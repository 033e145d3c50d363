"""Trained networks against their controls, over seeds or images: a claim is a difference, and it has an interval."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from scipy.stats import binomtest

from lsg_jax import checks


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, which are NaN where there is one value alone."""

    mean: float
    low: float
    high: float


class Compared(NamedTuple):
    """A measure over seeds: its mean, and its mean difference from the controls of the same seeds."""

    mean: Interval
    difference: Interval


def interval(values: np.ndarray) -> Interval:
    """Returns the mean of f[S] and Student's 95 % interval around it.

    Of differences between networks and their controls, of the same seeds or on the same images, it tells whether there
    is any: 0 lies outside. Raises ValueError where there is no value or one is not finite.
    """
    values = checks.float64("an interval's values", values, "S")
    mean, count = float(values.mean()), len(values)
    if count == 1:
        return Interval(mean, float("nan"), float("nan"))
    return interval_of(mean, float(values.std(ddof=1)), count)


def interval_of(mean: float, std: float, count: int, confidence: float = 0.95) -> Interval:
    """Returns Student's interval around the mean of ``count`` values, from that and their standard deviation.

    Raises ValueError on fewer than two values, or a confidence that is not in (0, 1).
    """
    checks.whole("count", count, 2)
    _check_confidence(confidence)
    half = float(stdtrit(count - 1, 0.5 + confidence / 2) * std / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def share_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Returns the share that is true of bool[N] and its Wilson interval.

    Raises ValueError where N is 0, or confidence is not in (0, 1).
    """
    values = np.asarray(values)
    checks.array("a share's values", values, np.bool_, "N")
    _check_confidence(confidence)
    found = binomtest(int(values.sum()), len(values)).proportion_ci(confidence, method="wilson")
    return Interval(float(values.mean()), float(found.low), float(found.high))


def paired_interval(ours: np.ndarray, other: np.ndarray, confidence: float = 0.95) -> Interval:
    """Returns the share of ``ours`` less that of ``other``, both bool[N] of the same N images, and its interval.

    Newcombe's (1998, method 10), from the Wilson intervals of both shares and their correlation: it fits few images and
    shares near 0 or 1 too, of which Student's says too much. Raises ValueError where there are no images, or others,
    or confidence is not in (0, 1).
    """
    ours, other = np.asarray(ours), np.asarray(other)
    checks.array("ours", ours, np.bool_, "N")
    checks.array("the other", other, np.bool_, len(ours))
    count = len(ours)
    (first, low, high), (second, other_low, other_high) = (share_interval(each, confidence) for each in (ours, other))
    both, neither = np.sum(ours & other), np.sum(~ours & ~other)
    excess = float(both * neither - np.sum(ours & ~other) * np.sum(~ours & other))
    excess = max(excess - count / 2, 0) if excess > 0 else excess
    spread = np.sqrt(float(np.prod([float(each.sum()) for each in (ours, ~ours, other, ~other)])))
    correlation = excess / spread if spread else 0.0
    mean = first - second
    below = _hypotenuse(first - low, other_high - second, correlation)
    above = _hypotenuse(high - first, second - other_low, correlation)
    return Interval(mean, mean - below, mean + above)


def _check_confidence(confidence: float) -> None:
    if not (checks.is_number(confidence) and 0 < confidence < 1):
        raise ValueError(f"confidence must be a number in (0, 1), got {confidence!r}")


def _hypotenuse(first: float, second: float, correlation: float) -> float:
    return float(np.sqrt(first**2 - 2 * correlation * first * second + second**2))


def linearized_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns f64[N] whose mean is mean(``numerator``) / mean(``denominator``), and whose spread is that of the ratio.

    The delta method: r + (numerator - r denominator) / mean(denominator), so that ``interval`` fits a ratio of means of
    f[N] too, or the difference between two of the same examples. Raises ValueError where they are not as many, a number
    is not finite, or the denominator's mean is 0.
    """
    checks.array("the numerator", numerator, np.floating, "N")
    checks.array("the denominator", denominator, np.floating, len(numerator))
    mean = np.mean(denominator, dtype=np.float64)
    if mean == 0:
        raise ValueError("the denominator's mean must not be 0, got 0")
    ratio = np.mean(numerator, dtype=np.float64) / mean
    return np.asarray(ratio + (numerator - ratio * denominator) / mean, np.float64)


def compare(arm: Mapping[int, Mapping[str, float]], control: Mapping[int, Mapping[str, float]]) -> dict[str, Compared]:
    """Returns each measure of an arm of training against its control; both hold the measures by name, by seed.

    The control may have more seeds than the arm; those are left out of the difference.
    Raises ValueError where it lacks a seed or a measure of the arm's, one is no mapping, or a number is not finite.
    """
    for kind, runs in (("arm", arm), ("control", control)):
        checks.instance(f"the {kind}", runs, Mapping)
        for seed, measures in runs.items():
            checks.instance(f"seed {seed} of the {kind}", measures, Mapping)
    if missing := sorted(set(arm) - set(control)):
        raise ValueError(f"the control has no seed {missing[0]}, which the arm has")
    names = next(iter(arm.values()), {})
    for kind, runs in (("arm", arm), ("control", control)):
        if lacking := [(seed, name) for seed in arm for name in names if name not in runs[seed]]:
            raise ValueError(f"seed {lacking[0][0]} of the {kind} has no {lacking[0][1]!r}, which others have")
    ours = {name: np.array([values[name] for values in arm.values()]) for name in names}
    theirs = {name: np.array([control[seed][name] for seed in arm]) for name in ours}
    return {name: Compared(interval(ours[name]), interval(ours[name] - theirs[name])) for name in ours}
