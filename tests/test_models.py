"""Models: sizes, the gate, and the convolution's gradients against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsg_jax import gates, models
from lsg_jax.models.convolution import _xla_convolution, convolution


@pytest.mark.parametrize(("name", "filters", "parameters"), [("resnet20", 64, 269_722), ("alexnet", 256, 2_255_306)])
def test_sizes(name, filters, parameters):
    model = models.create(name, 10)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    for size in (8, 9, 33):
        maps = jax.eval_shape(
            lambda v, x: model.apply(v, x, method="feature_maps"), variables, jnp.zeros((2, size, size, 3))
        )
        assert maps.shape[0] == 2
        assert maps.shape[-1] == filters == model.num_filters


def test_gating_feature_maps_equals_gating_pooled_features():
    model = models.create("resnet20", 10)
    images, labels = jax.random.normal(jax.random.key(1), (4, 8, 8, 3)), jnp.arange(4)
    variables = model.init(jax.random.key(0), images)
    rows = gates.rows(jax.random.uniform(jax.random.key(2), (10, 64)), labels)
    gated = model.apply(variables, images, rows)
    maps = model.apply(variables, images, method="feature_maps") * rows[:, None, None]
    np.testing.assert_allclose(
        model.apply(variables, maps.mean((1, 2)), method="classify"), gated, rtol=1e-5, atol=1e-6
    )


def test_unknown_model_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'vgg'.*alexnet, resnet20"):
        models.create("vgg", 10)


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    st.tuples(st.sampled_from([1, 3, 5]), st.integers(1, 4)),
    st.integers(1, 3),
)
def test_gradients_equal_the_plain_convolutions(shape, kernel, stride):
    size, outputs = kernel
    images = jax.random.normal(jax.random.key(0), shape)
    weights = jax.random.normal(jax.random.key(1), (size, size, shape[-1], outputs))
    out, gradients = jax.vjp(lambda x, k: convolution(x, k, stride), images, weights)
    expected, plain = jax.vjp(lambda x, k: _xla_convolution(x, k, stride), images, weights)
    np.testing.assert_array_equal(out, expected)
    cotangent = jax.random.normal(jax.random.key(2), out.shape)
    for ours, theirs in zip(gradients(cotangent), plain(cotangent), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(jnp.abs(theirs).max() + 1))
