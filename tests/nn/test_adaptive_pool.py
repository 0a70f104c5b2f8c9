import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.test_max_pool_indices import first_of
from tests.tolerance import FLOATS, assert_close


def bins(n, m):
    return [range(math.floor(i * n / m), math.ceil((i + 1) * n / m)) for i in range(m)]


def oracle(x, sizes, asked, dy):
    """Maximum, its place, mean and both gradients, a window at a time; the batch is one axis."""
    asked = [n if m is None else m for n, m in zip(sizes, asked, strict=True)]
    shape = (len(x), math.prod(asked), x.shape[-1])
    flat, dy = x.reshape(len(x), -1, x.shape[-1]).astype(np.float64), dy.reshape(shape)
    place, mean = np.zeros(shape, int), np.zeros(shape)
    dmax, dmean = np.zeros(flat.shape), np.zeros(flat.shape)
    for p, axes in enumerate(itertools.product(*map(bins, sizes, asked))):
        taps = [int(np.ravel_multi_index(i, sizes)) for i in itertools.product(*axes)]
        for b, c in np.ndindex(len(x), x.shape[-1]):
            place[b, p, c] = taps[first_of(flat[b, taps, c])]
            mean[b, p, c] = flat[b, taps, c].mean()
            dmax[b, place[b, p, c], c] += dy[b, p, c]
            dmean[b, taps, c] += dy[b, p, c] / len(taps)
    result = (len(x), *asked, x.shape[-1])
    y = np.take_along_axis(flat, place, 1)
    return y.reshape(result), place.reshape(result), mean.reshape(result), dmax.reshape(x.shape), dmean.reshape(x.shape)


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        ((7,), (3,)),
        ((6,), (3,)),
        ((3,), (6,)),
        ((4,), (6,)),
        ((5,), (1,)),
        ((1,), (4,)),
        ((7, 5), (3, 5)),
        ((6, 4), (4, None)),
        ((3, 5), (5, 7)),
        ((3, 4, 5), (2, 2, 3)),
        ((2, 3, 4), (None, 5, 2)),
    ],
)
def test_windows_start_and_end_at_even_shares(rng, sizes, asked):
    shape = tuple(n if m is None else m for n, m in zip(sizes, asked, strict=True))
    dy = np.asarray(rng.integers(-3, 4, (2, *shape, 2)), np.float32)
    compiled = jax.jit(
        lambda x, dy: (
            *nn.adaptive_max_pool_with_indices(x, asked),
            *(
                (y, pull(dy)[0])
                for y, pull in (
                    jax.vjp(lambda x: nn.adaptive_max_pool(x, asked), x),
                    jax.vjp(lambda x: nn.adaptive_max_pool_with_indices(x, asked)[0], x),
                    jax.vjp(lambda x: nn.adaptive_avg_pool(x, asked), x),
                )
            ),
        )
    )
    for values in (np.linspace(-1, 1, 50), [-np.inf, 0.0, 1.0], [-np.inf]):
        x = np.asarray(rng.choice(values, (2, *sizes, 2)), np.float32)
        y, indices, (again, dmax), (_, dmax_again), (mean, dmean) = compiled(x, dy)
        want, place, average, want_dmax, want_dmean = oracle(x, sizes, asked, dy)
        assert indices.dtype == jnp.int32
        for got, wanted in ((y, want), (again, want), (indices, place), (dmax, want_dmax), (dmax_again, want_dmax)):
            np.testing.assert_array_equal(got, wanted)
        assert_close(mean, average, length=8)
        assert_close(dmean, want_dmean, length=16)


def test_an_int_is_one_axis_and_leading_axes_are_free(rng):
    x = jnp.asarray(rng.standard_normal((2, 3, 7, 2)), jnp.float32)
    for pool in (nn.adaptive_max_pool, nn.adaptive_avg_pool):
        y = pool(x, 3)
        assert y.shape == (2, 3, 3, 2)
        np.testing.assert_array_equal(pool(x, (np.int64(3),)), y)
        np.testing.assert_array_equal(pool(x[1, 2], 3), y[1, 2])
        np.testing.assert_array_equal(jax.jit(jax.vmap(lambda x, pool=pool: pool(x, (3, 2))))(x), pool(x, (3, 2)))
        assert pool(x[:0], (3, 2)).shape == (0, 3, 2, 2)


def test_nan_and_infinity_reach_the_windows_that_hold_them_and_no_other():
    x = jnp.array([[0.0], [jnp.nan], [jnp.inf], [1.0], [2.0], [3.0], [jnp.nan]])
    y, indices = nn.adaptive_max_pool_with_indices(x, 4)  # 0–1, 1–3, 3–5, 5–6
    np.testing.assert_array_equal(y.ravel(), [np.nan, np.nan, 3, np.nan])
    assert indices.ravel().tolist() == [1, 1, 5, 6]
    np.testing.assert_array_equal(nn.adaptive_avg_pool(x, 4).ravel(), [np.nan, np.nan, 2, np.nan])
    np.testing.assert_array_equal(nn.adaptive_avg_pool(x[2:6], 3).ravel(), [np.inf, 1.5, 2.5])


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "uint8", "int32"])
def test_every_dtype_and_integers(dtype, x64):
    x = jnp.asarray([[100], [120], [127], [3], [7]], dtype)
    y, indices = nn.adaptive_max_pool_with_indices(x, 2)
    assert y.dtype == nn.adaptive_max_pool(x, 2).dtype == x.dtype
    assert y.ravel().tolist() == nn.adaptive_max_pool(x, 2).ravel().tolist() == [127, 127]
    assert indices.ravel().tolist() == [2, 2]
    mean = nn.adaptive_avg_pool(x, 2)
    assert mean.dtype == (x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
    assert_close(mean.ravel(), np.array([347, 137]) / 3)


def test_half_precision_sums_are_wide():
    x = jnp.full((2049, 2), 60_000.0, jnp.float16)
    assert (nn.adaptive_avg_pool(x, 2) == 60_000).all()


def test_curvature_is_zero_and_forward_mode_is_the_gradient(rng):
    x, t = (jnp.asarray(rng.standard_normal((5, 4, 1)), jnp.float32) for _ in range(2))
    for pool in (nn.adaptive_max_pool, nn.adaptive_avg_pool):
        f = lambda x, pool=pool: pool(x, (3, 3)).sum()
        grad, pushed, hessian = jax.jit(
            lambda x, t, f=f: (jax.grad(f)(x), jax.jvp(f, (x,), (t,))[1], jax.hessian(f)(x))
        )(x, t)
        assert_close(pushed, (grad * t).sum(), length=20, scale=10)
        assert not hessian.any()


def test_long_odd_axes_are_right(rng):
    x = np.asarray(rng.standard_normal((2, 32_771, 1)), np.float32)
    y, indices = jax.jit(lambda x: nn.adaptive_max_pool_with_indices(x, 9))(x)
    mean = jax.jit(lambda x: nn.adaptive_avg_pool(x, 9))(x)
    for i, taps in enumerate(bins(32_771, 9)):
        part = x[:, taps.start : taps.stop, 0]
        np.testing.assert_array_equal(y[:, i, 0], part.max(1))
        np.testing.assert_array_equal(indices[:, i, 0], taps.start + part.argmax(1))
        assert_close(mean[:, i, 0], part.mean(1, dtype=np.float64), length=3642, scale=0.01)
