import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.test_max_pool_indices import first_of
from tests.tolerance import FLOATS

pool = jax.jit(nn.global_max_pool, static_argnames="axes")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5, 2), -2),
        ((2, 4, 3), (-2,)),
        ((2, 3, 4, 2), (-3, -2)),
        ((3, 2, 4, 2), (-4, -2)),
        ((2, 2, 3, 2, 1), (-4, -3, -2)),
    ],
)
def test_the_first_maximum_gives_the_value_and_takes_the_gradient(rng, shape, axes):
    pooled = (axes,) if isinstance(axes, int) else axes
    kept = [axis for axis in range(len(shape)) if axis - len(shape) not in pooled]
    for values in ([-np.inf, -1.0, 0.0, 2.0], [-np.inf, 0.0, np.inf, np.nan], [-np.inf]):
        x = rng.choice(values, size=shape).astype(np.float32)
        y, pull = jax.vjp(lambda x: pool(x, axes=axes), jnp.asarray(x))
        dy = np.arange(1.0, y.size + 1, dtype=np.float32).reshape(y.shape)
        want, dx = np.zeros(y.shape), np.zeros(shape)
        for index in itertools.product(*(range(shape[axis]) for axis in kept)):
            where = [slice(None)] * len(shape)
            for axis, i in zip(kept, index, strict=True):
                where[axis] = i
            part = x[tuple(where)]
            place = np.unravel_index(first_of(part.ravel()), part.shape)
            want[index] = part[place]
            dx[tuple(where)][place] = dy[index]
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(pull(jnp.asarray(dy))[0], dx)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "uint8", "int32", "int64"])
def test_every_dtype_is_kept_to_its_limits(dtype, x64):
    info = jnp.iinfo if jnp.issubdtype(jnp.dtype(dtype), jnp.integer) else jnp.finfo
    x = jnp.asarray([[[info(dtype).min], [info(dtype).max]], [[info(dtype).min]] * 2], dtype)
    y = nn.global_max_pool(x, axes=-2)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.ravel(), x[:, ::-1].ravel()[np.array([0, 2])])


def test_curvature_is_zero_and_an_empty_batch_is_empty():
    f = lambda x: (nn.global_max_pool(x, axes=(-3, -2)) ** 2).sum()
    hessian = jax.jit(jax.hessian(f))(jnp.array([[[1.0], [3.0]], [[3.0], [2.0]]])).reshape(4, 4)
    assert np.argwhere(hessian).tolist() == [[1, 1]]
    y, dx = jax.jit(lambda x: (pool(x, axes=-2), jax.grad(f)(x[:, None])))(jnp.ones((0, 3, 2)))
    assert (y.shape, dx.shape) == ((0, 2), (0, 1, 3, 2))


def test_many_rows_and_long_axes_are_right(rng):
    x = np.asarray(rng.integers(0, 1000, (3, 32_771, 2)), np.float32)
    np.testing.assert_array_equal(pool(x, axes=-2), x.max(1))
    grad = jax.jit(jax.grad(lambda x: pool(x, axes=-2).sum()))(jnp.asarray(x))
    np.testing.assert_array_equal(np.asarray(grad).argmax(1), x.argmax(1))
    np.testing.assert_array_equal(grad.sum(1), 1)
    x = np.asarray(rng.standard_normal((32_771, 3, 1)), np.float32)
    np.testing.assert_array_equal(pool(x, axes=-2), x.max(1))


@pytest.mark.parametrize(
    ("x", "axes", "error", "words"),
    [
        (jnp.ones((2, 3, 1)), 1, ValueError, "axes"),
        (jnp.ones((2, 3, 1)), -1, ValueError, "channels"),
        (jnp.ones((2, 0, 1)), -2, ValueError, "x"),
        (jnp.ones((2, 3, 1)) > 0, -2, TypeError, "x"),
    ],
)
@pytest.mark.parametrize("function", [nn.global_max_pool, nn.global_avg_pool])
def test_what_does_not_fit_is_refused_by_name(function, x, axes, error, words):
    with pytest.raises(error, match=f"nn.{function.__name__}.*{words}"):
        function(x, axes=axes)
