import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.pooling_oracle import windows_of
from tests.tolerance import FLOATS

OPTIONS = ("strides", "padding", "dilation", "ceil_mode")
run = jax.jit(nn.max_pool_with_indices, static_argnums=1, static_argnames=OPTIONS)


def first_of(values):
    """Where the first maximum stands, NaN being one."""
    best = 0
    for place, value in enumerate(values):
        if value > values[best] or (value != value and values[best] == values[best]):
            best = place
    return best


def check(x, sizes, window, **options):
    y, indices = run(jnp.asarray(x), window, **options)
    shape, members = windows_of(sizes, window, **options)
    lead, channels = x.shape[: -1 - len(sizes)], x.shape[-1]
    flat = np.asarray(x).reshape(-1, math.prod(sizes), channels)
    want = np.zeros((len(flat), len(members), channels), int)
    for b, (p, taps), c in itertools.product(range(len(flat)), enumerate(members), range(channels)):
        want[b, p, c] = taps[first_of(flat[b, taps, c])]
    assert (indices.dtype, y.dtype) == (jnp.int32, x.dtype)
    np.testing.assert_array_equal(indices, want.reshape(*lead, *shape, channels))
    np.testing.assert_array_equal(y, np.take_along_axis(flat, want, 1).reshape(*lead, *shape, channels))


@pytest.mark.parametrize(
    ("lead", "sizes", "window", "options"),
    [
        ((), (7,), 2, {}),
        ((2,), (6,), 3, {"strides": 1, "padding": "CAUSAL", "dilation": 2}),
        ((2,), (5,), 1, {"strides": 3}),
        ((1,), (40,), 9, {"strides": 1, "dilation": 3, "padding": "SAME_LOWER"}),
        ((2, 1), (6, 5), (3, 3), {"strides": 2, "padding": ((1, 1), (1, 1)), "ceil_mode": True}),
        ((2,), (7, 8), (2, 3), {"strides": 1, "dilation": (3, 2), "padding": ((1, 2), (2, 0))}),
        ((), (3, 4, 5), (2, 2, 3), {"padding": "SAME", "ceil_mode": True}),
    ],
)
def test_indices_name_the_first_maximum_among_ties_infinities_and_nan(rng, lead, sizes, window, options):
    draw = lambda values, p: rng.choice(values, size=(*lead, *sizes, 2), p=p).astype(np.float32)
    check(draw([-np.inf, -1.0, 0.0, 2.0], [0.4, 0.2, 0.2, 0.2]), sizes, window, **options)
    check(draw([-np.inf, 0.0, np.inf, np.nan], [0.3, 0.4, 0.2, 0.1]), sizes, window, **options)
    check(draw([-np.inf], [1.0]), sizes, window, **options)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "uint8", "int32"])
def test_every_dtype_is_kept_and_padding_is_never_named(rng, dtype, x64):
    values = [-3, 0, 3]
    if jnp.issubdtype(jnp.dtype(dtype), jnp.integer):
        limits = np.iinfo(dtype)
        values = [limits.min, limits.min, limits.max]
    x = np.asarray(jnp.asarray(rng.choice(values, size=(2, 5, 4, 2)), dtype))
    check(x, (5, 4), (3, 2), strides=(2, 1), padding="SAME")


def test_the_gradient_is_that_of_max_pool(rng):
    x = jnp.asarray(rng.integers(-1, 2, (2, 6, 5, 3)), jnp.float32)
    options = {"strides": 1, "padding": "SAME"}
    # Whole numbers: an input that wins several windows gets the same sum in any order.
    dy = jnp.asarray(rng.integers(-9, 10, (2, 6, 5, 3)), jnp.float32)
    grads = [
        jax.jit(lambda x, f=f: jax.vjp(f, x)[1](dy)[0])(x)
        for f in (
            lambda x: nn.max_pool_with_indices(x, (2, 3), **options)[0],
            lambda x: nn.max_pool(x, (2, 3), **options),
        )
    ]
    np.testing.assert_array_equal(*grads)


def test_forward_mode_curvature_and_an_empty_batch():
    x, tangent = jnp.array([1.0, 3.0, 3.0, 2.0])[:, None], jnp.array([10.0, 20.0, 30.0, 40.0])[:, None]
    f = lambda x: nn.max_pool_with_indices(x, 3, strides=1)[0]
    assert jax.jvp(f, (x,), (tangent,))[1].ravel().tolist() == [20, 20]
    assert not jax.hessian(lambda x: f(x).sum())(x).any()
    y, indices = run(jnp.ones((0, 4, 1)), 3)
    assert y.shape == indices.shape == (0, 1, 1)


def test_long_odd_axes_are_right(rng):
    x = np.asarray(rng.integers(0, 4, (2, 32_771, 1)), np.float32)
    views = np.lib.stride_tricks.sliding_window_view(x[..., 0], 5, axis=1)[:, ::2]
    indices = run(jnp.asarray(x), 5, strides=2)[1]
    np.testing.assert_array_equal(indices[..., 0], views.argmax(-1) + 2 * np.arange(views.shape[1]))
