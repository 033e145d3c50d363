"""One mesh of all devices: data set and batch are split over a row of it, everything else is on each device.

There is one row, or several where runs are trained together: each has some of them, which wait for no other, and the
whole data set. The devices may belong to several processes, on one host or many. Each runs the same program; the first
alone writes.
"""

import hashlib
import json
import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lsg_jax import machine

SEED, AXIS = "seed", "batch"
REPLICATED, SPLIT = PartitionSpec(), PartitionSpec(AXIS)
_SECONDS_TO_JOIN = 120
_SECONDS_OF_SILENCE = 30  # after which a process counts as dead: the others are to end within a minute


def join(coordinator: str, processes: int | None, process: int | None) -> None:
    """Joins the processes of one run, before anything else asks JAX for its devices.

    Args:
      coordinator: HOST:PORT where process 0 can be reached, or 'auto' where the cluster tells JAX all of it.
      processes: how many there are; None with 'auto'.
      process: this one's number, from 0; None with 'auto'.

    Raises:
      ValueError: where JAX cannot join them.
    """
    logging.getLogger(__name__).info("waiting up to %d s for the other processes of this run", _SECONDS_TO_JOIN)
    if coordinator != "auto" and process:
        _await(coordinator)
    # JAX's own SIGTERM handler would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            processes,
            process,
            initialization_timeout=_SECONDS_TO_JOIN,
            heartbeat_timeout_seconds=_SECONDS_OF_SILENCE,
        )
    except Exception as error:  # whatever the transport raises
        if coordinator == "auto" and isinstance(error, ValueError):
            raise ValueError(
                "--coordinator auto found no cluster that JAX knows (SLURM, Open MPI, a TPU pod); give --coordinator "
                "HOST:PORT with --processes and --process"
            ) from error
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"could not join --coordinator {coordinator}: {lines[0]}") from error


def _await(coordinator: str) -> None:
    """Waits until the coordinator answers: JAX's own wait for it ends, in vain, with the end of the process."""
    host, _, port = coordinator.rpartition(":")
    last = time.monotonic() + _SECONDS_TO_JOIN
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > last:
                raise ValueError(
                    f"--coordinator {coordinator} cannot be reached ({error.strerror or error}); start process 0 there "
                    "and see that its port is open"
                ) from error
            time.sleep(0.5)


def is_first() -> bool:
    """Tells whether this is the process that writes."""
    return jax.process_index() == 0


def barrier() -> None:
    """Waits until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("barrier")


def max_over_processes(value: Any) -> Any:
    """Returns the largest ``value`` that any process gives, of an array in each place; every process has to ask."""
    return value if jax.process_count() == 1 else np.max(multihost_utils.process_allgather(np.float32(value)), axis=0)


def check_same(settings: dict[str, Any]) -> None:
    """Raises ValueError, in each process, where they do not all have the same ``settings``; every one has to ask."""
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest()
    gathered = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    if (gathered != gathered[0]).any():
        raise ValueError("the processes were started with different settings or data; start the same command on each")


def check_shared(folder: Path) -> None:
    """Raises ValueError, in each process, where they do not all see the same ``folder``; every one has to ask.

    The first has made the folder before.
    """
    if jax.process_count() == 1:
        return
    number = int(multihost_utils.broadcast_one_to_all(np.int32(secrets.randbits(31))))
    probe = folder / f"shared-{number}.tmp"
    if is_first():
        probe.touch()
    barrier()
    missing = max_over_processes(not probe.exists())
    if is_first():
        probe.unlink()
    if missing:
        raise ValueError(f"the processes do not share {folder}; choose an --output on storage that all of them see")


def use_cores(seeds: int) -> None:
    """Makes as many devices of the CPU's cores as share out ``seeds`` runs evenly; before JAX has any device.

    Cores that train each its own run need not wait for one another at every operation. It changes nothing where the
    number of devices was chosen.
    """
    devices = math.gcd(seeds, machine.cores())
    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if devices > 1 and not chosen:
        jax.config.update("jax_num_cpu_devices", devices)


def mesh(seeds: int = 1) -> Mesh:
    """Returns a mesh of all devices with axes (seed, batch): gcd(seeds, devices) rows, 1 with several processes.

    A batch is split along a row only. Each process has to have every run, so several share one row.
    """
    devices = np.array(jax.devices())
    rows = math.gcd(seeds, devices.size) if jax.process_count() == 1 else 1
    return Mesh(devices.reshape(rows, -1), (SEED, AXIS))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts every array of ``tree``, the same in each process, whole on each device of ``mesh``."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def shard_seeds(tree: Any, mesh: Mesh) -> Any:
    """Puts every array of ``tree``, whose first axis is the seeds, on the devices, to each those of its row."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(SEED)))


def shard(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Puts ``array`` on the devices of ``mesh``, to each its part of the first axis, with zeros at the end.

    A process reads only the parts of its own devices.
    """
    rows = -(-len(array) // mesh.shape[AXIS]) * mesh.shape[AXIS]

    def part(index):
        start, stop, _ = index[0].indices(rows)
        own = array[start:stop]
        missing = stop - start - len(own)
        return np.concatenate([own, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else own

    return jax.make_array_from_callback((rows, *array.shape[1:]), NamedSharding(mesh, SPLIT), part)


def constrain_batch(tree: Any, mesh: Mesh) -> Any:
    """Tells the compiler to split the first axis of every array of ``tree`` over ``mesh``."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, SPLIT))


def shard_map(function: Callable[..., Any], mesh: Mesh, *, inputs: Any) -> Callable[..., Any]:
    """Returns ``function`` run by every device on its part, with the same result on each.

    The functions it calls name ``AXIS`` where parts meet.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=REPLICATED, check_vma=False)


def map_seeds(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Returns ``function`` of one run for as many as the first axes hold; it may use ``shard_map`` and the like.

    Each row of ``mesh`` takes its runs at once or, on a CPU, whose cache does not hold several, one after another.
    """
    at_once = jax.vmap(function, spmd_axis_name=SEED)
    rows = mesh.shape[SEED]

    def in_turn(*arguments):
        turns = jax.tree.map(lambda a: a.reshape(rows, -1, *a.shape[1:]).swapaxes(0, 1), arguments)
        results = jax.lax.map(lambda turn: at_once(*turn), turns)
        return jax.tree.map(lambda a: a.swapaxes(0, 1).reshape(-1, *a.shape[2:]), results)

    return in_turn if _has_small_cache(mesh) else at_once


def _has_small_cache(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "cpu"
