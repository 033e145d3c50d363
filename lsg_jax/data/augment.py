"""Random crop, random flip and normalisation, as pure functions of a key. Images are [H, W, channels] unless said."""

import jax
import jax.numpy as jnp
from jax import lax

from lsg_jax import checks


def random_crop(key: jax.Array, image: jax.Array, padding: int) -> jax.Array:
    """Pads ``image`` with zeros by ``padding`` on each side and cuts a window of its own size at a random place.

    Raises ValueError on what is no key, no image or no padding.
    """
    checks.key(key)
    checks.array("an image", image, jnp.number, "H", "W", "channels")
    checks.whole("padding", padding, 0)
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return lax.dynamic_slice(padded, (row, column, 0), image.shape)


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mirrors ``image`` left to right with probability one half. Raises ValueError as ``random_crop`` does."""
    checks.key(key)
    checks.array("an image", image, jnp.number, "H", "W", "channels")
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def augment(key: jax.Array, images: jax.Array, *, padding: int, flip: bool) -> jax.Array:
    """Crops, and flips if ``flip``, each of images [B, H, W, channels] on its own draw from ``key``.

    Raises ValueError as ``random_crop`` does.
    """
    checks.key(key)
    checks.array("images", images, jnp.number, "B", "H", "W", "channels")
    checks.instance("flip", flip, bool)

    def one(key, image):
        crop_key, flip_key = jax.random.split(key)
        image = random_crop(crop_key, image, padding)
        return random_flip(flip_key, image) if flip else image

    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def normalize(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Returns f32 images with each channel's ``mean`` subtracted and divided by its ``std``.

    Images are uint8 in [0, 255] or floating point in [0, 1]; mean and std are in units of the latter.
    """
    scale = 255.0 if images.dtype == jnp.uint8 else 1.0
    return (images.astype(jnp.float32) / scale - jnp.asarray(mean)) / jnp.asarray(std)
