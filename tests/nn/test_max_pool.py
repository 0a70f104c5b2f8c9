import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.window_starts import starts
from tests.tolerance import FLOATS

OPTIONS = ("strides", "padding", "dilation", "ceil_mode")
max_pool = jax.jit(nn.max_pool, static_argnums=1, static_argnames=OPTIONS)


@partial(jax.jit, static_argnums=2, static_argnames=OPTIONS)
def with_gradient(x, dy, window, **options):
    y, pull = jax.vjp(lambda x: nn.max_pool(x, window, **options), x)
    return y, pull(dy)[0]


def oracle(x, window, dy=None, *, strides=None, padding="VALID", dilation=1, ceil_mode=False):
    """Values and the gradient to the first maximum (a NaN is one) in row-major order; the batch is one axis."""
    count = 1 if isinstance(window, int) else len(window)
    strides = window if strides is None else strides
    window, strides, dilation = (np.broadcast_to(option, count) for option in (window, strides, dilation))
    axes = [
        starts(n, k, s, d, padding if isinstance(padding, str) else padding[axis], ceil_mode)[0]
        for axis, (n, k, s, d) in enumerate(zip(x.shape[1:-1], window, strides, dilation, strict=True))
    ]
    y = np.zeros((x.shape[0], *map(len, axes), x.shape[-1]), x.dtype)
    dx = np.zeros(x.shape)
    for b, c in itertools.product(range(x.shape[0]), range(x.shape[-1])):
        for p in itertools.product(*(range(len(axis)) for axis in axes)):
            best = None
            for j in itertools.product(*map(range, window)):
                i = tuple(int(axes[a][p[a]] + j[a] * dilation[a]) for a in range(count))
                if any(not 0 <= q < n for q, n in zip(i, x.shape[1:-1], strict=True)):
                    continue
                value = x[(b, *i, c)]
                if (
                    best is None
                    or value > x[(b, *best, c)]
                    or (value != value and x[(b, *best, c)] == x[(b, *best, c)])
                ):
                    best = i
            y[(b, *p, c)] = x[(b, *best, c)]
            if dy is not None:
                dx[(b, *best, c)] += dy[(b, *p, c)]
    return y, dx


def check(x, window, batch_axes, **options):
    """Values and gradients equal the oracle's exactly: a maximum rounds nothing, and whole cotangents sum exactly."""
    rows = np.asarray(x).reshape(-1, *x.shape[batch_axes:])
    if jnp.issubdtype(x.dtype, np.floating):
        rows = rows.astype(np.float64)
    shape = jax.eval_shape(partial(nn.max_pool, window=window, **options), x).shape
    dy = np.arange(1, math.prod(shape) + 1).reshape(shape) % 7 + 1
    y, dx = oracle(rows, window, dy.reshape(-1, *shape[batch_axes:]), **options)
    if jnp.issubdtype(x.dtype, np.floating):
        found, grad = with_gradient(x, jnp.asarray(dy, x.dtype), window, **options)
        assert grad.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(grad).astype(np.float64), dx.reshape(x.shape))
    else:
        found = max_pool(x, window, **options)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(found).astype(y.dtype), y.reshape(shape))


GEOMETRIES = [
    ((), (7,), 2, {}),
    ((2,), (7,), 3, {"strides": 1, "padding": "SAME"}),
    ((2, 2), (8,), 4, {"strides": 3, "padding": "SAME_LOWER"}),
    ((2,), (6,), 3, {"strides": 1, "padding": "CAUSAL", "dilation": 2}),
    ((2,), (5,), 1, {"strides": 3}),
    ((1,), (7,), 3, {"strides": 2, "padding": ((1, 0),), "ceil_mode": True}),
    ((2,), (6,), 2, {"strides": 3, "padding": ((1, 1),), "ceil_mode": True}),
    ((1,), (31,), 13, {"strides": 2, "padding": ((6, 5),)}),
    ((1,), (40,), 9, {"strides": 1, "dilation": 3, "padding": "SAME"}),
    ((2,), (7, 5), (2, 2), {}),
    ((), (7, 6), (3, 2), {"strides": (2, 1), "padding": "SAME"}),
    ((2, 1), (6, 5), (3, 3), {"strides": 2, "padding": ((1, 1), (1, 1)), "ceil_mode": True}),
    ((2,), (7, 8), (2, 3), {"strides": 1, "dilation": (3, 2), "padding": ((1, 2), (2, 0))}),
    ((1,), (4, 5, 3), (2, 3, 2), {"strides": (1, 2, 1)}),
    ((), (3, 4, 5), (2, 2, 3), {"padding": "SAME", "ceil_mode": True}),
]


@pytest.mark.parametrize(("batch", "sizes", "window", "options"), GEOMETRIES)
def test_with_ties_the_first_maximum_takes_the_gradient(rng, batch, sizes, window, options):
    # Few different values, so that nearly every window holds a tie; −inf ties with padding.
    x = rng.choice([-np.inf, -1.0, 0.0, 2.0], size=(*batch, *sizes, 2), p=[0.4, 0.2, 0.2, 0.2])
    check(jnp.asarray(x, jnp.float32), window, len(batch), **options)


@pytest.mark.parametrize(("batch", "sizes", "window", "options"), [GEOMETRIES[i] for i in (1, 7, 11)])
def test_constant_input_of_any_kind_goes_to_the_first_input_of_the_window(batch, sizes, window, options):
    for special in (-np.inf, np.inf, np.nan, 0.0):
        check(jnp.full((*batch, *sizes, 2), special), window, len(batch), **options)


@pytest.mark.parametrize(("batch", "sizes", "window", "options"), [GEOMETRIES[i] for i in (1, 7, 11)])
def test_nan_is_a_maximum_and_infinity_is_below_it(rng, batch, sizes, window, options):
    x = rng.choice([-np.inf, 0.0, np.inf, np.nan], size=(*batch, *sizes, 2), p=[0.3, 0.4, 0.2, 0.1])
    check(jnp.asarray(x, jnp.float32), window, len(batch), **options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_float_dtype_comes_back_exactly(rng, dtype, x64):
    check(jnp.asarray(rng.standard_normal((2, 6, 5, 2)), dtype), (3, 2), 1, strides=2, padding="SAME")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
def test_integers_are_pooled_and_their_smallest_is_no_padding(rng, dtype, x64):
    limits = np.iinfo(dtype)
    x = rng.choice(np.array([limits.min, limits.min + 1, 3, limits.max], dtype), size=(2, 7, 5, 2))
    x[0] = limits.min
    check(jnp.asarray(x), (3, 2), 1, strides=(2, 1), padding="SAME")


def test_ceil_mode_keeps_a_window_that_starts_inside_and_drops_one_that_does_not():
    for n, k, s, d, low, high in itertools.product(range(1, 7), range(1, 4), range(1, 5), (1, 2), range(2), range(2)):
        extent = (k - 1) * d + 1
        if n + low + high < extent or max(low, high) > extent // 2:
            continue
        windows = [[i + j * d for j in range(k)] for i in starts(n, k, s, d, (low, high), True)[0]]
        if any(not any(0 <= i < n for i in window) for window in windows):
            continue
        options = {"strides": s, "dilation": d, "padding": ((low, high),), "ceil_mode": True}
        spec = jax.ShapeDtypeStruct((n, 1), jnp.float32)
        y = jax.eval_shape(lambda x, k=k, options=options: nn.max_pool(x, k, **options), spec)
        assert y.shape == (len(windows), 1), (n, k, options)


def test_the_step_between_windows_is_the_window_by_default():
    x = jnp.arange(12.0).reshape(6, 2)
    assert nn.max_pool(x, 3).tolist() == [[4, 5], [10, 11]]


def test_an_empty_batch_gives_an_empty_result_and_gradient():
    run = lambda x: nn.max_pool(x, (2, 2), padding="SAME")
    y, dx = jax.jit(lambda x: (run(x), jax.grad(lambda x: run(x).sum())(x)))(jnp.ones((0, 5, 4, 3)))
    assert y.shape == (0, 3, 2, 3)
    assert dx.shape == (0, 5, 4, 3)


def test_long_odd_axes_are_right_in_jit_and_eagerly(rng):
    x = jnp.asarray(rng.integers(0, 4, (3, 32_771, 1)), jnp.float32)
    run = lambda x: nn.max_pool(x, 5, strides=2)
    views = np.lib.stride_tricks.sliding_window_view(np.asarray(x)[..., 0], 5, axis=1)[:, ::2]
    np.testing.assert_array_equal(run(x)[..., 0], views.max(-1))
    np.testing.assert_array_equal(jax.jit(run)(x)[..., 0], views.max(-1))
    want = np.zeros(x.shape[:2])
    first = views.argmax(-1) + 2 * np.arange(views.shape[1])
    np.add.at(want, (np.arange(3)[:, None], first), 1)
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: run(x).sum()))(x)[..., 0], want)


def test_forward_mode_picks_the_tangent_of_the_first_maximum_and_curvature_is_zero():
    x, tangent = jnp.array([1.0, 3.0, 3.0, 2.0]), jnp.array([10.0, 20.0, 30.0, 40.0])
    run = lambda x: nn.max_pool(x[:, None], 3, strides=1)[:, 0]
    pushed, hessian = jax.jit(lambda x, t: (jax.jvp(run, (x,), (t,))[1], jax.hessian(lambda x: run(x).sum())(x)))(
        x, tangent
    )
    assert pushed.tolist() == [20, 20]
    assert not hessian.any()


def test_vmap_is_one_more_batch_axis(rng):
    x = jnp.asarray(rng.integers(0, 3, (4, 5, 6, 2)), jnp.float32)
    run = lambda x: jax.value_and_grad(lambda x: (nn.max_pool(x, (2, 3), strides=1) ** 2).sum())(x)
    whole, grad = jax.jit(run)(x)
    parts, grads = jax.jit(jax.vmap(run))(x)
    assert float(parts.sum()) == float(whole)
    np.testing.assert_array_equal(grads, grad)


X = jnp.ones((2, 5, 6, 4))


@pytest.mark.parametrize(
    ("x", "window", "options", "error", "words"),
    [
        (X, (3, 3), {"padding": ((2, 0), (0, 0))}, ValueError, "padding"),
        (X, (3, 3), {"padding": ((0, 0), (0, 2))}, ValueError, "padding"),
        (X[:, :1], (2, 2), {"dilation": 2, "padding": "SAME"}, ValueError, "padding"),
        (X, (6, 2), {}, ValueError, "window"),
        (X, (2, 2), {"dilation": 5}, ValueError, "dilation"),
        (X, (2, 2), {"strides": (1,)}, ValueError, "strides"),
        (X, (2, 2), {"strides": 0}, ValueError, "strides"),
        (X, (0, 2), {}, ValueError, "window"),
        (X, (), {}, TypeError, "window"),
        (X, 2.0, {}, TypeError, "window"),
        (X, (2, 2), {"padding": "CAUSAL"}, ValueError, "CAUSAL"),
        (X, (2, 2), {"padding": "FULL"}, ValueError, "padding"),
        (X, (2, 2), {"padding": 1}, TypeError, "padding"),
        (X[0, 0], (2, 2), {}, ValueError, "x"),
        (X > 0, (2, 2), {}, TypeError, "x"),
        ([[1.0], [2.0]], 2, {}, TypeError, "x"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(x, window, options, error, words):
    with pytest.raises(error, match=f"nn.max_pool.*{words}"):
        nn.max_pool(x, window, **options)


def test_a_window_may_be_an_integer_of_numpy():
    x = jnp.arange(6.0).reshape(6, 1)
    assert jnp.array_equal(nn.max_pool(x, np.int64(2)), nn.max_pool(x, 2))
    assert jnp.array_equal(nn.avg_pool(x, np.int64(2)), nn.avg_pool(x, 2))
