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

    Raises ValueError on features of another shape, no image, or a ``count`` out of range.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not len(features) or count < 1:
        raise ValueError(f"features must be f32[N, K] with N > 0 and count at least 1, got {features.shape}, {count}")
    return np.argsort(-features, axis=0, kind="stable")[:count].T


def spotlight(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Returns images uint8[N, H, W, channels], each left bright where a filter's feature map f[N, H', W'] is high.

    Maps are enlarged bilinearly and divided by the largest value of them all; where they are 0 a fifth of the light is
    left. Raises ValueError where the shapes do not match.
    """
    images, maps = np.asarray(images), np.asarray(maps, np.float32)
    if images.ndim != 4 or maps.ndim != 3 or len(images) != len(maps):
        raise ValueError(
            f"images must be uint8[N, H, W, channels] and maps f[N, H', W'], got {images.shape}, {maps.shape}"
        )
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
    features, kernel, gate = (np.asarray(each, np.float64) for each in (features, kernel, gate))
    if features.ndim != 1 or kernel.shape != (features.size, len(gate)) or gate.shape != kernel.T.shape:
        shapes = ", ".join(str(list(each.shape)) for each in (features, kernel, gate))
        raise ValueError(f"features, kernel and gate must be f32[K], f32[K, C] and f32[C, K], got {shapes}")
    checks.finite("features", features)
    checks.finite("the classifier's kernel", kernel)
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
    kernel = np.asarray(kernel, np.float64)
    features, labels = checked(features, labels, kernel.shape[-1])
    if kernel.shape[:-1] != features.shape[1:]:
        raise ValueError(
            f"kernel must be f32[K, C] for features f32[N, K={features.shape[1]}], got {list(kernel.shape)}"
        )
    checks.finite("the classifier's kernel", kernel)
    of_class = labels == np.arange(kernel.shape[1])[:, None]
    contributions = group_means(features, of_class).T * kernel
    total = np.abs(contributions).sum(axis=0)
    return contributions / np.where(total > 0, total, 1)
