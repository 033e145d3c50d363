"""Models: sizes, the gate, and the convolution's gradients against XLA's own."""

import ctypes
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsg_jax import cache, gates, models
from lsg_jax.models import alexnet, native
from lsg_jax.models.convolution import _xla_convolution, convolution


def residual_parameters(layers, channels=3, classes=10):
    """He et al. (2016), table 6, layer by layer: kernels, two batch normalisation vectors each, the linear layer."""
    total, inputs = 9 * channels * 16 + 2 * 16, 16
    for width in (16, 32, 64):
        for _ in range((layers - 2) // 3):
            total, inputs = total + 9 * inputs * width + 2 * width, width
    return total + 64 * classes + classes


@pytest.mark.parametrize(
    ("name", "filters", "parameters"),
    [("resnet20", 64, 269_722), ("alexnet", 256, 2_255_306)]
    + [(f"resnet{layers}", 64, residual_parameters(layers)) for layers in (8, 32, 44, 56, 110)],
)
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


@pytest.mark.parametrize("name", ["resnet20", "alexnet"])
def test_bfloat16_keeps_parameters_and_logits_in_float32(name):
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    full, half = (models.create(name, 10, precision=precision) for precision in ("float32", "bfloat16"))
    variables = full.init(jax.random.key(0), images)
    chex.assert_trees_all_equal(variables, half.init(jax.random.key(0), images))
    assert half.apply(variables, images, method="feature_maps").dtype == jnp.bfloat16
    logits, rounded = full.apply(variables, images), half.apply(variables, images)
    assert rounded.dtype == jnp.float32
    assert not jnp.array_equal(rounded, logits)
    np.testing.assert_allclose(rounded, logits, atol=0.05 * float(jnp.abs(logits).max()))


def test_compiled_bfloat16_features_are_those_of_single_operations():
    model = models.create("resnet20", 10, precision="bfloat16")
    images = jax.random.normal(jax.random.key(1), (64, 32, 32, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    maps = jax.jit(partial(model.apply, variables, method="feature_maps"))(images)
    expected = np.asarray(maps, np.float64).mean((1, 2))
    users = {"xla_backend_optimization_level": "3"}  # what pytest_configure lowers
    for _ in range(3):
        features = jax.jit(partial(model.apply, variables, method="features"), compiler_options=users)(images)
        np.testing.assert_allclose(features, expected, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("size", [8, 9])
def test_max_pool_equals_flaxs(size):
    maps = jax.random.normal(jax.random.key(0), (2, size, size + 1, 3))
    ours, gradient = jax.value_and_grad(lambda x: jnp.sum(jnp.sin(alexnet.max_pool(x))))(maps)
    theirs, expected = jax.value_and_grad(lambda x: jnp.sum(jnp.sin(nn.max_pool(x, (2, 2), (2, 2)))))(maps)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_a_gradient_through_max_pool_is_flaxs_whatever_is_computed_twice(monkeypatch):
    images = jax.random.normal(jax.random.key(0), (16, 8, 8, 3))
    model = alexnet.AlexNet(3, widths=(8, 8))
    variables = model.init(jax.random.key(1), images)

    def cost(params):
        logits, _ = model.apply(variables | {"params": params}, images, train=True, mutable=["batch_stats"])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(16) % 3))

    ours = jax.jit(jax.grad(cost))(variables["params"])
    monkeypatch.setattr(alexnet, "max_pool", partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2)))
    expected = jax.jit(jax.grad(lambda params: cost(params)))(variables["params"])
    chex.assert_trees_all_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg", "resnet", "resnet2", "resnet21", "resnet1208", "resnet020", "resnet20x"])
def test_unknown_model_names_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"'{name}'.*alexnet, resnet20, .* 6 n \+ 2 layers"):
        models.create(name, 10)


sizes = st.tuples(st.integers(1, 11), st.integers(1, 11), st.sampled_from([1, 3, 4, 16, 33]))
winograd_sizes = st.tuples(*2 * [st.sampled_from([4, 8, 12, 20])], st.sampled_from([16, 32, 48]))
kernels = st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 3, 4, 16, 32, 64]), st.integers(1, 3))
winograd_kernels = st.tuples(st.just(3), st.sampled_from([16, 32, 48, 64]), st.just(1))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 20),
    st.one_of(st.tuples(sizes, kernels), st.tuples(winograd_sizes, winograd_kernels)),
    st.sampled_from([jnp.float32, jnp.bfloat16]),
    st.booleans(),
)
def test_convolution_and_gradients_equal_the_plain_ones(batch, geometry, dtype, compiled_kernels):
    shape, (size, outputs, stride) = (batch, *geometry[0]), geometry[1]
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    def with_gradients(convolve):
        def run(images, weights, cotangent):
            out, gradients = jax.vjp(convolve, images, weights)
            return out, *gradients(cotangent)

        return jax.jit(run)

    images, weights = normal(*shape), normal(size, size, shape[-1], outputs)
    cotangent = normal(batch, -(-shape[1] // stride), -(-shape[2] // stride), outputs)
    with mock.patch.object(native, "available", native.available if compiled_kernels else lambda: False):
        ours = with_gradients(partial(convolution, stride=stride))(images, weights, cotangent)
    exact = [array.astype(np.float32) for array in (images, weights, cotangent)]
    for array, expected in zip(ours, with_gradients(partial(_xla_convolution, stride=stride))(*exact), strict=True):
        assert array.dtype == dtype
        scale = float(np.abs(expected).max()) + 1
        tolerance = 1e-5 if dtype == jnp.float32 else float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.float32(array), expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("outputs", [16, 32, 64])
@pytest.mark.parametrize("count", [1, 32, 33, 129])
def test_squares_of_pixels_and_their_gradients_equal_the_definition(count, outputs):
    rng = np.random.default_rng(count)
    images, cotangent = rng.normal(size=(count, 4, 8, 48)), rng.normal(size=(count, 4, 8, outputs))
    weights = rng.normal(size=(3, 3, 48, outputs))
    ours, pullback = jax.vjp(convolution, *(jnp.asarray(each, jnp.float32) for each in (images, weights)))
    gradients = pullback(jnp.asarray(cotangent, jnp.float32))
    turned = weights[::-1, ::-1].swapaxes(2, 3)
    expected = [
        np.einsum("bhwirc,rcio->bhwo", windows(images), weights),
        np.einsum("bhwirc,rcio->bhwo", windows(cotangent), turned),
        np.einsum("bhwirc,bhwo->rcio", windows(images), cotangent),
    ]
    for array, reference in zip((ours, *gradients), expected, strict=True):
        np.testing.assert_allclose(array, reference, rtol=0, atol=5e-6 * np.abs(reference).max())


def windows(images):
    return np.lib.stride_tricks.sliding_window_view(np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_the_kernels_for_processors_without_avx512_compute_the_same(tmp_path):
    environment = os.environ | {"CXX": "c++ -mno-avx512f", "XDG_CACHE_HOME": str(tmp_path)}
    chosen = [__file__, "-k", "squares or repeat or plain or at_once"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert list((tmp_path / "lsg_jax").glob("kernels-*.so"))


@pytest.mark.parametrize("compiled_kernels", [True, False])
@pytest.mark.parametrize("size", [7, 8])
def test_a_stride_keeps_every_other_pixel_of_the_dense_convolution(size, compiled_kernels):
    images = jax.random.normal(jax.random.key(0), (2, size, size + 1, 3))
    weights = jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
    dense = jax.lax.conv(images.transpose(0, 3, 1, 2), weights.transpose(3, 2, 0, 1), (1, 1), "SAME")
    with mock.patch.object(native, "available", native.available if compiled_kernels else lambda: False):
        strided = convolution(images, weights, 2)
    np.testing.assert_allclose(strided, dense.transpose(0, 2, 3, 1)[:, ::2, ::2], rtol=1e-5, atol=1e-5)


def test_gradients_repeat_bit_for_bit():
    images, weights = jax.random.normal(jax.random.key(0), (37, 16, 16, 16)), jnp.ones((3, 3, 16, 32))
    gradient = jax.jit(jax.grad(lambda k: jnp.sum(convolution(images, k) ** 2)))
    first = gradient(weights)
    for _ in range(5):
        np.testing.assert_array_equal(gradient(weights), first)


def test_many_convolutions_at_once():
    images, weights = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 4)), jnp.ones((3, 3, 3, 4, 5))
    together = jax.vmap(jax.value_and_grad(lambda k, x: jnp.sum(convolution(x, k) ** 2)))(weights, images)
    for index in range(3):
        alone = jax.value_and_grad(lambda k, x: jnp.sum(convolution(x, k) ** 2))(weights[index], images[index])
        chex.assert_trees_all_equal(alone, jax.tree.map(lambda leaf, i=index: leaf[i], together))


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_with_a_compiler_the_kernels_are_there():
    assert native.available()


@pytest.mark.parametrize(
    ("compiler", "home", "said"),
    [
        ("no-such-compiler", "cache", "install g++ or clang"),
        ("c++ --no-such-flag", "cache", "c++ cannot compile the kernels (c++"),
        ("c++", "file", "set XDG_CACHE_HOME to a folder that can be written"),
    ],
)
def test_without_kernels_one_line_says_why(monkeypatch, caplog, tmp_path, compiler, home, said):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home))
    monkeypatch.setenv("CXX", compiler)
    assert not native.available.__wrapped__()
    assert said in caplog.text
    assert len(caplog.records) == 1


@pytest.fixture
def copying_compiler(monkeypatch, tmp_path):
    """A compiler that copies what another made and adds a line to ``times``, and a cache of its own."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    compiled = tmp_path / "compiled.so"
    compiled.write_bytes(native._library(["c++"]).read_bytes()[:-32])  # without its digest
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ["sh", "-c", f'for file; do :; done; cp {compiled} "$file"; echo >> {tmp_path / "times"}', "c++"]


def test_a_library_that_was_cut_or_changed_is_compiled_again(copying_compiler, tmp_path):
    compiler = copying_compiler
    library = native._library(compiler)
    whole = library.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", whole[:999] + b"x" + whole[1000:]):
        library.write_bytes(content)
        assert native._library(compiler).read_bytes() == whole
        native._library(compiler)
    assert len((tmp_path / "times").read_text()) == 5
    ctypes.cdll.LoadLibrary(str(library))


def test_another_compiler_compiles_anew(copying_compiler):
    libraries = {native._library(copying_compiler), native._library([*copying_compiler, "-mno-avx512f"])}
    assert set(cache.folder().iterdir()) == libraries
    assert len(libraries) == 2


@pytest.mark.parametrize("chosen", ["", "relative/folder"])
def test_a_cache_home_that_is_not_absolute_does_not_count(monkeypatch, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    assert cache.folder() == Path("~/.cache/lsg_jax").expanduser()
