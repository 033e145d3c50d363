"""Phi against SciPy over every choice of maxima; mutual information against scikit-learn."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import digamma, logsumexp
from sklearn.feature_selection import mutual_info_classif

from lsg_jax import gates, machine, metrics
from lsg_jax.metrics import information

CLASSES, FILTERS, EXAMPLES = 3, 4, 60


def problem(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, EXAMPLES)
    features = np.abs(rng.normal(size=(EXAMPLES, FILTERS)))
    return features, labels, rng.normal(size=(FILTERS, CLASSES)), rng.normal(size=CLASSES)


def reference_cost(gate, features, labels, kernel, bias, weight, target):
    logits = (features * gate[labels]) @ kernel + bias
    entropy = np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels])
    return entropy + weight * abs(np.abs(gate).sum() - target)


def reference_minimum(maxima, *arguments):
    """With each column's maximum given, and a target no gate is below, the problem is smooth and convex."""
    free = np.ones((CLASSES, FILTERS), bool)
    free[maxima, np.arange(FILTERS)] = False

    def cost(entries):
        gate = np.ones((CLASSES, FILTERS))
        gate[free] = entries
        return reference_cost(gate, *arguments)

    found = minimize(cost, np.full(free.sum(), 0.5), bounds=[(0, 1)] * free.sum(), options={"ftol": 1e-14})
    return found.fun


def test_phi_of_a_network_without_activation_is_the_bias_cross_entropy():
    _, labels, kernel, bias = problem(0)
    arrays = map(jnp.asarray, (np.zeros((EXAMPLES, FILTERS), np.float32), labels, kernel, bias))
    found = metrics.phi(*arrays, sparsity_weight=0.1, sparsity_target=FILTERS)
    expected = logsumexp(bias) - np.mean(bias[labels])
    assert float(found.value) == pytest.approx(expected, rel=1e-4)
    assert float(found.density) == pytest.approx(1 / CLASSES, rel=1e-3)


def test_phi_by_training_takes_algorithm_1s_steps():
    features, labels, kernel, bias = problem(3)
    gate, key, batch, rate, weight = np.ones((CLASSES, FILTERS)), jax.random.key(5), 16, 0.3, 0.05
    target = 1.25 * FILTERS  # of the updates, and FILTERS that of the objective
    for index in range(25):
        chosen = np.asarray(jax.random.randint(jax.random.fold_in(key, index), (batch,), 0, EXAMPLES))
        a, y = features[chosen], labels[chosen]
        logits = (a * gate[y]) @ kernel + bias
        error = np.exp(logits - logsumexp(logits, axis=1, keepdims=True)) - np.eye(CLASSES)[y]
        gradient = np.full_like(gate, weight * np.sign(gate.sum() - target)) * (gate > 0)
        np.add.at(gradient, y, a * (error @ kernel.T) / batch)
        gate -= rate * gradient
        gate = np.clip(gate / np.abs(gate).max(axis=0), 0, 1)
    found = metrics.phi_by_training(
        *map(jnp.asarray, (features, labels, kernel, bias)),
        key,
        sparsity_weight=0.02,
        sparsity_target=FILTERS,
        training_weight=weight,
        training_target=target,
        learning_rate=rate,
        batch_size=batch,
        steps=25,
    )
    assert 0.3 < float(found.density) < 0.95
    np.testing.assert_allclose(found.gate, gate, atol=1e-5)
    expected = reference_cost(gate, features, labels, kernel, bias, 0.02, FILTERS)
    assert float(found.value) == pytest.approx(expected, rel=1e-5)
    converged = metrics.phi(
        *map(jnp.asarray, (features, labels, kernel, bias)), sparsity_weight=0.02, sparsity_target=FILTERS
    )
    assert float(converged.value) < float(found.value)
    assert float(found.residual) > 10 * float(converged.residual)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("seed", [0, 1])
def test_phi_finds_the_minimum_that_scipy_finds(seed, weight):
    arguments = *problem(seed), weight, float(FILTERS)
    features, labels, kernel, bias = (jnp.asarray(a) for a in arguments[:4])
    rng = np.random.default_rng(seed)
    found = [
        metrics.phi(features, labels, kernel, bias, sparsity_weight=weight, sparsity_target=FILTERS, gate=start)
        for start in (None, *(jnp.asarray(rng.uniform(size=(CLASSES, FILTERS))) for _ in range(20)))
    ]
    for each in found:
        gate = np.asarray(each.gate, np.float64)
        assert (gate.max(axis=0) == 1).all()
        assert (gate >= 0).all()
        assert float(each.residual) <= 1e-5
        assert float(each.value) == pytest.approx(reference_cost(gate, *arguments), abs=1e-6)
        assert float(each.value) == pytest.approx(reference_minimum(gate.argmax(axis=0), *arguments), abs=1e-5)
        assert float(each.density) == pytest.approx(gate.mean(), abs=1e-6)
    best = min(
        reference_minimum(np.array(maxima), *arguments) for maxima in itertools.product(range(CLASSES), repeat=FILTERS)
    )
    assert min(float(each.value) for each in found) == pytest.approx(best, abs=1e-5)


def test_phi_meets_a_dense_target():
    features, labels, kernel, bias = (jnp.asarray(a) for a in problem(0))
    found = metrics.phi(features, labels, kernel, bias, sparsity_weight=10.0, sparsity_target=7.5)
    assert float(jnp.sum(found.gate)) == pytest.approx(7.5, abs=1e-4)
    assert float(found.density) == pytest.approx(float(gates.density(found.gate)))


@pytest.mark.parametrize("relu", [False, True])
def test_mutual_information_equals_scikit_learns(relu):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    features = rng.normal(size=(2000, 5)) + (np.arange(5) == labels[:, None])
    if relu:
        features = np.maximum(features, 0)
    expected = np.stack([mutual_info_classif(features, labels == c, random_state=0) for c in range(4)], axis=1)
    found = metrics.mutual_information(features, labels)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert metrics.mutual_information_score(features, labels) == pytest.approx(found.max(axis=1).mean())


@pytest.mark.parametrize("neighbors", [1, 3])
def test_mutual_information_counts_ties_as_scikit_learn_does(neighbors):
    labels = np.random.default_rng(0).integers(0, 2, 20_000)
    features = np.ones((len(labels), 1))  # so many that the noise, of some hundred thousand values, leaves ties
    expected = mutual_info_classif(features, labels, n_neighbors=neighbors, random_state=0)
    found = metrics.mutual_information(features, labels, neighbors)
    np.testing.assert_allclose(found, [2 * [expected[0]]], atol=1e-12)


def test_mutual_information_takes_the_cores_that_the_process_may_use(monkeypatch):
    threads = []
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setattr(
        information, "ThreadPoolExecutor", lambda count: threads.append(count) or ThreadPoolExecutor(count)
    )
    features, labels, *_ = problem(0)
    metrics.mutual_information(features, labels)
    assert threads == [3]


def test_images_that_are_each_alone_in_their_class_tell_nothing():
    np.testing.assert_array_equal(metrics.mutual_information(np.array([[0.0], [1.0]]), np.array([0, 1])), 0)


def brute_force_information(values, member, k=3):
    """Ross (2014), section "Methods", with every distance written out; an example alone in its group is left out."""
    alone = np.array([np.sum(member == own) == 1 for own in member])
    values, member = values[~alone], member[~alone]
    distance = np.abs(values[:, None] - values)
    within, logs = [], []
    for i, own in enumerate(member):
        nearest = np.sort(distance[i][member == own])  # the first is itself
        neighbors = min(k, len(nearest) - 1)
        within.append(digamma(np.sum(distance[i] < nearest[neighbors])))
        logs.append(digamma(neighbors) - digamma(len(nearest)))
    return max(0, digamma(len(values)) + np.mean(logs) - np.mean(within))


def test_mutual_information_of_rare_classes_and_dead_filters():
    rng = np.random.default_rng(1)
    labels = np.array([0] * 30 + [1] * 12 + [2] * 2 + [3])
    features = np.stack([rng.normal(size=45) + labels, np.zeros(45), rng.uniform(size=45)], axis=1)
    found = metrics.mutual_information(features, labels)
    for filter_index, label in itertools.product((0, 2), range(4)):
        expected = brute_force_information(features[:, filter_index], labels == label)
        assert found[filter_index, label] == pytest.approx(expected, abs=1e-9)
    assert np.isfinite(found).all()
