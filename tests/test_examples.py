"""The means of groups of examples, by hand."""

import numpy as np

from lsg_jax.metrics.examples import group_means


def test_group_means_of_overlapping_and_empty_groups():
    features = np.array([[1.0, 2], [3, 6], [5, 1]])
    members = np.array([[True, True, False], [False, False, False], [True, True, True]])
    np.testing.assert_allclose(group_means(features, members), [[2, 4], [0, 0], [3, 3]])
