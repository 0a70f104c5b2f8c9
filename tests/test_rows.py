"""Sums and maxima in blocks are those of the whole, on both sides of every threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import _rows

# Without blocks, with all of them, with two, four and eight; rests in most.
SHAPES = ((5, 31), (9, 37), (1, 4099), (40000, 1), (321, 123), (1, 65543), (700, 190), (131, 2003))


@pytest.mark.parametrize("shape", SHAPES)
def test_in_blocks_is_the_whole(rng, shape):
    # Whole numbers: no order of adding rounds them.
    x = rng.integers(-8, 9, shape).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(_rows.row_sum)(x), x.sum(1, keepdims=True))
    np.testing.assert_array_equal(jax.jit(_rows.block_sum)(x), x.sum(1, keepdims=True))
    np.testing.assert_array_equal(jax.jit(_rows.row_max)(x), x.max(1, keepdims=True))
    np.testing.assert_array_equal(jax.jit(_rows.column_sum)(x), x.sum(0))
    np.testing.assert_array_equal(_rows.stack_sum(x[None].repeat(2, 0)), x[None].repeat(2, 0).sum(1))


@pytest.mark.parametrize("shape", SHAPES[3:6])
def test_gradients_are_those_of_the_plain_sum(shape):
    x, weights = jnp.ones(shape), jnp.arange(shape[1], dtype=jnp.float32)
    np.testing.assert_array_equal(
        jax.grad(lambda x: (_rows.column_sum(x) * weights).sum())(x), np.tile(weights, (shape[0], 1))
    )
    np.testing.assert_array_equal(jax.grad(lambda x: _rows.row_sum(x).sum())(x), x)
    np.testing.assert_array_equal(jax.grad(lambda x: _rows.block_sum(x).sum())(x), x)


def test_as_many_blocks_as_leave_enough():
    assert [_rows.blocks(size) for size in (1, 2**15, 2**15 + 1, 2**16, 2**17, 2**18 - 1, 2**18, 2**24)] == [
        1, 1, 8, 2, 4, 4, 8, 8,
    ]  # fmt: skip
