"""The constants that images are normalised with."""

from collections.abc import Sequence

import numpy as np

from lsg_jax import checks


def channel_statistics(images: np.ndarray) -> np.ndarray:
    """Returns mean and standard deviation of each channel, f64[2, channels], of uint8 images scaled to [0, 1].

    Raises ValueError where the images are not uint8[N, H, W, channels].
    """
    checks.array("images", images, np.uint8, "N", "H", "W", "channels")
    levels = np.arange(256) / 255
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])]
    means = [np.average(levels, weights=count) for count in counts]
    variances = [np.average((levels - mean) ** 2, weights=count) for mean, count in zip(means, counts, strict=True)]
    return np.array([means, np.sqrt(variances)])


def checked(mean: Sequence[float], std: Sequence[float], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns both in Python's floats.

    Raises ValueError where they are not as many finite numbers as channels each, of which ``std`` is positive.
    """
    for name, values, least in (("mean", mean, -np.inf), ("std", std, 0)):
        fine = isinstance(values, tuple | list) and [
            checks.is_number(each) and least < each < np.inf for each in values
        ]
        if fine != [True] * channels:
            allowed = f"{channels} finite numbers{' above 0' if name == 'std' else ''}"
            raise ValueError(f"{name} must be {allowed}, got {values!r}")
    return tuple(map(float, mean)), tuple(map(float, std))
