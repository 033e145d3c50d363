"""The order of filters by class, and the share of correlated ones, against loops and hand-computed cases."""

import jax.numpy as jnp
import numpy as np

from lsg_jax import gates, metrics
from lsg_jax.analysis import correlation


def test_class_order_by_hand():
    gate = jnp.asarray(
        [
            [0.2, 1.0, 1.0, 0.0, 1.0, 0.3],
            [1.0, 0.6, 1.0, 0.0, 0.0, 1.0],
            [0.4, 0.2, 1.0, 1.0, 1.0, 0.0],
        ]
    )
    found = correlation.class_order(gate)
    assert found.filters.tolist() == [1, 0, 5, 3, 2, 4]
    assert found.sizes.tolist() == [1, 2, 1, 2]
    tightened = correlation.class_order(gates.tighten(gate, 0.5))
    assert tightened.filters.tolist() == [0, 5, 3, 1, 2, 4]
    assert tightened.sizes.tolist() == [0, 2, 1, 3]


def test_class_order_undoes_a_shuffle_of_the_fixed_gate():
    shuffle = np.random.default_rng(0).permutation(64)
    found = correlation.class_order(gates.fixed(10, 6, 4)[:, shuffle])
    assert found.sizes.tolist() == [6] * 10 + [4]
    owners = np.array([c for c in range(10) for _ in range(6)] + [10] * 4)
    np.testing.assert_array_equal(owners[shuffle[found.filters]], owners)


def test_class_order_shows_the_blocks_of_a_correlation():
    owners = np.array([1, 0, 1, 0, 1])
    kernel = np.zeros((1, 1, 2, 5))
    kernel[0, 0, owners, np.arange(5)] = 1
    order = correlation.class_order(np.stack([owners == 0, owners == 1]).astype(np.float32))
    shown = metrics.filter_correlation(kernel)[np.ix_(order.filters, order.filters)]
    expected = np.zeros((5, 5))
    expected[:2, :2] = expected[2:, 2:] = 1
    np.testing.assert_array_equal(shown, expected)


def test_pairs_are_told_apart_by_the_classes_that_own_their_filters():
    gate = np.array(
        [[1, 1, 0.2, 0, 1, 0], [0, 0.3, 1, 0.5, 1, 0], [0, 0, 0, 1, 0.4, 1.0]]
    )  # the fifth is of no single class
    found = correlation.pairs(gate)
    owned = {0: 0, 1: 0, 2: 1, 3: 2, 5: 2}
    for i, j in np.ndindex(6, 6):
        single = i in owned and j in owned and i != j
        assert found.of_one_class[i, j] == (single and owned[i] == owned[j])
        assert found.of_different_classes[i, j] == (single and owned[i] != owned[j])


def test_ratio_above_counts_all_elements():
    matrix = np.array([[1, 0.5, -0.25], [0.5, 1, 0.5], [-0.25, 0.5, 1]])
    found = correlation.ratio_above(matrix, np.array([-1, -0.25, 0.3, 0.5, 0.99, 1]))
    np.testing.assert_allclose(found, np.array([9, 7, 7, 3, 3, 0]) / 9)


def test_ratio_above_equals_a_loop():
    rng = np.random.default_rng(0)
    matrix = metrics.filter_correlation(rng.normal(size=(3, 3, 2, 12)))
    thresholds = np.linspace(-0.5, 1, 16)
    expected = [sum(float(value) > s for row in matrix for value in row) / 144 for s in thresholds]
    np.testing.assert_allclose(correlation.ratio_above(matrix, thresholds), expected)
    assert expected[0] > expected[8] > expected[14] == 1 / 12
