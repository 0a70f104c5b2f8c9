import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.pooling_oracle import pooled, windows_of
from tests.tolerance import FLOATS, assert_close

OPTIONS = ("p", "strides", "padding", "dilation", "ceil_mode")
lp_pool = jax.jit(nn.lp_pool, static_argnums=1, static_argnames=OPTIONS)


@jax.jit
def gradient_of_pair(x):
    return jax.jacrev(lambda x: nn.lp_pool(x, 2)[0, 0])(x)


def norm(p):
    def one(values):
        size = np.abs(values.astype(np.float64))
        return size.max(initial=0) if p == math.inf else (size**p).sum() ** (1 / p)

    return one


@pytest.mark.parametrize(
    ("lead", "sizes", "window", "options"),
    [
        ((), (7,), 2, {"p": 1}),
        ((2,), (6,), 3, {"strides": 1, "padding": "CAUSAL", "dilation": 2, "p": 3}),
        ((2,), (5,), 1, {"strides": 3, "p": 2.5}),
        ((1,), (31,), 13, {"strides": 2, "padding": ((6, 9),)}),
        ((2,), (7, 5), (2, 2), {"p": math.inf}),
        ((2,), (4, 5), (3, 2), {"padding": ((3, 4), (0, 5)), "p": math.inf, "strides": 1}),
        ((2, 1), (6, 5), (3, 3), {"strides": 2, "padding": ((1, 1), (1, 1)), "ceil_mode": True}),
        ((2,), (4, 5), (3, 2), {"padding": ((2, 4), (0, 5)), "strides": 1}),
        ((1,), (4, 5, 3), (2, 3, 2), {"strides": (1, 2, 1), "padding": "SAME_LOWER", "p": 1.5}),
        ((), (3, 4, 5), (2, 2, 3), {"padding": "SAME", "p": 4}),
    ],
)
def test_it_is_the_norm_of_each_window_and_padding_is_zero(rng, lead, sizes, window, options):
    x = rng.standard_normal((*lead, *sizes, 2)).astype(np.float32)
    y = lp_pool(x, window, **options)
    geometry = {name: value for name, value in options.items() if name != "p"}
    want = pooled(x, sizes, *windows_of(sizes, window, **geometry), norm(options.get("p", 2)))
    assert_close(y, want, length=13)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4.5, math.inf])
def test_the_gradient_is_that_of_the_norm(rng, p):
    x = np.asarray(rng.standard_normal((7, 1)), np.float64)
    y, dx = jax.jit(jax.value_and_grad(lambda x: nn.lp_pool(x, 7, p=p)[0, 0]))(jnp.asarray(x, jnp.float32))
    size = np.abs(x)
    want = np.sign(x) * ((size / norm(p)(x)) ** (p - 1) if p < math.inf else size == size.max())
    assert_close(y, norm(p)(x), length=7)
    assert_close(dx, want, length=7)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, math.inf])
@pytest.mark.parametrize("window", [1, 9])
def test_a_window_of_zeros_has_zero_gradient_and_no_nan_in_any_order(p, window):
    f = lambda x: nn.lp_pool(x, window, p=p, strides=1, padding="SAME").sum()
    derivatives = jax.jit(lambda x: (f(x), jax.grad(f)(x), jax.jvp(f, (x,), (x + 1,))[1], jax.hessian(f)(x)))
    assert not any(np.asarray(leaf).any() for leaf in derivatives(jnp.zeros((11, 1))))
    assert not any(np.isnan(leaf).any() for leaf in derivatives(jnp.zeros((11, 1)).at[2].set(-3.0)))


def test_the_curvature_at_a_zero_beside_others_is_that_of_the_norm():
    x = jnp.array([0.0, 3.0, 4.0])
    hessian = jax.jit(jax.hessian(lambda x: nn.lp_pool(x[:, None], 3)[0, 0]))(x)
    unit = np.array([0.0, 0.6, 0.8])
    assert_close(hessian, (np.eye(3) - np.outer(unit, unit)) / 5, length=3)


@pytest.mark.parametrize("p", [1.5, 2, 3, 20])
@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e30, 1e37])
def test_neither_large_nor_tiny_numbers_overflow_or_vanish(p, size):
    x = jnp.array([[3.0], [-4.0]]) * size
    y = lp_pool(x, 2, p=p)
    assert_close(y / size, np.full((1, 1), (3.0**p + 4.0**p) ** (1 / p)), length=4)
    dx = jax.jit(jax.grad(lambda x: nn.lp_pool(x, 2, p=p)[0, 0]))(x)
    assert_close(
        dx.ravel(), np.array([3.0, -4.0]) ** 1 * (np.array([3, 4]) ** (p - 2)) / (3.0**p + 4.0**p) ** (1 - 1 / p)
    )


def test_infinity_has_a_gradient_and_nan_stays_in_its_window():
    x = jnp.array([[jnp.inf], [1.0], [jnp.nan], [1.0], [3.0], [4.0]])
    y, dx = jax.jit(jax.value_and_grad(lambda x: (lambda y: (y.sum(), y))(nn.lp_pool(x, 2)), has_aux=True))(x)
    np.testing.assert_array_equal(y[1].ravel(), [np.inf, np.nan, 5])
    np.testing.assert_allclose(dx.ravel(), [1, 0, np.nan, np.nan, 0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int32"])
def test_every_dtype_of_the_data(dtype, x64):
    x = jnp.asarray([[3], [-4], [120], [0]], dtype)
    y = nn.lp_pool(x, 2)
    assert y.dtype == (x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
    assert y.ravel().tolist() == [5, 120]


def test_long_odd_axes_are_right_and_an_empty_batch_is_empty(rng):
    x = np.asarray(rng.standard_normal((2, 32_771, 1)), np.float32)
    views = np.lib.stride_tricks.sliding_window_view(x[..., 0].astype(np.float64), 5, axis=1)[:, ::2]
    assert_close(lp_pool(x, 5, strides=2)[..., 0], np.sqrt((views**2).sum(-1)), length=5)
    assert lp_pool(x[:0], 5).shape == (0, 6554, 1)
