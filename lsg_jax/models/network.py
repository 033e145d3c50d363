"""What every model shares: feature maps, global average pooling, the gate, and one linear layer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lsg_jax.models.convolution import convolution


class Conv(nn.Module):
    """A bias-free 3x3 convolution with He-normal weights (fan out)."""

    filters: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, (3, 3, images.shape[-1], self.filters))
        return convolution(images.astype(self.dtype), kernel.astype(self.dtype), self.stride)


class GatedNetwork(nn.Module):
    """A classifier whose last convolution can be gated by rows of G.

    ``apply(variables, images, gate_rows=None, train=False)`` returns logits f32[B, C] for normalised images
    f32[B, H, W, channels]: the STD path without ``gate_rows``, the LSG path with rows f32[B, K]. A subclass defines
    ``num_filters``, ``last_convolution`` and ``feature_maps``, and gives ``setup`` a linear layer named ``classifier``.

    Global average pooling and the classifier are linear after the gate, which scales whole channels, so gating the
    pooled features gives the logits that gating the feature maps would, at the cost of a multiply on (B, K).
    """

    num_classes: int
    batch_axis: str | None = None
    dtype: Any = jnp.float32

    @property
    def num_filters(self) -> int:
        """K, the number of filters of the last convolution."""
        raise NotImplementedError

    @property
    def least_side(self) -> int:
        """How many pixels high and wide an image must be at least."""
        return 1

    @property
    def last_convolution(self) -> tuple[str, ...]:
        """The path of the last convolution in ``params``."""
        raise NotImplementedError

    def feature_maps(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the last convolution's feature maps after its ReLU, [B, H', W', K] in ``dtype``."""
        raise NotImplementedError

    def features(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the pooled features a, f32[B, K]: each feature map's mean over its pixels."""
        return jnp.mean(self.feature_maps(images, train), axis=(1, 2), dtype=jnp.float32)

    def classify(self, features: jax.Array) -> jax.Array:
        """Returns logits f32[B, C] from pooled features f32[B, K], gated or not."""
        return self.classifier(features)

    def __call__(self, images: jax.Array, gate_rows: jax.Array | None = None, train: bool = False) -> jax.Array:
        features = self.features(images, train)
        return self.classify(features if gate_rows is None else features * gate_rows)
