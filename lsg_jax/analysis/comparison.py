"""Trained networks against their controls, over seeds: a claim is a difference, and it has an interval."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


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

    Of differences between networks and their controls of the same seeds it tells whether there is any: 0 lies outside.
    Raises ValueError where there is no value or one is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"an interval needs one finite number a seed, got {values.tolist()}")
    mean, count = float(values.mean()), len(values)
    if count == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


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
