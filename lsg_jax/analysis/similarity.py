"""How the features of each class point towards each row of the gate (section 4.2, Figure 5, appendix B)."""

import math
from typing import NamedTuple

import numpy as np

from lsg_jax import checks
from lsg_jax.metrics.examples import checked, group_means


class Similarity(NamedTuple):
    """The similarity of some images' features to the rows of a gate.

    Attributes:
      matrix: f64[C, C], S_y^c in row y (the class of the images) and column c (the gate's row); a row of zeros for a
        class without such images.
      images: i64[C], how many of them each class has.
    """

    matrix: np.ndarray
    images: np.ndarray


class Similarities(NamedTuple):
    """``Similarity`` of the images that are classified correctly, and of the others."""

    true_positives: Similarity
    false_negatives: Similarity


class Dominance(NamedTuple):
    """How far a similarity matrix is diagonal, over the classes that have images; NaN where none has.

    Attributes:
      share: the share of a row's sum that is on the diagonal, S_y^y / sum_c S_y^c, averaged over the classes; 1 for a
        diagonal matrix, 1 / C for a constant one. A row whose sum is 0 counts as 0.
      largest: the share of the classes whose entry on the diagonal is larger than every other in its row.
    """

    share: float
    largest: float


class ConfusedPairs(NamedTuple):
    """Pairs of classes by how often one is taken for the other, most often first.

    Attributes:
      classes: i64[P, 2], the pairs with at least one such image, the lower class first; pairs that are confused
        equally often are in the order of their classes.
      images: i64[P], the images of either class that are classified as the other.
    """

    classes: np.ndarray
    images: np.ndarray


def similarities(features: np.ndarray, labels: np.ndarray, predicted: np.ndarray, gate: np.ndarray) -> Similarities:
    """Measures the similarity over the true positives and over the false negatives of each class.

        S[y, c] = mean of a^T G_c over the images (a, y)

    An image of class y is a true positive where ``predicted`` is y, else a false negative. The entries are in the units
    of the features, so networks are compared by ``dominance``, not entry by entry.

    Args:
      features: pooled features f, f32[N, K].
      labels: y, i[N].
      predicted: the classes that the network gives, i[N].
      gate: G, f32[C, K].

    Raises ValueError where shapes do not match, a label or a prediction is no class, or a feature or an entry of the
    gate is not finite.
    """
    features, labels = checked(features, labels)
    gate, predicted = checks.float64("a gate", gate, "C", features.shape[1]), np.asarray(predicted)
    checks.class_labels(labels, len(gate))
    checks.class_labels(predicted, len(gate), len(labels), name="predicted classes")
    members = labels == np.arange(len(gate))[:, None]
    correct = predicted == labels
    return Similarities(
        *(
            Similarity(group_means(features, group) @ gate.T, group.sum(axis=1))
            for group in (members & correct, members & ~correct)
        )
    )


def dominance(similarity: Similarity) -> Dominance:
    """Tells how far a similarity matrix is diagonal.

    Raises ValueError where it is none, or an entry is not finite or negative, as after a ReLU none is.
    """
    matrix, shares = _own_shares(similarity)
    present = ~np.isnan(shares)
    if not present.any():
        return Dominance(math.nan, math.nan)
    others = np.where(np.eye(len(matrix), dtype=bool), -np.inf, matrix).max(axis=1)
    return Dominance(float(shares[present].mean()), float(np.mean((matrix.diagonal() > others)[present])))


def dominance_gap(found: Similarities) -> float:
    """Tells how much more of a row's sum is on the diagonal of the true positives than of the false negatives.

    It is the difference of their shares as of ``Dominance``, over the classes that have images of both kinds; NaN where
    none has. Raises ValueError as ``dominance`` does.
    """
    checks.instance("what is measured", found, Similarities)
    shares = np.stack([_own_shares(each)[1] for each in found])
    both = ~np.isnan(shares).any(axis=0)
    if not both.any():
        return math.nan
    true_positives, false_negatives = shares[:, both].mean(axis=1)
    return float(true_positives - false_negatives)


def _own_shares(similarity: Similarity) -> tuple[np.ndarray, np.ndarray]:
    """Returns the matrix, and each class's share on the diagonal of its row, f64[C], NaN of one without images."""
    checks.instance("what is measured", similarity, Similarity)
    matrix = checks.float64("similarities", similarity.matrix, "C", "C")
    images = checks.float64("numbers of images", similarity.images, len(matrix))
    if matrix.min() < 0:
        raise ValueError(f"similarities must be at least 0, got {matrix.min()}")
    sums = matrix.sum(axis=1)
    return matrix, np.where(images > 0, matrix.diagonal() / np.where(sums > 0, sums, 1), np.nan)


def confusion_agreement(false_negatives: Similarity, labels: np.ndarray, predicted: np.ndarray) -> float:
    """Tells how often false negatives resemble the class that they are taken for, as where classes share features.

    It is the share of the classes with false negatives, of which, of all rows of the gate but its own, the most similar
    is that of the class that most of them are taken for; chance is 1 / (C - 1). NaN where no class has any.

    Args:
      false_negatives: of ``similarities``.
      labels: i[N], as those were given.
      predicted: i[N], likewise.

    Raises ValueError where they are not as many, or one is no class.
    """
    checks.instance("what is measured", false_negatives, Similarity)
    matrix = checks.float64("similarities", false_negatives.matrix, "C", "C")
    counts = _taken_for(labels, predicted, len(matrix))
    own = np.eye(len(matrix), dtype=bool)
    present = np.where(own, 0, counts).any(axis=1)
    if not present.any():
        return math.nan
    resembled, taken_for = (np.where(own, -np.inf, each).argmax(axis=1)[present] for each in (matrix, counts))
    return float(np.mean(resembled == taken_for))


def confused_pairs(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> ConfusedPairs:
    """Counts how often each two of C classes are taken for each other, from i[N] labels and i[N] predictions.

    Raises ValueError where they are not as many, or one is no class.
    """
    checks.whole("num_classes", num_classes, 1)
    counts = _taken_for(labels, predicted, num_classes)
    first, second = np.triu_indices(num_classes, k=1)
    images = counts[first, second] + counts[second, first]
    order = np.argsort(-images, kind="stable")[: np.count_nonzero(images)]
    return ConfusedPairs(np.stack([first, second], axis=1)[order], images[order])


def _taken_for(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns how many images of each class (row) are classified as each (column), i64[C, C]."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    checks.class_labels(labels, num_classes, "N")
    checks.class_labels(predicted, num_classes, len(labels), name="predicted classes")
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts
