"""One mesh of all devices: data set and batch are split over it, everything else is on each device."""

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


def spread(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Puts ``array`` on the devices of ``mesh``, to each its part of the first axis, with zeros at the end.

    A process reads only the parts of its own devices.
    """
    rows = -(-len(array) // mesh.size) * mesh.size

    def part(index):
        start, stop, _ = index[0].indices(rows)
        own = array[start:stop]
        missing = stop - start - len(own)
        return np.concatenate([own, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else own

    return jax.make_array_from_callback((rows, *array.shape[1:]), NamedSharding(mesh, SPLIT), part)


def split(tree, mesh: Mesh):
    """Tells the compiler to split the first axis of every array of ``tree`` over ``mesh``."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, SPLIT))


def on_each(function, mesh: Mesh, *, inputs, outputs=REPLICATED):
    """Returns ``function`` run by every device on its part; the functions it calls name ``AXIS`` where parts meet."""
    return jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
