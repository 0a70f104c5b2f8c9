from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan


def oracle(x, dy, axis=-1):
    """The projection by bisection for τ, and its pullback, in float64."""
    x, dy = (np.moveaxis(np.asarray(a).astype(np.float64), axis, -1) for a in (x, dy))
    # The largest entry becomes 0, as adding a constant changes nothing.
    x = x - x.max(-1, keepdims=True)
    low, high = np.full((*x.shape[:-1], 1), -1.0), np.zeros((*x.shape[:-1], 1))
    for _ in range(80):
        middle = (low + high) / 2
        over = np.maximum(x - middle, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    y = np.maximum(x - low, 0)
    support = y > 1e-14
    dx = np.where(support, dy - (support * dy).sum(-1, keepdims=True) / support.sum(-1, keepdims=True), 0)
    return np.moveaxis(y, -1, axis), np.moveaxis(dx, -1, axis)


@partial(jax.jit, static_argnames="axis")
def with_gradient(x, dy, axis=-1):
    y, pull = jax.vjp(lambda x: nn.sparsemax(x, axis=axis), x)
    return y, pull(dy)[0]


@pytest.mark.parametrize(("shape", "axis"), [((7,), -1), ((50, 6), 1), ((6, 9), 0), ((3, 5, 4), -2), ((4, 1), -1)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_values_and_gradients_are_those_of_the_projection(rng, shape, axis, scale):
    x, dy = (jnp.asarray(s * rng.standard_normal(shape), jnp.float32) for s in (scale, 1))
    for found, wanted in zip(with_gradient(x, dy, axis), oracle(x, dy, axis), strict=True):
        assert_close(found, wanted, length=shape[axis], scale=3)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    x, dy = (jnp.asarray(rng.standard_normal((20, 5)), dtype) for _ in range(2))
    (y, dx), wanted = with_gradient(x, dy), oracle(x, dy)
    assert y.dtype == dx.dtype == dtype
    assert_close(y, wanted[0], scale=2)
    assert_close(dx, wanted[1], scale=3)


def test_it_is_the_nearest_point_of_the_simplex(rng):
    """No oracle at all: the angle between x − y and any way into the simplex is at least a right one."""
    x = 2 * rng.standard_normal((200, 8))
    y = np.asarray(jax.jit(nn.sparsemax)(jnp.asarray(x, jnp.float32)), np.float64)
    assert (y >= 0).all()
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-6)
    for corner in np.eye(8):
        assert (((x - y) * (corner - y)).sum(-1) < 1e-5).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0.3], [1]),
        ([1.0, 0.5, -1.0], [0.75, 0.25, 0]),
        ([0, 0, 0, 0], [0.25] * 4),
        ([2, 2, 0], [0.5, 0.5, 0]),
        ([0.5, 0.5, 0.25], [5 / 12, 5 / 12, 2 / 12]),
        ([-INF, 0, 0], [0, 0.5, 0.5]),
        ([-INF, -INF, 3], [0, 0, 1]),
        ([INF, 0, 1], [1, 0, 0]),
        ([INF, -INF, INF], [0.5, 0, 0.5]),
        ([1e30, 1e30, -1e30], [0.5, 0.5, 0]),
        ([3e38, -3e38, 0], [1, 0, 0]),
        ([1e-42, -1e-42], [0.5, 0.5]),
        ([-INF, -INF], [0, 0]),
    ],
)
def test_ties_large_values_and_infinities_have_their_limits_and_no_gradient_is_nan(x, y):
    found, dx = with_gradient(jnp.asarray(x, jnp.float32), jnp.arange(1.0, len(x) + 1))
    assert_close(found, y, length=3)
    assert np.isfinite(dx).all()
    if np.isfinite(x).all():
        assert_close(dx, oracle(x, np.arange(1.0, len(x) + 1))[1], scale=4)
    _, tangent = jax.jvp(nn.sparsemax, (jnp.asarray(x, jnp.float32),), (jnp.ones(len(x)),))
    assert_close(tangent, np.zeros(len(x)), scale=1)  # adding a constant changes nothing


@pytest.mark.parametrize(
    ("x", "y", "support"),
    [
        ([1.0, 0.0, -3.0], [1, 0, 0], [1, 0, 0]),
        ([0.5, -0.5, -0.5], [1, 0, 0], [1, 0, 0]),
        ([0.0, -0.25, -0.625], [0.625, 0.375, 0], [1, 1, 0]),
    ],
)
def test_at_a_kink_an_entry_on_the_threshold_is_outside_the_support(x, y, support):
    """The entries after the support have x = τ exactly, or are far below it; their output and gradient are 0."""
    dy, s = np.array([1.0, 2.0, 4.0]), np.array(support, float)
    found, dx = with_gradient(jnp.asarray(x, jnp.float32), jnp.asarray(dy, jnp.float32))
    np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(dx, s * (dy - (s * dy).sum() / s.sum()))


def test_nan_stays_in_its_slice():
    y, dx = with_gradient(jnp.array([[0.0, NAN, -5.0], [0.0, 0.0, -5.0]]), jnp.ones((2, 3)))
    assert np.isnan(y[0]).all()
    assert_close(y[1], [0.5, 0.5, 0])
    assert_close(dx[1], [0, 0, 0])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_nothing_gives_nothing(shape):
    y, dx = with_gradient(jnp.ones(shape), jnp.ones(shape))
    assert y.shape == dx.shape == shape


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_many_classes(rng, dtype):
    many = 32_771
    x = np.stack([rng.standard_normal(many), np.full(many, 7.5), rng.uniform(0, 1e-2, many), -np.arange(float(many))])
    x, dy = jnp.asarray(x, dtype), jnp.asarray(rng.standard_normal((4, many)), dtype)
    y, _ = with_gradient(x, dy)
    assert_close(y, oracle(x, dy)[0], length=many if dtype == "float32" else 1, scale=1e-2)
    np.testing.assert_allclose(np.asarray(y, np.float64).sum(-1), 1, atol=1e-3 if dtype == "float32" else 1e-2)


def test_the_second_derivative_is_zero_and_the_jacobian_the_papers(rng):
    x = jnp.asarray([0.3, 0.1, -0.2, -4.0])
    jacobian = jax.jit(jax.jacobian(nn.sparsemax))(x)
    s = np.array([1, 1, 1, 0.0])
    assert_close(jacobian, np.diag(s) - np.outer(s, s) / 3)
    np.testing.assert_array_equal(jax.jit(jax.jacfwd(nn.sparsemax))(x), jacobian)
    assert not np.asarray(jax.jit(jax.hessian(lambda x: nn.sparsemax(x)[0]))(x)).any()
