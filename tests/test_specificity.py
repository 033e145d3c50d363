"""ACC1, ACC2 and ACC3 against loops over images and hand-computed cases."""

import jax.numpy as jnp
import numpy as np
import pytest

from lsg_jax.analysis.specificity import specificity


def loop_accuracy(features, labels, kernel, bias, keep):
    right = 0
    for a, label in zip(features, labels, strict=True):
        logits = [bias[c] + sum(a[k] * kernel[k, c] for k in range(len(a)) if keep(label, k)) for c in range(len(bias))]
        right += logits.index(max(logits)) == label
    return right / len(labels)


def test_specificity_by_hand():
    kernel, bias = np.array([[1, 0], [0, 1], [0, 1.0]]), np.array([0.0, 0.5])
    gate = np.array([[1, 0, 0.25], [0.5, 1, 1.0]])
    features = np.array([[2, 1, 0], [1, 2, 0], [3, 0, 1], [0, 1, 1]], np.float32)
    labels = np.array([0, 0, 1, 1])
    # Logits with all filters: (2, 1.5), (1, 2.5), (3, 1.5), (0, 2.5).
    # At 0.5 class 0 owns filter 0, class 1 all: own (2, 0.5), (1, 0.5), (3, 1.5), (0, 2.5);
    # others (0, 1.5), (0, 2.5), (0, 0.5), (0, 0.5).
    assert specificity(features, labels, kernel, bias, gate, 0.5) == (0.5, 0.75, 0.5)
    # Above 0.5 class 1 owns filters 1 and 2: own of the third image (0, 1.5), others (3, 0.5).
    assert specificity(features, labels, kernel, bias, gate, 0.6) == (0.5, 1.0, 0.25)


@pytest.mark.parametrize("seed", range(4))
def test_specificity_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    labels, features = rng.integers(0, 4, 50), np.abs(rng.normal(size=(50, 6)))
    kernel, bias, gate = rng.normal(size=(6, 4)), rng.normal(size=4), rng.uniform(size=(4, 6))
    found = specificity(*(jnp.asarray(each) for each in (features, labels, kernel, bias, gate)), 0.5)
    keeps = (lambda y, k: True), (lambda y, k: gate[y, k] >= 0.5), (lambda y, k: gate[y, k] < 0.5)
    assert found == pytest.approx([loop_accuracy(features, labels, kernel, bias, keep) for keep in keeps])


def test_a_block_shaped_classifier_needs_its_own_filters_alone():
    labels = np.arange(40) % 4
    gate = np.eye(4).repeat(2, axis=1)
    features = 0.5 + gate[labels]
    found = specificity(features, labels, gate.T, np.zeros(4), gate, 1.0)
    assert found == (1, 1, 0)
