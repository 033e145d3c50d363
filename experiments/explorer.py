"""The report's explorer: filters of each network to look at and to switch off, computed in the page itself."""

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments import cli
from experiments.network import Network
from lsg_jax import plots
from lsg_jax.analysis.filters import logit_shares, top_images

IMAGES_PER_CLASS = 50
NEAREST = 5
_TOP = 6
# Per network, so that two wide ones stay small enough to be one page: 250 images, and 4 of each of 256 filters.
_MOST_PICTURES, _MOST_FEATURES = 1024, 65_536
_SIDE, _MAP = 80, 16  # at most, of an image as the page shows it, and of its activation map
_MOST_PIXELS = 2 * _MOST_PICTURES * 32**2  # of two wide networks on CIFAR-10


def section(networks: list[Network]) -> str:
    """Returns the part of the page, its data within it; every string of a run is data, never markup."""
    content = json.dumps(content_of(networks), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Path(__file__).with_name("explorer.html").read_text("utf-8").replace("{data}", content)


def content_of(networks: list[Network]) -> dict[str, Any]:
    """Returns what the page computes with: arrays are base64 of little-endian f32, maps of u8, row by row.

    All networks have the same images. The explored ones are the first of each class of the test set; a filter's top
    images, those with its largest pooled activation, are from all of it.
    """
    labels, names = networks[0].labels, networks[0].run.class_names
    widths = [network.features.shape[1] for network in networks]
    a_class = min(IMAGES_PER_CLASS, max(1, _MOST_FEATURES // (max(widths) * len(names))))
    explored = np.sort(np.concatenate([np.flatnonzero(labels == each)[:a_class] for each in range(len(names))]))
    counts = [min(_TOP, max(1, _MOST_PICTURES // width)) for width in widths]
    tops = [top_images(network.features, count) for network, count in zip(networks, counts, strict=True)]
    shown = np.unique(np.concatenate([top.ravel() for top in tops]))
    return {
        "classes": list(names),
        "threshold": cli.THRESHOLD,
        "labels": labels[explored].tolist(),
        "sheet": _sheet(networks[0].images[shown]) | {"labels": labels[shown].tolist()},
        "networks": [
            _network(network, explored, top, np.searchsorted(shown, top))
            for network, top in zip(networks, tops, strict=True)
        ],
    }


def _network(network: Network, explored: np.ndarray, top: np.ndarray, places: np.ndarray) -> dict[str, Any]:
    kernel, bias = network.linear
    alike = network.correlation - 2 * np.eye(len(network.correlation))
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, : min(NEAREST, len(alike) - 1)]
    unique, inverse = np.unique(top, return_inverse=True)
    maps = network.run.feature_maps(network.images[unique])
    of_filter = np.stack([maps[images, :, :, k] for k, images in enumerate(inverse.reshape(top.shape))])
    of_filter = _shrunk(of_filter, _MAP)
    peaks = of_filter.max(axis=(1, 2, 3), keepdims=True)
    scaled = np.round(255 * of_filter / np.where(peaks > 0, peaks, 1)).astype(np.uint8)
    return {
        "name": network.name,
        "gate name": "gate solved for Phi" if network.run.config.gate == "none" else "gate",
        "features": _base64(network.features[explored]),
        "kernel": _base64(kernel),
        "bias": bias.tolist(),
        "gate": _base64(network.gate),
        "shares": _base64(logit_shares(network.features, network.labels, kernel)),
        "nearest": nearest.tolist(),
        "correlations": np.take_along_axis(network.correlation, nearest, axis=1).tolist(),
        "top": places.tolist(),
        "activations": np.take_along_axis(network.features, top.T, axis=0).T.tolist(),
        "map size": list(of_filter.shape[2:]),
        "maps": base64.b64encode(scaled.tobytes()).decode(),
    }


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _shrunk(planes: np.ndarray, most: int) -> np.ndarray:
    """Returns planes [..., H, W] with at most so many pixels a side."""
    height, width = (min(side, most) for side in planes.shape[-2:])
    if (height, width) == planes.shape[-2:]:
        return planes
    flat = planes.reshape(-1, *planes.shape[-2:])
    small = [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BOX)) for plane in flat]
    return np.stack(small).reshape(*planes.shape[:-2], height, width)


def _sheet(images: np.ndarray) -> dict[str, Any]:
    """Returns one picture of all images u8[N, H, W, channels], row by row, and where each lies in it."""
    side = min(_SIDE, math.isqrt(_MOST_PIXELS // len(images)))
    images = np.moveaxis(_shrunk(np.moveaxis(plots.visible(images), -1, 1), side), 1, -1)
    count, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    padded = np.concatenate([images, np.zeros((rows * columns - count, height, width, channels), np.uint8)])
    grid = padded.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    sheet = grid.reshape(rows * height, columns * width, channels)
    content = io.BytesIO()
    Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(content, "JPEG", quality=85, subsampling=0)
    picture = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return {"picture": picture, "columns": columns, "width": width, "height": height}
