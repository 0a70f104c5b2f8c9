from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close


@partial(jax.jit, static_argnames=("size", "alpha", "beta", "k"))
def run(x, dy, **options):
    y, pull = jax.vjp(lambda x: nn.local_response_norm(x, **options), x)
    return y, pull(dy)[0]


def oracle(x, dy, *, size, alpha=1e-4, beta=0.75, k=1.0):
    """Rows (n, C), one channel after another."""
    x, dy = (np.asarray(a).astype(np.float64) for a in (x, dy))
    c = x.shape[-1]
    windows = [[j for j in range(i - size // 2, i + (size - 1) // 2 + 1) if 0 <= j < c] for i in range(c)]
    base = np.stack([k + alpha / size * (x[:, window] ** 2).sum(-1) for window in windows], -1)
    dx = dy * base**-beta
    for i, window in enumerate(windows):
        for j in window:
            dx[:, j] -= 2 * alpha / size * beta * dy[:, i] * x[:, i] * base[:, i] ** (-beta - 1) * x[:, j]
    return x * base**-beta, dx


def check(x, dy, **options):
    y, dx = run(x, dy, **options)
    assert y.dtype == dx.dtype == x.dtype
    wanted, wanted_dx = oracle(x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1]), **options)
    assert_close(y, wanted.reshape(x.shape), length=16)
    assert_close(dx, wanted_dx.reshape(x.shape), length=16, scale=4)


def draw(rng, shape, dtype=jnp.float32):
    return (jnp.asarray(scale * rng.standard_normal(shape), dtype) for scale in (3, 1))


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 7), {"size": 5}),
        ((2, 3, 6), {"size": 4, "alpha": 0.5}),
        ((6,), {"size": 1, "alpha": 2.0, "beta": 0.5}),
        ((2, 3), {"size": 2, "alpha": 1.0, "beta": 2.0, "k": 0.25}),
        ((2, 3), {"size": 50, "alpha": 1.0, "beta": -1.0}),
        ((2, 20), {"size": 12, "alpha": 0.5, "beta": 0.0}),
        ((2, 20), {"size": 11, "alpha": 0.5, "k": 2.0}),
        ((3, 1), {"size": 3, "alpha": 0.5}),
        ((3, 4), {"size": 3, "alpha": 0.0, "k": 4.0}),
    ],
)
def test_values_and_gradients_are_the_closed_forms(rng, shape, options):
    check(*draw(rng, shape), **options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    check(*draw(rng, (3, 6), dtype), size=3, alpha=0.5)


@pytest.mark.parametrize(("size", "reached"), [(1, [2]), (2, [2, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 4])])
def test_an_even_size_takes_its_extra_channel_before_and_flipped_after(size, reached):
    """A window that holds channel 2 takes it from ½ to less; ONNX' even windows come from flipping the channels."""
    x = jnp.full(6, 0.5).at[2].set(100.0)
    function = lambda x: nn.local_response_norm(x, size=size, alpha=1.0, beta=1.0)
    assert np.flatnonzero(function(x) < 0.25).tolist() == reached
    onnx = function(x[::-1])[::-1]
    after = [c for c in range(6) if c - (size - 1) // 2 <= 2 <= c + size // 2]
    assert np.flatnonzero(onnx < 0.25).tolist() == after


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_the_neighbours_and_no_farther(rng, value):
    x, dy = draw(rng, (2, 8))
    clean = run(x, dy, size=3, alpha=0.5)
    found = run(x.at[1, 0].set(value), dy, size=3, alpha=0.5)
    for a, b in zip(found, clean, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1, 3:], b[1, 3:])


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e20, -3e38])
def test_extreme_values_have_their_limit_and_a_finite_gradient(value):
    x = jnp.array([[value, 1.0, value, value]])
    y, dx = run(x, jnp.ones_like(x), size=3)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    if abs(value) < 1:
        assert_close(y, oracle(x, x, size=3)[0])


def test_half_precision_squares_do_not_overflow():
    x = jnp.full((1, 4), 60000.0, jnp.float16)
    y, dx = run(x, jnp.ones_like(x), size=3, alpha=1.0, beta=0.5)
    assert_close(y, 3**0.5 / np.array([[2, 3, 3, 2]]) ** 0.5)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_gives_nothing(shape):
    y, dx = run(jnp.ones(shape), jnp.ones(shape), size=3)
    assert y.shape == dx.shape == shape


def test_the_hessian_is_that_of_the_formula(rng, x64):
    x = rng.standard_normal(4)
    band = (np.abs(np.subtract.outer(np.arange(4), np.arange(4))) <= 1).astype(float)
    plain = lambda x: (x * (1 + 0.5 / 3 * (band * x[None] ** 2).sum(-1)) ** -0.75).sum()
    ours = lambda x: nn.local_response_norm(x, size=3, alpha=0.5).sum()
    assert_close(jax.hessian(ours)(x), jax.hessian(plain)(x), length=4)
