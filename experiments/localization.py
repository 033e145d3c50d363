"""Figure 6 for any run: class activation maps, and what share of an image they need."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from experiments import claims
from experiments.claims import Claim, Picture
from experiments.network import Network, check_agreed
from lsg_jax import plots
from lsg_jax.analysis import comparison, localization
from lsg_jax.analysis.localization import Curves

CURVE_IMAGES, BLOCK = 1000, 100  # how many have their curves measured, and at once
MAPS = 500  # images, whose feature maps are held at once


def measure(networks: list[Network]) -> Claim:
    """Returns class activation maps of chosen examples, and curves and areas over the first test images."""
    names, first = networks[0].run.class_names, networks[0]
    probabilities = [softmax(network.logits, axis=1) for network in networks]
    chosen = localization.median_examples(first.labels, *probabilities)
    check_agreed(chosen, networks)
    shown, certain, curves, by_image = {}, {}, {}, {}
    numbers: dict[str, dict[str, Any]] = {}
    images, labels = first.images[:CURVE_IMAGES], first.labels[:CURVE_IMAGES]
    for network, each in zip(networks, probabilities, strict=True):
        maps = _maps(network, first.images, first.labels)
        shown[network.name] = localization.for_display(maps[chosen])
        certain[network.name] = each[chosen, first.labels[chosen]]
        found = _curves(network, images, maps[:CURVE_IMAGES], labels)
        curves[network.name] = found
        areas = {"deletion area": found.deletion_area, "insertion area": found.insertion_area}
        whole, mass = found.insertion[:, -1], localization.mass_area(maps)
        by_image[network.name] = {
            **areas,
            "probability of the whole image": whole,
            **{f"{name}, relative": comparison.linearized_ratio(area, whole) for name, area in areas.items()},
            "area of 90 % of the map": mass,
        }
        numbers[network.name] = {
            **{name: float(np.nanmean(values)) for name, values in by_image[network.name].items()},
            "images of the curves": len(images),
            "maps with nothing positive, left out of that area": int(np.isnan(mass).sum()),
        }
    if len(networks) > 1:
        ours, theirs = by_image.values()
        numbers[first.name] |= {claims.less(name): claims.over_images(ours[name], theirs[name]) for name in ours}
    return Claim(
        "localization",
        "Figure 6: class activation maps",
        "Maps of the true class (the paper's are of the prediction), enlarged "
        "bilinearly, each on its own scale. Of each class the example is the image "
        "whose probability, averaged over the networks, is nearest the median among those that all classify correctly. "
        f"Beside them, over the first {len(images)} test images: the class's probability while pixels are removed in "
        "the order of the map and replaced by the mean pixel (deletion: less is better), or inserted (more is better). "
        "An area grows with the network's confidence, so that networks are compared by it relative to the probability "
        "of the whole image. And over all test images the share of the image that holds 90 % of the map's "
        "positive part. Beside each the "
        "difference from the other network's on the same images, with its 95 % interval (of a ratio by the delta "
        "method).",
        numbers,
        {
            "localization": Picture(
                partial(
                    plots.activation_maps,
                    first.images[chosen],
                    shown,
                    certain,
                    [names[label] for label in first.labels[chosen]],
                ),
                "An example of each class beside its maps, with the probability of the class. Look for maps that lie "
                "on the object and on nothing else.",
                shown,
            ),
            "deletion_insertion": Picture(
                partial(plots.deletion_insertion_curves, curves),
                "Left, the sooner the curve falls the better does the map name the pixels that count; right, the "
                "sooner it rises.",
                {
                    name: {
                        "share of pixels": found.shares,
                        "deletion": found.deletion.mean(0),
                        "insertion": found.insertion.mean(0),
                    }
                    for name, found in curves.items()
                },
            ),
        },
    )


def _curves(network: Network, images: np.ndarray, maps: np.ndarray, labels: np.ndarray) -> Curves:
    """Returns the curves of all images, a block at a time, so that progress shows."""
    parts = [np.array_split(each, -(-len(images) // BLOCK)) for each in (images, maps, labels)]
    arrays = list(zip(*parts, strict=True))
    blocks = [
        localization.deletion_insertion(network.run.probabilities, *each, fill=network.dataset.mean)
        for each in tqdm(arrays, f"{network.name}: deletion and insertion", unit=" blocks", leave=False, disable=None)
    ]
    shares, *others = zip(*blocks, strict=True)
    return Curves(shares[0], *(np.concatenate(each) for each in others))


def _maps(network: Network, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the maps of all images, a block at a time: feature maps of all of them would take much memory."""
    kernel = jnp.asarray(network.linear[0])
    blocks = [
        localization.class_activation_maps(
            jnp.asarray(network.run.feature_maps(images[start : start + MAPS])),
            kernel,
            jnp.asarray(labels[start : start + MAPS]),
            images.shape[1:3],
        )
        for start in range(0, len(images), MAPS)
    ]
    return np.concatenate(blocks)


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
