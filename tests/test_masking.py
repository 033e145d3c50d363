"""Confusion matrices without some filters, against loops and hand-computed cases."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from lsg_jax import metrics
from lsg_jax.analysis import masking

# Each filter votes for one class: 0 and 1 for class 0, 2 for class 1, 3 for class 2.
KERNEL = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
BIAS = np.array([0, 0.25, 0])
GATE = np.array([[1, 0.75, 0, 0.5], [0, 1, 1, 0], [0, 0, 0.5, 1.0]])


def loop_confusion(features, labels, kernel, bias, removed):
    counts = np.zeros((len(bias), len(bias)))
    for a, label in zip(np.asarray(features, np.float64), labels, strict=True):
        logits = [sum(a[k] * kernel[k, c] for k in range(len(a)) if not removed[k]) + bias[c] for c in range(len(bias))]
        counts[label, logits.index(max(logits))] += 1
    return np.array([row / row.sum() if row.sum() else row for row in counts])


@pytest.mark.parametrize(
    ("classes", "threshold", "expected"),
    [
        ([0], 0.5, [1, 1, 0, 0]),  # greater than, so 0.5 is kept
        ([0], 0.49, [1, 1, 0, 1]),
        ([0], 0.75, [1, 0, 0, 0]),
        ([2], 0.0, [0, 0, 1, 1]),
        ([0, 2], 0.5, [1, 1, 0, 1]),
        ((1, 1), 0.9, [0, 1, 1, 0]),
    ],
)
def test_related_filters_by_hand(classes, threshold, expected):
    np.testing.assert_array_equal(masking.related_filters(jnp.asarray(GATE), classes, threshold), expected)


@pytest.mark.parametrize("number", [float, np.float32, np.float64, np.asarray])
def test_an_entry_that_is_the_threshold_is_not_above_it(number):
    entry = np.float32(0.6)  # which is above 0.6 in double precision
    for each in (0.6, entry):
        assert not masking.related_filters(np.full((1, 1), entry), [0], number(each)).any()


def test_masking_by_hand():
    features = np.array([[2, 2, 0, 0], [0, 0, 0, 3], [1, 0, 0, 0], [0, 2, 5, 0]], np.float32)
    labels = np.array([0, 0, 0, 1])
    found = masking.mask_classes(features, labels, KERNEL, BIAS, GATE, [0], 0.5)
    assert found.removed.tolist() == [True, True, False, False]
    assert found.images.tolist() == [3, 1, 0]
    np.testing.assert_allclose(found.confusion_before, [[2 / 3, 0, 1 / 3], [0, 1, 0], [0, 0, 0]])
    # Without its filters, the first and the third image have logits 0, 0.25 and 0.
    np.testing.assert_allclose(found.confusion_after, [[0, 2 / 3, 1 / 3], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(found.recall_lost, [2 / 3, 0, math.nan])
    assert found.predicted_before.tolist() == [0, 2, 0, 1]
    assert found.predicted_after.tolist() == [1, 2, 1, 1]
    assert found.masked_loss == pytest.approx(2 / 3)
    assert found.other_loss == 0  # of class 1 alone: class 2 has no images


def test_losses_are_means_over_classes_with_images():
    features = np.eye(4, dtype=np.float32)[[0] * 5 + [2] * 2 + [3]]
    labels = np.array([0] * 5 + [1] * 2 + [2])
    found = masking.mask_classes(features, labels, KERNEL, BIAS, GATE, [0, 1], 0.9)
    # Removed: 0, 1, 2. Classes 0 and 1 fall to (0, 0.25, 0), which says class 1.
    np.testing.assert_allclose(found.recall_lost, [1, 0, 0])
    assert found.masked_loss == pytest.approx(0.5)
    assert found.other_loss == 0
    assert masking.mask_classes(features, labels, KERNEL, BIAS, GATE, [2], 0.9).other_loss == 0
    assert masking.mask_classes(features, labels, KERNEL, BIAS, GATE, [2], 0.9).masked_loss == 1
    assert math.isnan(masking.mask_classes(features, labels, KERNEL, BIAS, GATE, [0, 1, 2], 0.9).other_loss)
    assert math.isnan(masking.mask_classes(features[:7], labels[:7], KERNEL, BIAS, GATE, [2], 0.9).masked_loss)


@pytest.mark.parametrize("seed", range(4))
def test_masking_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 60)  # the fifth class has no images
    features = np.abs(rng.normal(size=(60, 7))).astype(np.float32)
    kernel, bias = rng.normal(size=(7, 5)), rng.normal(size=5)
    gate = rng.uniform(size=(5, 7))
    found = masking.mask_classes(features, labels, kernel, bias, gate, [1, 3], 0.8)
    removed = [max(gate[1, k], gate[3, k]) > 0.8 for k in range(7)]
    assert 0 < sum(removed) < 7
    before = loop_confusion(features, labels, kernel, bias, [False] * 7)
    after = loop_confusion(features, labels, kernel, bias, removed)
    np.testing.assert_array_equal(found.removed, removed)
    np.testing.assert_allclose(found.confusion_before, before)
    np.testing.assert_allclose(found.confusion_after, after)
    assert found.masked_loss == pytest.approx(np.mean([before[c, c] - after[c, c] for c in (1, 3)]))
    assert found.other_loss == pytest.approx(np.mean([before[c, c] - after[c, c] for c in (0, 2)]))


def test_masking_takes_the_gate_that_phi_solves():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = np.abs(rng.normal(size=(300, 6)) * 0.1 + 2 * np.eye(3).repeat(2, axis=1)[labels]).astype(np.float32)
    kernel, bias = 2 * np.eye(3).repeat(2, axis=1).T.astype(np.float32), np.zeros(3, np.float32)
    solved = metrics.phi(
        *(jnp.asarray(each) for each in (features, labels, kernel, bias)), sparsity_weight=0.1, sparsity_target=6.0
    )
    found = masking.mask_classes(features, labels, kernel, bias, solved.gate, [1], 0.5)
    assert found.removed.tolist() == [False, False, True, True, False, False]
    assert found.confusion_before.diagonal().tolist() == [1, 1, 1]
    assert found.masked_loss > 0.9
    assert found.other_loss == 0


def test_every_image_counts_once():
    rng = np.random.default_rng(1)
    features, labels = np.abs(rng.normal(size=(50, 4))), rng.integers(0, 3, 50)
    for size, threshold in itertools.product((1, 2, 3), (0.0, 0.5, 0.9)):
        found = masking.mask_classes(features, labels, KERNEL, BIAS, GATE, range(size), threshold)
        np.testing.assert_allclose(found.confusion_after.sum(axis=1), 1)
        assert found.images.sum() == 50
