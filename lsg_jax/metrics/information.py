"""The mutual information score: how much a filter's pooled activation tells about a class."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import digamma

from lsg_jax import checks, machine
from lsg_jax.metrics.examples import checked


def mutual_information(features: np.ndarray, labels: np.ndarray, neighbors: int = 3, seed: int = 0) -> np.ndarray:
    """Returns the mutual information, nats, between each filter's activation and "is this class".

    The estimator is scikit-learn's ``mutual_info_classif`` (Ross, 2014; k nearest neighbours of a continuous and a
    discrete variable), its scaling and its noise (which breaks ties) included, draw for draw. In one dimension
    neighbours are found by sorting.

    Args:
      features: pooled features, [N, K].
      labels: integers in [0, C), [N]; C is the largest plus one.
      neighbors: of each example within its own class; fewer in a class that has no more examples.
      seed: of the noise, 1e-10 of a filter's scale.

    Returns:
      float64[K, C].

    Raises:
      ValueError: where shapes do not match, there are not two examples, a feature is not finite, a label or ``seed`` is
        not a whole number of at least 0, or ``neighbors`` of at least 1.
    """
    features, labels = checked(features, labels)
    if len(labels) < 2:
        raise ValueError(f"at least 2 images are needed, got {len(labels)}")
    checks.whole("neighbors", neighbors, 1)
    checks.whole("seed", seed, 0, 2**32 - 1)
    spread = features.std(axis=0)
    scaled = features / np.where(spread > 0, spread, 1)
    noise = np.random.RandomState(seed).standard_normal(scaled.shape)
    scaled += 1e-10 * np.maximum(1, np.abs(scaled).mean(axis=0)) * noise
    psi = np.concatenate([[np.nan], digamma(np.arange(1, len(labels) + 1))])
    classes = np.arange(labels.max() + 1)

    def one_filter(values):
        order = np.argsort(values)
        values, sorted_labels = values[order], labels[order]
        return [_binary_information(values, sorted_labels == each, neighbors, psi) for each in classes]

    with ThreadPoolExecutor(machine.cores()) as pool:
        return np.maximum(0, np.array(list(pool.map(one_filter, scaled.T))))


def mutual_information_score(features: np.ndarray, labels: np.ndarray, neighbors: int = 3) -> float:
    """Returns the mean over filters of the largest mutual information over classes, nats.

    Arguments and errors are those of ``mutual_information``; the noise has seed 0.
    """
    return float(mutual_information(features, labels, neighbors).max(axis=1).mean())


def _binary_information(values: np.ndarray, member: np.ndarray, neighbors: int, psi: np.ndarray) -> float:
    """Ross's estimator for sorted ``values`` and a two-valued label; a value with a label of its own is left out."""
    total, count = 0.0, 0
    groups = [group for group in (values[member], values[~member]) if len(group) > 1]
    if not groups:
        return 0.0
    everything = values if len(groups) == 2 or len(groups[0]) == len(values) else groups[0]
    for group in groups:
        k = min(neighbors, len(group) - 1)
        radius = _kth_distance(group, k)
        nearer = np.nextafter(radius, 0)  # than the k-th neighbour; equal values count where that one is equal too
        # The bounds are rounded and leave none out: the distances decide which of the outermost are too far.
        first = np.searchsorted(everything, group - radius, "left")
        while (far := group - everything[first] > nearer).any():
            first += far
        last = np.searchsorted(everything, group + radius, "right")
        while (far := everything[last - 1] - group > nearer).any():
            last -= far
        total += len(group) * (psi[k] - psi[len(group)]) - psi[last - first].sum()
        count += len(group)
    return psi[count] + total / count


def _kth_distance(values: np.ndarray, k: int) -> np.ndarray:
    """Returns each sorted value's distance to its k-th nearest other one."""
    padded = np.concatenate([np.full(k, -np.inf), values, np.full(k, np.inf)])
    n = len(values)
    windows = [np.maximum(values - padded[i : i + n], padded[i + k : i + k + n] - values) for i in range(k + 1)]
    return np.minimum.reduce(windows)
