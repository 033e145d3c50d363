"""The CIFAR residual networks of He et al. (2016), section 4.2."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lsg_jax.models.network import Conv, GatedNetwork
from lsg_jax.models.normalization import BatchNorm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut: identity, or every other pixel with zero-padded channels."""

    filters: int
    stride: int = 1
    batch_axis: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        shortcut = maps[:, :: self.stride, :: self.stride]
        missing = self.filters - maps.shape[-1]
        shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
        norm = partial(BatchNorm, self.batch_axis)
        conv = partial(Conv, self.filters, dtype=self.dtype)
        maps = conv(self.stride, name="conv1")(maps)
        maps = nn.relu(norm(name="norm1")(maps, train))
        maps = conv(name="conv2")(maps)
        maps = norm(name="norm2")(maps, train)
        return nn.relu(maps + shortcut)


class ResNet(GatedNetwork):
    """A residual network of 6 n + 2 layers: a stem, then three stages of n blocks with 16, 32 and 64 filters."""

    blocks: int = 3
    widths: tuple[int, ...] = (16, 32, 64)

    @property
    def num_filters(self) -> int:
        return self.widths[-1]

    @property
    def last_convolution(self) -> tuple[str, ...]:
        return f"stage{len(self.widths)}_block{self.blocks}", "conv2"

    def setup(self) -> None:
        self.stem = Conv(self.widths[0], dtype=self.dtype)
        self.stem_norm = BatchNorm(self.batch_axis)
        self.stages = [
            ResidualBlock(
                width,
                stride=2 if stage > 0 and block == 0 else 1,
                batch_axis=self.batch_axis,
                dtype=self.dtype,
                name=f"stage{stage + 1}_block{block + 1}",
            )
            for stage, width in enumerate(self.widths)
            for block in range(self.blocks)
        ]
        self.classifier = nn.Dense(self.num_classes)

    def feature_maps(self, images: jax.Array, train: bool = False) -> jax.Array:
        maps = nn.relu(self.stem_norm(self.stem(images), train))
        for block in self.stages:
            maps = block(maps, train)
        return maps
