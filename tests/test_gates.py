"""The gate against NumPy in float64, written from Algorithm 1 and section 3.3, and hand-computed cases."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsg_jax import gates

SHAPES = st.sampled_from([(1, 1), (1, 6), (6, 1), (2, 3), (5, 4), (6, 6)])  # few: each is compiled for
MATRICES = hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def paper_projection(gate):
    """Algorithm 1 lines 7 and 8, in float64, column by column."""
    gate = np.asarray(gate, np.float64)
    columns = [np.clip(column / np.abs(column).max(), 0, 1) for column in gate.T]
    return np.stack(columns, axis=1)


def assert_constraint(projected):
    projected = np.asarray(projected, np.float64)
    assert np.all(projected.max(axis=-2) == 1)
    assert np.all((projected >= 0) & (projected <= 1))


@settings(deadline=None, max_examples=200)
@given(MATRICES)
def test_project_keeps_the_constraint_and_is_idempotent(gate):
    for project in (gates.project, jax.jit(gates.project)):
        projected = project(jnp.asarray(gate))
        assert_constraint(projected)
        chex.assert_trees_all_equal(project(projected), projected)


@settings(deadline=None, max_examples=200)
# Not of subnormal numbers: XLA reads them as 0 on a CPU.
@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False)))
def test_project_equals_the_paper_where_the_largest_magnitude_is_positive(gate):
    largest = gate[np.abs(gate).argmax(axis=0), np.arange(gate.shape[1])]
    columns = largest > 1e-30
    expected = paper_projection(gate[:, columns]) if columns.any() else np.zeros((len(gate), 0))
    np.testing.assert_allclose(gates.project(jnp.asarray(gate))[:, columns], expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0.5, 0.25, -1.0], [1, 0.5, 0]),
        ([0, 0, 0], [1, 1, 1]),
        ([-3, -1, -2], [0, 1, 0]),
        ([1e-45, 0, 0], None),
        ([3.4e38, 1.7e38, -3.4e38], [1, 0.5, 0]),
        ([1e-38, 5e-39, 0], None),
    ],
)
def test_project_on_hard_columns(column, expected):
    projected = jax.jit(gates.project)(jnp.asarray(column, jnp.float32)[:, None])
    assert_constraint(projected)
    if expected is not None:
        np.testing.assert_allclose(projected[:, 0], expected, rtol=1e-6)


def test_project_in_half_precision_and_under_vmap():
    stack = np.random.default_rng(0).normal(size=(5, 10, 64)).astype(np.float32)
    projected = jax.vmap(gates.project)(jnp.asarray(stack))
    for one, gate in zip(projected, stack, strict=True):
        assert_constraint(one)
        chex.assert_trees_all_equal(one, gates.project(jnp.asarray(gate)))
    for dtype in (jnp.bfloat16, jnp.float16):
        half = gates.project(jnp.asarray(stack[0], dtype))
        assert half.dtype == dtype
        assert_constraint(half.astype(jnp.float32))


@jax.jit
def updated_gate(learning_rate, gradient, gate):
    optimizer = optax.chain(optax.sgd(learning_rate), gates.projection())
    updates, _ = optimizer.update(gradient, optimizer.init(gate), gate)
    return optax.apply_updates(gate, updates)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2))
def test_projected_update_against_algorithm_1_in_float64(seed, learning_rate):
    rng = np.random.default_rng(seed)
    gate = paper_projection(rng.uniform(0.01, 1, (10, 12))).astype(np.float32)
    gradient = rng.normal(size=gate.shape).astype(np.float32) * 0.1
    moved = gate.astype(np.float64) - learning_rate * gradient.astype(np.float64)
    usable = (moved > 0).any(axis=0) & (moved.max(axis=0) >= -moved.min(axis=0))
    updated = updated_gate(learning_rate, gradient, gate)
    np.testing.assert_allclose(updated[:, usable], paper_projection(moved[:, usable]), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_projection_lands_exactly_on_the_constraint(seed):
    rng = np.random.default_rng(seed)
    gate = jnp.asarray(paper_projection(rng.uniform(1e-6, 1, (10, 12))), jnp.float32)
    step = jnp.asarray(rng.normal(size=gate.shape) * 10.0 ** rng.integers(-8, 3), jnp.float32)
    updates, _ = gates.projection().update(step, optax.EmptyState(), gate)
    assert_constraint(optax.apply_updates(gate, updates))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("compiled", [False, True])
def test_projection_moves_many_gates_at_once_in_each_dtype(dtype, compiled):
    rng = np.random.default_rng(0)
    stack = jax.vmap(gates.project)(jnp.asarray(rng.uniform(size=(7, 10, 64)), dtype))
    steps = jnp.asarray(rng.normal(size=stack.shape), dtype)
    transform = gates.projection()

    def move(gate, step):
        return optax.apply_updates(gate, transform.update(step, optax.EmptyState(), gate)[0])

    move_all = jax.vmap(move)
    moved = (jax.jit(move_all) if compiled else move_all)(stack, steps)
    assert moved.dtype == dtype
    assert_constraint(moved)
    for one, gate, step in zip(moved, stack, steps, strict=True):
        total = np.asarray(gate, np.float64) + np.asarray(step, np.float64)
        usable = (total > 0).any(axis=0) & (total.max(axis=0) >= -total.min(axis=0))
        tolerance = 4 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(
            np.asarray(one, np.float64)[:, usable], paper_projection(total[:, usable]), atol=tolerance * 10
        )


def test_projection_keeps_a_degenerate_column_and_hides_nothing_that_is_not_finite():
    gate = jnp.asarray([[1.0, 1.0, 1.0, 1.0], [0.5, 0.25, 0.5, 0.5]])
    step = jnp.asarray([[-2.0, -0.5, jnp.nan, jnp.inf], [-2.0, 0.0, 0.0, 0.0]])
    updates, _ = gates.projection().update(step, optax.EmptyState(), gate)
    nan = np.nan
    np.testing.assert_allclose(optax.apply_updates(gate, updates), [[1, 1, nan, nan], [0.5, 0.5, nan, nan]])


def test_fixed_is_appendix_c():
    gate = np.asarray(gates.fixed(10, 6, 4))
    assert gate.shape == (10, 64)
    for row in range(10):
        expected = np.zeros(64)
        expected[6 * row : 6 * row + 6] = 1
        expected[60:] = 1
        np.testing.assert_array_equal(gate[row], expected)


def test_tighten_density_and_ownership_by_hand():
    gate = jnp.asarray([[1.0, 1.0, 1.0, 0.2], [0.4, 0.5, 1.0, 1.0]])
    np.testing.assert_array_equal(gates.tighten(gate, 0.5), [[1, 1, 1, 0], [0, 1, 1, 1]])
    assert float(gates.density(gate)) == pytest.approx(6.1 / 8)
    owned = gates.ownership(gate, 0.5)
    np.testing.assert_array_equal(owned.holds, [[1, 1, 1, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(owned.alone, [[1, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(owned.monopolised, [1, 1])
    assert int(owned.shared) == 2


def test_labels_that_a_program_closes_over_are_seen():
    gate, labels = jnp.eye(3), jnp.array([0, 1])
    np.testing.assert_array_equal(jax.jit(lambda scale: gates.rows(scale * gate, labels))(2.0), 2 * np.eye(3)[:2])
    no_class = jnp.array([0, 3])
    with pytest.raises(ValueError, match=r"in \[0, 2\], got 0 to 3"):
        jax.jit(lambda scale: gates.rows(scale * gate, no_class))(2.0)


def test_a_threshold_may_be_an_array_of_one():
    np.testing.assert_array_equal(gates.tighten(jnp.eye(3), jnp.float32(0.5)), np.eye(3))
    with pytest.raises(ValueError, match=r"in \(0, 1\], got .*1.5"):
        gates.tighten(jnp.eye(3), jnp.float32(1.5))
