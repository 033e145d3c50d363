"""Clusters of the features beside the gate's rows (appendix D, Figure 9)."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, confusion_matrix
from threadpoolctl import threadpool_limits

from lsg_jax import checks
from lsg_jax.metrics.examples import checked


class Clusters(NamedTuple):
    """As many clusters as classes, each matched to one.

    Attributes:
      centers: f64[C, K], the centre of the cluster matched to each class, in the features' units.
      own_similarity: the mean over classes of the cosine similarity of the class's centre and its own gate row.
      other_similarity: the mean cosine similarity of the centres and the rows of the other classes.
      adjusted_rand_index: of the clusters and the labels; 1 where they are the same partition, about 0 by chance.
    """

    centers: np.ndarray
    own_similarity: float
    other_similarity: float
    adjusted_rand_index: float


def cluster(
    features: np.ndarray, labels: np.ndarray, gate: np.ndarray, *, repeats: int = 10, seed: int = 0
) -> Clusters:
    """Clusters the features by k-means and compares the centres with the rows of the gate.

    The clusters see no labels. They are matched to classes so that as many images as possible are in the cluster of
    their own class (Hungarian method), and only then compared. The similarity of a row or a centre that is all zero is
    0 with everything.

    Args:
      features: pooled features, f32[N, K], with N >= C.
      labels: i[N].
      gate: f32[C, K], C >= 2; the fixed gate in the paper.
      repeats: k-means starts so many times (k-means++) and the best result is kept.
      seed: of the starts.

    Raises ValueError where shapes do not match, a label is no class, a feature or an entry of the gate is not finite,
    there are fewer images than classes, or ``repeats`` or ``seed`` is out of its range.
    """
    features, labels = checked(features, labels)
    gate = checks.float64("a gate", gate, "C", features.shape[1])
    num_classes = len(gate)
    if not 2 <= num_classes <= len(features):
        raise ValueError(f"the gate must have from 2 to N={len(features)} classes, got {num_classes}")
    checks.class_labels(labels, num_classes)
    checks.whole("repeats", repeats, 1)
    checks.whole("seed", seed, 0, 2**32 - 1)
    with threadpool_limits(1):  # several gain little, and where a core is busy they wait for one another in a spin
        found = KMeans(num_classes, n_init=repeats, random_state=seed).fit(features)
    shared = confusion_matrix(labels, found.labels_, labels=np.arange(num_classes))
    _, matched = linear_sum_assignment(shared, maximize=True)
    centers = found.cluster_centers_[matched]
    cosines = unit_rows(centers) @ unit_rows(gate).T
    own = cosines.trace()
    return Clusters(
        centers,
        float(own / num_classes),
        float((cosines.sum() - own) / (num_classes * (num_classes - 1))),
        float(adjusted_rand_score(labels, found.labels_)),
    )


def unit_rows(matrix: np.ndarray) -> np.ndarray:
    """Returns f[N, K] with each row divided by its length; a row of zeros stays.

    Raises ValueError where it is no matrix, or a number is not finite.
    """
    checks.array("a matrix", matrix, np.floating, "N", "K")
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1)
