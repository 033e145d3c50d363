"""Filters counted in many gates, against loops and hand-computed cases."""

import statistics

import jax.numpy as jnp
import numpy as np
import pytest

from lsg_jax import gates
from lsg_jax.analysis.ownership import ownership_statistics


def loop_counts(gate, threshold):
    holders = [[c for c in range(len(gate)) if gate[c, k] >= threshold] for k in range(gate.shape[1])]
    alone = [sum(each == [c] for each in holders) for c in range(len(gate))]
    return alone, sum(len(each) > 1 for each in holders)


def test_statistics_equal_a_loop_over_gates():
    rng = np.random.default_rng(0)
    stack = np.asarray(gates.project(jnp.asarray(rng.uniform(size=(5, 4, 9)) ** 4)))
    thresholds = [0.25, 0.5, 1.0]
    found = ownership_statistics(stack, thresholds)
    np.testing.assert_array_equal(found.thresholds, thresholds)
    for t, threshold in enumerate(thresholds):
        counts = [loop_counts(gate, threshold) for gate in stack]
        np.testing.assert_array_equal(found.monopolised[t], [alone for alone, _ in counts])
        np.testing.assert_array_equal(found.shared[t], [shared for _, shared in counts])
        for c in range(4):
            values = [alone[c] for alone, _ in counts]
            assert found.monopolised_mean[t, c] == pytest.approx(statistics.mean(values))
            assert found.monopolised_std[t, c] == pytest.approx(statistics.stdev(values))
        shared = [shared for _, shared in counts]
        assert found.shared_mean[t] == pytest.approx(statistics.mean(shared))
        assert found.shared_std[t] == pytest.approx(statistics.stdev(shared))
    assert found.shared[0].sum() > found.shared[1].sum() > found.shared[2].sum()


def test_statistics_of_the_papers_fixed_gate():
    stack = np.stack([gates.fixed(10, 6, 4), gates.fixed(10, 5, 14)])
    found = ownership_statistics(stack, [0.5])
    np.testing.assert_array_equal(found.monopolised, [[[6] * 10, [5] * 10]])
    np.testing.assert_array_equal(found.shared, [[4, 14]])
    np.testing.assert_allclose(found.monopolised_mean, [[5.5] * 10])
    np.testing.assert_allclose(found.monopolised_std, [[np.sqrt(0.5)] * 10])
    np.testing.assert_allclose(found.shared_mean, [9])
    np.testing.assert_allclose(found.shared_std, [np.sqrt(50)])
