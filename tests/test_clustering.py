"""Clusters matched to classes, against every permutation, closed forms and hand-computed cases."""

import itertools

import numpy as np
import pytest
from scipy.special import comb

from lsg_jax import gates
from lsg_jax.analysis.clustering import cluster


def blobs(centers, counts, spread, seed=0):
    rng = np.random.default_rng(seed)
    members = np.repeat(np.arange(len(centers)), counts)
    return (centers[members] + spread * rng.normal(size=(len(members), centers.shape[1]))).astype(np.float32), members


def cosine(a, b):
    lengths = np.sqrt(sum(a * a) * sum(b * b))
    return sum(a * b) / lengths if lengths else 0.0


def pair_counting_index(labels, members):
    """The adjusted Rand index (Hubert and Arabie, 1985) by its definition."""
    table = np.array([[np.sum((labels == y) & (members == m)) for m in set(members)] for y in set(labels)])
    together, by_label, by_member = comb(table, 2).sum(), comb(table.sum(1), 2).sum(), comb(table.sum(0), 2).sum()
    expected = by_label * by_member / comb(len(labels), 2)
    return (together - expected) / ((by_label + by_member) / 2 - expected)


def test_clusters_find_the_fixed_gate_again():
    gate = np.asarray(gates.fixed(10, 6, 4))
    features, labels = blobs(3 * gate, [20] * 10, 0.01)
    shuffle = np.random.default_rng(1).permutation(200)
    found = cluster(features[shuffle], labels[shuffle], gate)
    expected = [features[labels == y].mean(axis=0) for y in range(10)]
    np.testing.assert_allclose(found.centers, expected, atol=1e-5)
    assert found.own_similarity == pytest.approx(1, abs=1e-4)
    assert found.other_similarity == pytest.approx(4 / 10, abs=1e-2)  # two rows share 4 of their 10 filters
    assert found.adjusted_rand_index == 1


def test_clusters_are_matched_to_share_the_most_images():
    # Three distant blobs; the labels cut across them, so that the most frequent label of each is not a matching.
    spots = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 1.0]])
    features, members = blobs(spots, [12, 10, 9], 0.01)
    labels = np.array([0] * 7 + [1] * 5 + [0] * 6 + [1] * 1 + [2] * 3 + [0] * 5 + [2] * 4)
    gate = np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    agreement = {
        order: sum(labels[n] == order[members[n]] for n in range(len(labels)))
        for order in itertools.permutations(range(3))
    }
    best = max(agreement, key=agreement.get)
    assert sorted(agreement.values())[-2] < agreement[best]
    found = cluster(features, labels, gate)
    means = [features[members == best.index(y)].mean(axis=0) for y in range(3)]
    np.testing.assert_allclose(found.centers, means, atol=1e-5)
    cosines = np.array([[cosine(mean, row) for row in gate] for mean in means])
    assert found.own_similarity == pytest.approx(np.mean([cosines[y, y] for y in range(3)]), abs=1e-6)
    others = [cosines[y, c] for y in range(3) for c in range(3) if y != c]
    assert found.other_similarity == pytest.approx(np.mean(others), abs=1e-6)
    assert found.adjusted_rand_index == pytest.approx(pair_counting_index(labels, members), abs=1e-12)


def test_clusters_are_the_same_for_the_same_seed():
    rng = np.random.default_rng(0)
    features, labels, gate = rng.uniform(size=(60, 5)), rng.integers(0, 4, 60), rng.uniform(size=(4, 5))
    first, second = (cluster(features, labels, gate, repeats=1, seed=3) for _ in range(2))
    np.testing.assert_allclose(first.centers, second.centers, rtol=1e-9)
    assert any(
        not np.allclose(cluster(features, labels, gate, repeats=1, seed=s).centers, first.centers) for s in range(3)
    )


def test_more_starts_find_tighter_clusters():
    rng = np.random.default_rng(2)
    features, labels, gate = rng.uniform(size=(200, 2)), rng.integers(0, 15, 200), rng.uniform(size=(15, 2))

    def inertia(repeats):
        centers = cluster(features, labels, gate, repeats=repeats).centers
        return sum(min(sum((a - center) ** 2) for center in centers) for a in features)

    assert inertia(30) < inertia(1)
