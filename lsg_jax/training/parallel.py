"""One mesh of all devices: the batch is split over it, everything else is on each device."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
REPLICATED, SPLIT = PartitionSpec(), PartitionSpec(AXIS)


def mesh() -> Mesh:
    """Returns the mesh of every device there is."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def replicate(tree, mesh: Mesh):
    """Puts every array of ``tree`` whole on each device of ``mesh``."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def split(tree, mesh: Mesh):
    """Tells the compiler to split the first axis of every array of ``tree`` over ``mesh``."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, SPLIT))


def on_each(function, mesh: Mesh, *, inputs, outputs=REPLICATED):
    """Returns ``function`` run by every device on its part; the functions it calls name ``AXIS`` where parts meet."""
    return jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
