"""How alike the filters of the last convolution are, and those of different classes (section 4.4)."""

import numpy as np

from lsg_jax import checks
from lsg_jax.metrics.examples import checked, group_means


def filter_correlation(kernel: np.ndarray) -> np.ndarray:
    """Returns the correlation matrix of filters, f64[K, K] with entries in [-1, 1] (section 4.4, Figure 7).

        C[k, k'] = <w_k / |w_k|, w_k' / |w_k'|>

    A filter whose weights are all zero has a row and a column of zeros, the diagonal's entry too.

    Args:
      kernel: w, of the last convolution, f32[h, w, I, K].

    Raises ValueError on another shape, or a weight that is not finite.
    """
    kernel = checks.float64("a convolution's kernel", kernel, "h", "w", "I", "K")
    weights = kernel.reshape(-1, kernel.shape[-1])
    norms = np.linalg.norm(weights, axis=0)
    units = weights / np.where(norms > 0, norms, 1)
    return np.clip(units.T @ units, -1, 1)


def inter_class_correlation(
    correlation: np.ndarray, features: np.ndarray, labels: np.ndarray, filters_per_class: int
) -> float:
    """Returns C_IC, the mean correlation of filters in different classes' groups (section 4.4, Table 2).

        C_IC = sum over c, c' != c, k in A_c, k' in A_c' of C[k, k'] / (C (C - 1) m^2)

    A_c holds the m filters with the highest mean activation over the images of class c, the first where several are
    equal. Groups may share filters; such a filter's correlation with itself counts, as the formula says. C counts the
    classes that have images.

    Args:
      correlation: of the filters, f[K, K].
      features: pooled features, f32[N, K].
      labels: i[N].
      filters_per_class: m, in [1, K]; the paper's is 6 for ResNet-20 and 25 for AlexNet.

    Raises ValueError where shapes do not match, a number is not finite, m is out of range, or fewer than 2 classes have
    images.
    """
    features, labels = checked(features, labels)
    num_filters, classes = features.shape[1], np.unique(labels)
    correlation = checks.float64("the correlation matrix", correlation, num_filters, num_filters)
    if len(classes) < 2:
        raise ValueError(f"images of at least 2 classes are needed, got {len(classes)}")
    checks.whole("filters_per_class", filters_per_class, 1, num_filters)
    means = group_means(features, labels == classes[:, None])
    groups = np.argsort(-means, axis=1, kind="stable")[:, :filters_per_class]
    chosen = np.zeros_like(means)
    np.put_along_axis(chosen, groups, 1, axis=1)
    pairs = chosen @ correlation @ chosen.T
    between = pairs.sum() - pairs.trace()
    return float(between / (len(classes) * (len(classes) - 1) * filters_per_class**2))
