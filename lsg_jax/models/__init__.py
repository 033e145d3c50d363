"""Flax linen models as pure functions of their variables, with a gate on the last convolution."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp

from lsg_jax import checks
from lsg_jax.models.alexnet import AlexNet
from lsg_jax.models.network import GatedNetwork
from lsg_jax.models.resnet import ResNet

_MOST_BLOCKS = 200  # a stage
MODELS: dict[str, Callable[..., GatedNetwork]] = {
    "alexnet": AlexNet,
    **{f"resnet{6 * blocks + 2}": partial(ResNet, blocks=blocks) for blocks in range(1, _MOST_BLOCKS + 1)},
}
PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def constructor(name: str) -> Callable[..., GatedNetwork]:
    """Returns what makes the named model. Raises ValueError, with the known names, on any other."""
    if not (isinstance(name, str) and name in MODELS):
        usual, most = "alexnet, resnet20, resnet32, resnet44, resnet56, resnet110", 6 * _MOST_BLOCKS + 2
        raise ValueError(
            f"unknown model {name!r}; choose one of: {usual}, or another resnet of 6 n + 2 layers, at most {most}"
        )
    return MODELS[name]


def create(name: str, num_classes: int, batch_axis: str | None = None, precision: str = "float32") -> GatedNetwork:
    """Returns the named model for ``num_classes`` classes.

    Raises ValueError, with the known names, on any other name or precision.

    ``batch_axis`` names the mapped axis that a batch is split over, so that batch statistics are those of all of it.
    ``precision``, a key of ``PRECISIONS``, is that of the convolutions and what lies between them; parameters, batch
    statistics, pooled features and logits are float32 in any case.
    """
    construct = constructor(name)
    if not checks.is_whole(num_classes) or num_classes < 2:
        raise ValueError(f"a classifier needs a whole number of at least 2 classes, got {num_classes!r}")
    checks.known("precision", precision, PRECISIONS)
    return construct(num_classes, batch_axis, PRECISIONS[precision])
