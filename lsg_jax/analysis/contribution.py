"""What each filter contributes to the logits, by class: the STD path's logits are sums over filters."""

import numpy as np

from lsg_jax.metrics.examples import checked, group_means


def logit_shares(features: np.ndarray, labels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns each filter's share in the logit of a class, for images of that class, f64[K, C] in [-1, 1].

    Filter k adds a_k W[k, c] to the logit of class c, on average over the images of class c. Its share is that divided
    by the sum over all filters of its absolute value: the shares' magnitudes sum to 1 for each class, and a filter that
    speaks against the class has a negative one. A class without images, or without any activation, has shares of 0.

    Args:
      features: pooled features, f32[N, K].
      labels: i[N].
      kernel: the classifier's, f32[K, C].

    Raises ValueError where the shapes do not match or a label is no class.
    """
    kernel = np.asarray(kernel, np.float64)
    features, labels = checked(features, labels, kernel.shape[-1])
    if kernel.shape[:-1] != features.shape[1:]:
        raise ValueError(
            f"kernel must be f32[K, C] for features f32[N, K={features.shape[1]}], got {list(kernel.shape)}"
        )
    of_class = labels == np.arange(kernel.shape[1])[:, None]
    contributions = group_means(features, of_class).T * kernel
    total = np.abs(contributions).sum(axis=0)
    return contributions / np.where(total > 0, total, 1)
