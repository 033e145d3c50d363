"""Single filters: the images they answer to, and what they add to the logits, which are sums over filters."""

import jax
import jax.numpy as jnp
import numpy as np

from lsg_jax import checks, gates
from lsg_jax.metrics.examples import checked, group_means


def top_images(features: np.ndarray, count: int) -> np.ndarray:
    """Returns the images with each filter's largest pooled activations, the largest first, i64[K, min(count, N)].

    Args:
      features: pooled features, f32[N, K].
      count: at least 1.

    Raises ValueError on features of another shape, no image, a feature that is not finite, or a ``count`` out of range.
    """
    features = checks.float64("features", features, "N", "K")
    checks.whole("count", count, 1)
    return np.argsort(-features, axis=0, kind="stable")[:count].T


def spotlight(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Returns images uint8[N, H, W, channels], each left bright where a filter's feature map f[N, H', W'] is high.

    Maps are enlarged bilinearly and divided by the largest value of them all; where they are 0 a fifth of the light is
    left, and what is below 0 counts as 0. Raises ValueError where shapes or types do not match, or a number is not
    finite.
    """
    images = np.asarray(images)
    checks.array("images", images, jnp.uint8, "N", "H", "W", "channels")
    maps = np.maximum(checks.float64("maps", maps, len(images), "H'", "W'"), 0).astype(np.float32)
    enlarged = np.asarray(jax.image.resize(maps, (len(maps), *images.shape[1:3]), "bilinear"))
    light = 0.2 + 0.8 * np.clip(enlarged / (maps.max() or 1), 0, 1)
    return np.round(images * light[..., None]).astype(np.uint8)


def evidence(features: np.ndarray, kernel: np.ndarray, gate: np.ndarray, threshold: float) -> np.ndarray:
    """Returns what the filters of each class (row) add to each logit (column) for one image, f64[C + 1, C].

    A filter is of the class that holds it alone, G[c, k] >= ``threshold`` (``gates.ownership``). The last row is that
    of all other filters, so that the rows sum to the logits less the bias.

    Args:
      features: pooled features of the image, f32[K].
      kernel: the classifier's, f32[K, C].
      gate: f32[C, K].
      threshold: in (0, 1].

    Raises ValueError where shapes do not match, a number is not finite, or ``threshold`` is out of range.
    """
    features = checks.float64("features", features, "K")
    kernel = checks.float64("the classifier's kernel", kernel, len(features), "C")
    gate = checks.float64("a gate", gate, *kernel.T.shape)
    alone = np.asarray(gates.ownership(jnp.asarray(gate), threshold).alone)
    owners = np.concatenate([alone, ~alone.any(axis=0, keepdims=True)])
    return (owners * features) @ kernel


def logit_shares(features: np.ndarray, labels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns each filter's share in the logit of a class, for images of that class, f64[K, C] in [-1, 1].

    Filter k adds a_k W[k, c] to the logit of class c, on average over the images of class c. Its share is that divided
    by the sum over all filters of its absolute value: the shares' magnitudes sum to 1 for each class, and a filter that
    speaks against the class has a negative one. A class without images, or without any activation, has shares of 0.

    Args:
      features: pooled features, f32[N, K].
      labels: i[N].
      kernel: the classifier's, f32[K, C].

    Raises ValueError where the shapes do not match, a label is no class, or a number is not finite.
    """
    features, labels = checked(features, labels)
    kernel = checks.float64("the classifier's kernel", kernel, features.shape[1], "C")
    checks.class_labels(labels, kernel.shape[1])
    of_class = labels == np.arange(kernel.shape[1])[:, None]
    contributions = group_means(features, of_class).T * kernel
    total = np.abs(contributions).sum(axis=0)
    return contributions / np.where(total > 0, total, 1)
