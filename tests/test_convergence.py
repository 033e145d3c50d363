"""Speed and stability of training, on curves measured by hand."""

import numpy as np
import pytest

from lsg_jax.analysis.convergence import convergence


def test_a_curve_by_hand():
    found = convergence(np.array([0.2, 0.5, 0.4, 0.7, 0.45, 0.8, 0.75]), 0.5)
    assert (found.reached, found.kept) == (2, 6)
    assert found.largest_drop == pytest.approx(0.25)
    assert found.total_drop == pytest.approx(0.1 + 0.25 + 0.05)


@pytest.mark.parametrize(
    ("curve", "reached", "kept"), [([0.5], 1, 1), ([0.4], None, None), ([0.6, 0.4], 1, None), ([0.1, 0.5], 2, 2)]
)
def test_levels_that_are_never_reached_or_not_kept(curve, reached, kept):
    found = convergence(np.array(curve), 0.5)
    assert (found.reached, found.kept) == (reached, kept)


def test_a_rising_curve_has_no_drops():
    found = convergence(np.linspace(0, 1, 5), 2.0)
    assert found == (None, None, 0.0, 0.0)


@pytest.mark.parametrize("curve", [[], [[0.1, 0.2]], [0.5, float("nan")]])
def test_what_is_no_curve_is_refused(curve):
    with pytest.raises(ValueError, match=r"a curve of accuracy must be .*, got"):
        convergence(np.array(curve), 0.5)
