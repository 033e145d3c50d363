"""Batch normalisation against Flax's own, and its sums against float64."""

from unittest import mock

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsg_jax.models import native
from lsg_jax.models.normalization import BatchNorm, _channel_sums

CHANNELS = [3, 16, 40, 77, 192]
shapes = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 7), st.sampled_from(CHANNELS))


@settings(deadline=None, max_examples=15)
@given(shapes, st.booleans())
def test_channel_sums_are_those_of_float64(shape, compiled_kernels):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(mean, size=shape).astype(np.float32) for mean in range(2))
    with mock.patch.object(native, "available", native.available if compiled_kernels else lambda: False):
        sums = jax.jit(lambda a, b: _channel_sums(a, b))(a, b)
    exact = np.float64(a), np.float64(b)
    expected = [exact[0].sum((0, 1, 2)), (exact[0] * exact[1]).sum((0, 1, 2))]
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-5 * np.sqrt(a.size / shape[-1]))


def both(maps, cotangent, train):
    """Returns output, new statistics and gradients of both, from the same parameters and statistics."""
    keys = jax.random.split(jax.random.key(9), 4)
    size = maps.shape[-1:]
    params = {"scale": jax.random.normal(keys[0], size), "bias": jax.random.normal(keys[1], size)}
    statistics = {"mean": jax.random.normal(keys[2], size), "var": jax.random.uniform(keys[3], size)}

    def run(module, argument):
        def apply(params, maps):
            variables = {"params": params, "batch_stats": statistics}
            return module.apply(variables, maps, argument, mutable=["batch_stats"])

        def differentiate(params, maps, cotangent):
            (out, updated), gradient = jax.vjp(apply, params, maps)
            zeros = jax.tree.map(jnp.zeros_like, updated)
            return out, updated, gradient((cotangent.astype(out.dtype), zeros))

        return jax.jit(differentiate)(params, maps, cotangent)

    return run(BatchNorm(), train), run(nn.BatchNorm(momentum=0.9, dtype=maps.dtype), not train)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("compiled_kernels", [True, False])
@pytest.mark.parametrize("channels", CHANNELS)
def test_outputs_statistics_and_gradients_are_flaxs(channels, compiled_kernels, train):
    maps = 3 * jax.random.normal(jax.random.key(0), (6, 5, 4, channels)) + 1
    cotangent = jax.random.normal(jax.random.key(1), maps.shape)
    with mock.patch.object(native, "available", native.available if compiled_kernels else lambda: False):
        ours, flaxs = both(maps, cotangent, train)
    chex.assert_trees_all_close(ours, flaxs, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_it_is_flaxs_within_rounding():
    maps = jax.random.normal(jax.random.key(0), (8, 4, 4, 16), jnp.bfloat16)
    cotangent = jax.random.normal(jax.random.key(1), maps.shape)
    (ours, statistics, gradients), (flaxs, expected, theirs) = both(maps, cotangent, True)
    assert ours.dtype == gradients[1].dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(ours), np.float32(flaxs), rtol=0.02, atol=0.02)
    chex.assert_trees_all_close(
        jax.tree.map(np.float32, gradients), jax.tree.map(np.float32, theirs), rtol=0.05, atol=0.05
    )
    chex.assert_trees_all_close(statistics, expected, rtol=1e-5)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(statistics))


def test_a_constant_channel_gives_its_bias_and_no_nan():
    norm, maps = BatchNorm(), jnp.full((4, 3, 3, 8), 1e3)
    variables = norm.init(jax.random.key(0), maps, False)
    variables["params"]["bias"] = jnp.arange(8.0)
    out, gradient = jax.vjp(lambda x: norm.apply(variables, x, True, mutable=["batch_stats"])[0], maps)
    np.testing.assert_allclose(out, np.broadcast_to(np.arange(8.0), maps.shape), atol=0.1)
    assert np.isfinite(gradient(jnp.ones(maps.shape))[0]).all()


def test_many_stacked_equal_each_alone():
    maps, cotangent = jax.random.normal(jax.random.key(0), (2, 5, 7, 4, 4, 24))
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), maps[0], False)

    def run(maps, cotangent):
        out, gradient = jax.vjp(lambda x: norm.apply(variables, x, True, mutable=["batch_stats"])[0], maps)
        return out, gradient(cotangent)

    together = jax.vmap(run)(maps, cotangent)
    for index in range(len(maps)):
        alone = run(maps[index], cotangent[index])
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone, rtol=1e-6, atol=1e-6)
