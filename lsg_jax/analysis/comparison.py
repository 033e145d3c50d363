"""Trained networks against their controls, over seeds or images: a claim is a difference, and it has an interval."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from scipy.stats import binomtest


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
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"an interval needs numbers f[S], got shape {list(values.shape)}")
    if len(strange := values[~np.isfinite(values)]):
        raise ValueError(f"an interval needs finite numbers, got {strange[0]} among {len(values)}")
    mean, count = float(values.mean()), len(values)
    if count == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def share_interval(values: np.ndarray) -> Interval:
    """Returns the share that is true of bool[N] and its 95 % Wilson interval. Raises ValueError where N is 0."""
    values = np.asarray(values, bool)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"a share needs bool[N] with N > 0, got shape {values.shape}")
    found = binomtest(int(values.sum()), len(values)).proportion_ci(0.95, method="wilson")
    return Interval(float(values.mean()), float(found.low), float(found.high))


def paired_interval(ours: np.ndarray, other: np.ndarray) -> Interval:
    """Returns the share of ``ours`` less that of ``other``, both bool[N] of the same N images, and its 95 % interval.

    Newcombe's (1998, method 10), from the Wilson intervals of both shares and their correlation: it fits few images and
    shares near 0 or 1 too, of which Student's says too much. Raises ValueError where there are no images.
    """
    ours, other = np.asarray(ours, bool), np.asarray(other, bool)
    count = len(ours)
    if not count or ours.shape != (count,) or other.shape != (count,):
        raise ValueError(f"an interval needs bool[N] of the same images, got shapes {ours.shape} and {other.shape}")
    (first, low, high), (second, other_low, other_high) = map(share_interval, (ours, other))
    both, neither = np.sum(ours & other), np.sum(~ours & ~other)
    excess = float(both * neither - np.sum(ours & ~other) * np.sum(~ours & other))
    excess = max(excess - count / 2, 0) if excess > 0 else excess
    spread = np.sqrt(float(np.prod([float(each.sum()) for each in (ours, ~ours, other, ~other)])))
    correlation = excess / spread if spread else 0.0
    mean = first - second
    below = _hypotenuse(first - low, other_high - second, correlation)
    above = _hypotenuse(high - first, second - other_low, correlation)
    return Interval(mean, mean - below, mean + above)


def _hypotenuse(first: float, second: float, correlation: float) -> float:
    return float(np.sqrt(first**2 - 2 * correlation * first * second + second**2))


def linearized_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns f64[N] whose mean is mean(``numerator``) / mean(``denominator``), and whose spread is that of the ratio.

    The delta method: r + (numerator - r denominator) / mean(denominator), so that ``interval`` fits a ratio of means of
    f[N] too, or the difference between two of the same examples.
    """
    mean = np.mean(denominator, dtype=np.float64)
    ratio = np.mean(numerator, dtype=np.float64) / mean
    return np.asarray(ratio + (numerator - ratio * denominator) / mean, np.float64)


def compare(arm: Mapping[int, Mapping[str, float]], control: Mapping[int, Mapping[str, float]]) -> dict[str, Compared]:
    """Returns each measure of an arm of training against its control; both hold the measures by name, by seed.

    The control may have more seeds than the arm; those are left out of the difference.
    Raises ValueError where it lacks one of the arm's.
    """
    if missing := sorted(set(arm) - set(control)):
        raise ValueError(f"the control has no seed {missing[0]}, which the arm has")
    ours = {name: np.array([values[name] for values in arm.values()]) for name in next(iter(arm.values()), {})}
    theirs = {name: np.array([control[seed][name] for seed in arm]) for name in ours}
    return {name: Compared(interval(ours[name]), interval(ours[name] - theirs[name])) for name in ours}
