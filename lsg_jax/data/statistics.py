"""The constants that images are normalised with."""

import numpy as np


def channel_statistics(images: np.ndarray) -> np.ndarray:
    """Returns mean and standard deviation of each channel, f64[2, channels], of uint8 images scaled to [0, 1]."""
    levels = np.arange(256) / 255
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])]
    means = [np.average(levels, weights=count) for count in counts]
    variances = [np.average((levels - mean) ** 2, weights=count) for mean, count in zip(means, counts, strict=True)]
    return np.array([means, np.sqrt(variances)])
