"""Filter correlation and C_IC against NumPy loops written from section 4.4, and hand-computed cases."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsg_jax import metrics


def loop_correlation(kernel):
    filters = [kernel[..., k].astype(np.float64).ravel() for k in range(kernel.shape[-1])]
    found = np.zeros((len(filters), len(filters)))
    for i, j in np.ndindex(found.shape):
        lengths = np.sqrt(sum(filters[i] ** 2)) * np.sqrt(sum(filters[j] ** 2))
        found[i, j] = sum(filters[i] * filters[j]) / lengths if lengths else 0
    return found


def loop_inter_class(correlation, features, labels, m):
    classes = sorted(set(labels.tolist()))
    groups = {}
    for c in classes:
        members = [a for a, label in zip(features, labels, strict=True) if label == c]
        mean = [np.mean([a[k] for a in members]) for k in range(features.shape[1])]
        groups[c] = sorted(range(len(mean)), key=lambda k, mean=mean: (-mean[k], k))[:m]
    total = sum(correlation[i, j] for c in classes for d in classes if c != d for i in groups[c] for j in groups[d])
    return total / (len(classes) * (len(classes) - 1) * m**2)


def test_filter_correlation_is_the_inner_product_of_unit_filters():
    kernel = np.random.default_rng(0).normal(size=(3, 2, 4, 6)).astype(np.float32)
    kernel[..., 1] *= 1e4
    kernel[..., 2] = -0.5 * kernel[..., 0]
    kernel[..., 4] = 0
    found = metrics.filter_correlation(jnp.asarray(kernel))
    np.testing.assert_allclose(found, loop_correlation(kernel), atol=1e-12)
    assert found[0, 2] == pytest.approx(-1, abs=1e-12)
    assert not found[4].any()
    assert not found[:, 4].any()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(-30, 30))
def test_filter_correlation_stays_in_its_range_and_ignores_scale(seed, exponent):
    kernel = np.random.default_rng(seed).normal(size=(2, 2, 1, 5)).astype(np.float32)
    found = metrics.filter_correlation(kernel)
    assert np.abs(found).max() <= 1
    np.testing.assert_array_equal(metrics.filter_correlation(kernel * np.float32(2.0**exponent)), found)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 4))
def test_inter_class_correlation_is_the_formula(seed, filters_per_class, num_classes):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 10)])
    features = rng.integers(0, 3, (len(labels), 5)).astype(np.float32)  # with ties
    correlation = metrics.filter_correlation(rng.normal(size=(1, 1, 3, 5)))
    found = metrics.inter_class_correlation(correlation, features, labels, filters_per_class)
    assert found == pytest.approx(loop_inter_class(correlation, features, labels, filters_per_class), abs=1e-12)


def test_inter_class_correlation_by_hand():
    correlation = np.array([[1, 0.5, 0.25, 0], [0.5, 1, 0, 0.125], [0.25, 0, 1, 0], [0, 0.125, 0, 1]])
    features = np.array([[9, 0, 0, 1], [1, 4, 0, 1], [0, 0, 7, 2], [8, 8, 0, 9]])
    labels = np.array([0, 0, 3, 5])  # the classes 1, 2 and 4 have no images
    # One filter a class: 0, 2 and 3. Pairs: 0.25, 0 and 0, each twice, of six.
    assert metrics.inter_class_correlation(correlation, features, labels, 1) == pytest.approx(0.5 / 6)
    # Two a class: {0, 1}, {2, 3} and {3, 0}; filters 3 and 0 meet themselves.
    pairs = (0.25 + 0 + 0 + 0.125) + (0 + 1 + 0.125 + 0.5) + (0 + 0.25 + 1 + 0)
    assert metrics.inter_class_correlation(correlation, features, labels, 2) == pytest.approx(2 * pairs / (6 * 4))
