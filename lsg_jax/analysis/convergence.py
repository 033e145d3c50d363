"""How fast and how steadily a training rises (footnote 1: joint against alternating)."""

from typing import NamedTuple

import numpy as np

from lsg_jax import checks


class Convergence(NamedTuple):
    """Of one curve; epochs count from 1.

    Attributes:
      reached: the first epoch at the level or above it, None where there is none.
      kept: the epoch from which on it stays there, None where it ends below.
      largest_drop: from one epoch to the next, 0 where it never falls.
      total_drop: all of them added up.
    """

    reached: int | None
    kept: int | None
    largest_drop: float
    total_drop: float


def convergence(accuracy: np.ndarray, level: float) -> Convergence:
    """Measures a curve f[E], E >= 1, of the accuracy after each epoch, against a level in the same units.

    Raises ValueError where it is no curve, or a number of it or the level is not finite.
    """
    accuracy = checks.float64("a curve of accuracy", accuracy, "E")
    checks.number("the level", level)
    above = np.flatnonzero(accuracy >= level)
    below = np.flatnonzero(accuracy < level)
    kept = int(below[-1]) + 2 if len(below) else 1
    drops = np.maximum(-np.diff(accuracy), 0)
    return Convergence(
        reached=int(above[0]) + 1 if len(above) else None,
        kept=kept if kept <= len(accuracy) else None,
        largest_drop=float(drops.max(initial=0)),
        total_drop=float(drops.sum()),
    )
