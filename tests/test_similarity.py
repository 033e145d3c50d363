"""The similarity of features and gate rows, against loops and hand-computed cases."""

import math
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsg_jax.analysis import similarity
from lsg_jax.analysis.similarity import Similarity


def loop_similarity(features, labels, gate, chosen):
    found = np.zeros((len(gate), len(gate)))
    for y, c in np.ndindex(found.shape):
        products = [
            sum(float(a[k]) * float(gate[c, k]) for k in range(len(a)))
            for a, label, wanted in zip(features, labels, chosen, strict=True)
            if wanted and label == y
        ]
        found[y, c] = sum(products) / len(products) if products else 0
    return found


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_similarities_equal_a_loop(seed, count):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 4, (2, count))
    features = np.abs(rng.normal(size=(count, 5))).astype(np.float32)
    gate = rng.uniform(size=(4, 5)).astype(np.float32)
    found = similarity.similarities(jnp.asarray(features), jnp.asarray(labels), jnp.asarray(predicted), gate)
    for each, chosen in zip(found, (labels == predicted, labels != predicted), strict=True):
        np.testing.assert_allclose(each.matrix, loop_similarity(features, labels, gate, chosen), rtol=1e-12)
        np.testing.assert_array_equal(each.images, [np.sum(chosen & (labels == y)) for y in range(4)])


def test_similarities_by_hand():
    gate = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    features = np.array([[4, 0, 0], [2, 0, 2], [1, 3, 0]])
    found = similarity.similarities(features, np.array([0, 0, 0]), np.array([0, 0, 1]), gate)
    np.testing.assert_allclose(found.true_positives.matrix, [[3.5, 0.5], [0, 0]])
    np.testing.assert_allclose(found.false_negatives.matrix, [[1, 3], [0, 0]])
    assert found.true_positives.images.tolist() == [2, 0]
    assert found.false_negatives.images.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("matrix", "images", "share", "largest"),
    [
        (np.diag([2.0, 3.0, 0.5]), [1, 1, 1], 1, 1),
        (np.ones((4, 4)), [1, 2, 3, 4], 1 / 4, 0),
        ([[3, 1, 0], [2, 1, 1], [0, 0, 0]], [9, 1, 0], (3 / 4 + 1 / 4) / 2, 1 / 2),
        ([[3, 1, 0], [1, 2, 1], [0, 0, 0]], [9, 1, 5], (3 / 4 + 2 / 4 + 0) / 3, 2 / 3),
    ],
)
def test_dominance_by_hand(matrix, images, share, largest):
    found = similarity.dominance(Similarity(np.array(matrix, float), np.array(images)))
    assert found == pytest.approx((share, largest))


def test_dominance_of_no_images_is_not_a_number():
    found = similarity.dominance(Similarity(np.zeros((3, 3)), np.zeros(3, int)))
    assert math.isnan(found.share)
    assert math.isnan(found.largest)


def test_the_gap_is_over_the_classes_that_have_images_of_both_kinds():
    true_positives = Similarity(np.array([[3, 1, 0], [0, 9, 0], [1, 1, 2]], float), np.array([4, 5, 6]))
    false_negatives = Similarity(np.array([[1, 3, 0], [0, 0, 0], [4, 0, 0]], float), np.array([1, 0, 2]))
    found = similarity.dominance_gap(similarity.Similarities(true_positives, false_negatives))
    assert found == pytest.approx(((3 / 4 - 1 / 4) + (2 / 4 - 0)) / 2)
    none = false_negatives._replace(images=np.zeros(3, int))
    assert math.isnan(similarity.dominance_gap(similarity.Similarities(true_positives, none)))


def test_confusion_agreement_by_hand():
    labels, predicted = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3]), np.array([1, 1, 2, 0, 1, 3, 3, 3, 3])
    matrix = np.array([[9, 3, 2, 1], [1, 0, 2, 0], [7, 6, 9, 8], [0, 0, 0, 0]], float)
    # Class 0 is mostly taken for 1, which it resembles most after itself, and 2 for 3; class 1 is taken for 0 and
    # resembles 2; class 3 has no false negatives.
    found = Similarity(matrix, np.array([3, 1, 2, 0]))
    assert similarity.confusion_agreement(found, labels, predicted) == pytest.approx(2 / 3)
    assert math.isnan(similarity.confusion_agreement(found, labels, labels))


def test_confused_pairs_by_hand():
    labels = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 0])
    predicted = np.array([0, 3, 1, 0, 0, 3, 1, 1, 2, 2])
    found = similarity.confused_pairs(labels, predicted, 5)
    assert found.classes.tolist() == [[0, 2], [1, 3], [2, 3]]
    assert found.images.tolist() == [3, 3, 2]
    assert similarity.confused_pairs(labels, labels, 5).classes.shape == (0, 2)


def test_confused_pairs_equal_a_count():
    labels, predicted = np.random.default_rng(0).integers(0, 6, (2, 500))
    expected = Counter(tuple(sorted(pair)) for pair in zip(labels.tolist(), predicted.tolist(), strict=True))
    found = similarity.confused_pairs(labels, predicted, 6)
    assert len(found.images) == 15
    assert (np.diff(found.images) <= 0).all()
    for pair, images in zip(found.classes.tolist(), found.images, strict=True):
        assert images == expected[tuple(pair)]
