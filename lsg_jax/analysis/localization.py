"""Class activation maps (section 4.3, Figure 6) and two measures of them that need no boxes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lsg_jax import checks
from lsg_jax.analysis.classifier import as_pytree, correct, num_classes


class Curves(NamedTuple):
    """Probability of the class while pixels are removed or inserted in the order of a map.

    Attributes:
      shares: f64[S + 1], the share of pixels removed or inserted, from 0 to 1.
      deletion: f32[N, S + 1], the probability with that share removed.
      insertion: f32[N, S + 1], with that share inserted.
      deletion_area: f64[N], the area under the deletion curve by the trapezoidal rule; less is better.
      insertion_area: f64[N], under the insertion curve; more is better.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    deletion_area: np.ndarray
    insertion_area: np.ndarray


def class_activation_maps(
    feature_maps: jax.Array, kernel: jax.Array, classes: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """Returns each image's class activation map (Zhou et al., 2016), f32[N, H, W].

        M_c(x, y) = sum over k of w[k, c] f_k(x, y)

    As there, the classifier's bias is left out and negative values stay; before it is enlarged, a map's mean plus the
    bias is the class's logit.

    Args:
      feature_maps: f of the last convolution, f32[N, H', W', K].
      kernel: w of the classifier, f32[K, C].
      classes: i[N], the class each image is explained for.
      size: (H, W) of the images; maps are enlarged to it bilinearly.

    Raises ValueError where shapes or types do not match, a class can be seen to be none, or a number not to be finite.
    """
    checks.array("feature maps", feature_maps, jnp.floating, "N", "H'", "W'", "K")
    checks.array("the classifier's kernel", kernel, jnp.floating, feature_maps.shape[3], "C")
    checks.class_labels(classes, kernel.shape[1], len(feature_maps), name="classes")
    checks.class_labels(np.asarray(size), None, 2, name="size")
    maps = jnp.einsum("nhwk,kn->nhw", feature_maps, kernel[:, classes], precision=lax.Precision.HIGHEST)
    return jax.image.resize(maps, (len(maps), *size), "bilinear")


def for_display(maps: np.ndarray) -> np.ndarray:
    """Returns maps f[N, H, W] shifted and scaled so that each runs from 0 to 1; a constant map becomes 0.

    Raises ValueError on what is no maps, or not finite.
    """
    maps = np.asarray(maps)
    checks.array("maps", maps, jnp.floating, "N", "H", "W")
    low, high = (bound(maps, axis=(1, 2), keepdims=True) for bound in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)


def mass_area(maps: np.ndarray, mass: float = 0.9) -> np.ndarray:
    """Returns the least share of pixels that holds ``mass`` of each map's positive part, f64[N] for maps f[N, H, W].

    It is NaN for a map with no positive value. Raises ValueError on what is no maps, or not finite, and where ``mass``
    is not in (0, 1].
    """
    if not (checks.is_number(mass) and 0 < mass <= 1):
        raise ValueError(f"mass must be a number in (0, 1], got {mass!r}")
    positive = np.maximum(checks.float64("maps", maps, "N", "H", "W"), 0).reshape(len(maps), -1)
    held = np.cumsum(-np.sort(-positive, axis=1), axis=1)
    total = held[:, -1:]
    pixels = 1 + np.sum(held < mass * total, axis=1)
    return np.where(total[:, 0] > 0, pixels / positive.shape[1], np.nan)


def deletion_insertion(
    probabilities: Callable[[jax.Array], jax.Array],
    images: np.ndarray,
    maps: np.ndarray,
    classes: np.ndarray,
    *,
    fill: tuple[float, ...],
    steps: int = 32,
    batch_size: int = 500,
) -> Curves:
    """Measures the deletion and insertion curves of RISE (Petsiuk et al., 2018).

    Pixels are removed, or inserted into an image of ``fill`` alone, from the map's largest value to its least (row by
    row where values are equal), as many in each step as in the others, up to rounding. A removed pixel takes the
    constant ``fill`` and nothing is blurred; RISE inserts into a blurred image, which at 32x32 still shows the class.
    It costs 2 (steps + 1) evaluations an image.

    Args:
      probabilities: a traceable function from images f32[M, H, W, channels], uint8 ones divided by 255, to f32[M, C].
      images: uint8[N, H, W, channels].
      maps: f32[N, H, W].
      classes: i[N], whose probability is followed.
      fill: the pixel for what is absent, of images scaled to [0, 1]; the data set's mean, ``Dataset.mean``.
      steps: S, in [1, H W].
      batch_size: images evaluated at once.

    Raises:
      ValueError: on shapes or types that do not match, what is not finite, a class that is none, or a number of steps
        or images out of range.
    """
    network = as_pytree(probabilities)
    images, maps, classes = np.asarray(images), np.asarray(maps), np.asarray(classes)
    checks.array("images", images, jnp.uint8, "N", "H", "W", "channels")
    checks.array("maps", maps, jnp.floating, *images.shape[:3])
    checks.float64("fill", fill, images.shape[3])
    size = maps[0].size
    checks.whole("steps", steps, 1, size)
    checks.whole("batch_size", batch_size, 1)
    checks.class_labels(classes, num_classes(network, images.shape), len(images), name="classes")
    counts = np.round(np.linspace(0, size, steps + 1)).astype(np.int32)
    curves = [
        np.asarray(_curves(network, *(a[start : start + batch_size] for a in (images, maps, classes)), counts, fill))
        for start in range(0, len(images), batch_size)
    ]
    deletion, insertion = np.concatenate(curves, axis=2).transpose(1, 2, 0)
    shares = counts / size
    areas = (np.trapezoid(curve.astype(np.float64), shares, axis=1) for curve in (deletion, insertion))
    return Curves(shares, deletion, insertion, *areas)


def median_examples(labels: np.ndarray, *probabilities: np.ndarray) -> np.ndarray:
    """Chooses one example of each class to show, by a rule: positions i64[at most C], in the order of the classes.

    Of the class's examples that every network classifies correctly, it is the one whose probability of the class,
    averaged over the networks, is closest to the median over those examples; the first of several. A class with no
    such example is left out.

    Args:
      labels: i[N].
      *probabilities: of each network, f32[N, C].

    Raises ValueError where the shapes do not match, there is no network, a label is no class, or a number is not
    finite.
    """
    agreed = correct(labels, *probabilities)
    stacked = np.stack(probabilities).astype(np.float64)
    checks.class_labels(labels, stacked.shape[2])
    confidence = stacked[:, np.arange(len(labels)), labels].mean(axis=0)
    chosen = []
    for each in range(stacked.shape[2]):
        members = agreed[labels[agreed] == each]
        if len(members):
            values = confidence[members]
            chosen.append(members[np.argmin(np.abs(values - np.median(values)))])
    return np.array(chosen, np.int64)


@jax.jit
def _curves(probabilities, images, maps, classes, counts, fill):
    """Returns f32[S + 1, 2, N]: the probability of deletion and insertion after each of ``counts`` pixels."""
    ranks = jnp.argsort(jnp.argsort(-maps.reshape(len(maps), -1), axis=1), axis=1).reshape(*maps.shape, 1)
    scaled, blank = images.astype(jnp.float32) / 255, jnp.asarray(fill, jnp.float32)

    def followed(shown):
        return jnp.take_along_axis(probabilities(jnp.where(shown, scaled, blank)), classes[:, None], axis=1)[:, 0]

    return lax.map(lambda count: jnp.stack([followed(ranks >= count), followed(ranks < count)]), counts)
