"""Flax linen models as pure functions of their variables, with a gate on the last convolution."""

import jax.numpy as jnp

from lsg_jax.models.alexnet import AlexNet
from lsg_jax.models.network import GatedNetwork
from lsg_jax.models.resnet import ResNet

MODELS = {"resnet20": ResNet, "alexnet": AlexNet}


PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create(name: str, num_classes: int, batch_axis: str | None = None, precision: str = "float32") -> GatedNetwork:
    """Returns the named model for ``num_classes`` classes. Raises ValueError, with the known names, on any other.

    ``batch_axis`` names the mapped axis that a batch is split over, so that batch statistics are those of all of it.
    ``precision``, a key of ``PRECISIONS``, is that of the convolutions and what lies between them; parameters, batch
    statistics, pooled features and logits are float32 in any case.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; choose one of: {', '.join(sorted(MODELS))}")
    if num_classes < 2:
        raise ValueError(f"a classifier needs at least 2 classes, got {num_classes}")
    return MODELS[name](num_classes, batch_axis, PRECISIONS[precision])
