import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.window_starts import starts
from tests.tolerance import FLOATS, assert_close

OPTIONS = ("window", "strides", "padding", "ceil_mode", "count_include_padding", "dilation")
avg_pool = jax.jit(nn.avg_pool, static_argnums=1, static_argnames=OPTIONS)


@partial(jax.jit, static_argnums=2, static_argnames=OPTIONS)
def with_gradient(x, dy, window, **options):
    y, pull = jax.vjp(lambda x: nn.avg_pool(x, window, **options), x)
    return y, pull(dy)[0]


def oracle(x, window, dy, *, strides=None, padding="VALID", ceil_mode=False, count_include_padding=False, dilation=1):
    """Means and their gradient, a window at a time, in float64; the batch is one axis."""
    count = 1 if isinstance(window, int) else len(window)
    strides = window if strides is None else strides
    window, strides, dilation = (np.broadcast_to(option, count) for option in (window, strides, dilation))
    axes = [
        starts(n, k, s, d, padding if isinstance(padding, str) else padding[axis], ceil_mode)
        for axis, (n, k, s, d) in enumerate(zip(x.shape[1:-1], window, strides, dilation, strict=True))
    ]
    y = np.zeros((x.shape[0], *(len(axis[0]) for axis in axes), x.shape[-1]))
    dx = np.zeros(x.shape)
    for p in itertools.product(*(range(len(axis[0])) for axis in axes)):
        inputs, divisor = [], 0
        for j in itertools.product(*map(range, window)):
            i = tuple(int(axes[a][0][p[a]] + j[a] * dilation[a]) for a in range(count))
            inside = all(0 <= q < n for q, n in zip(i, x.shape[1:-1], strict=True))
            padded = all(axis[1] <= q < axis[2] for q, axis in zip(i, axes, strict=True))
            divisor += padded if count_include_padding else inside
            if inside:
                inputs.append(i)
        for i in inputs:
            y[(slice(None), *p)] += x[(slice(None), *i)] / divisor
            dx[(slice(None), *i)] += dy[(slice(None), *p)] / divisor
    return y, dx


def check(rng, x, window, batch_axes, **options):
    spec = jax.eval_shape(partial(nn.avg_pool, window=window, **options), x)
    dy = jnp.asarray(rng.standard_normal(spec.shape), spec.dtype)
    wide, wide_dy = (np.asarray(a).astype(np.float64).reshape(-1, *a.shape[batch_axes:]) for a in (x, dy))
    y, dx = oracle(wide, window, wide_dy, **options)
    taps = window if isinstance(window, int) else math.prod(window)
    if jnp.issubdtype(x.dtype, np.floating):
        found, grad = with_gradient(x, dy, window, **options)
        assert found.dtype == grad.dtype == x.dtype
        assert_close(grad, dx.reshape(x.shape), length=taps, scale=3)
    else:
        found = avg_pool(x, window, **options)
        assert found.dtype == jnp.float32
    assert_close(found, y.reshape(spec.shape), length=taps)


GEOMETRIES = [
    ((), (7,), 2, {}),
    ((2,), (7,), 3, {"strides": 1, "padding": "SAME"}),
    ((2, 2), (8,), 4, {"strides": 3, "padding": "SAME_LOWER"}),
    ((2,), (6,), 3, {"strides": 1, "padding": "CAUSAL", "dilation": 2}),
    ((2,), (5,), 1, {"strides": 3}),
    ((1,), (7,), 3, {"strides": 3, "padding": ((1, 1),), "ceil_mode": True}),
    ((2,), (6,), 2, {"strides": 3, "padding": ((1, 1),), "ceil_mode": True}),
    ((1,), (31,), 13, {"strides": 2, "padding": ((6, 5),)}),
    ((2,), (5, 4), (3, 3), {"strides": 1, "padding": ((2, 2), (1, 2))}),
    ((1,), (6,), 3, {"strides": 2, "padding": ((2, 1),), "dilation": 2, "ceil_mode": True}),
    ((1,), (40,), 9, {"strides": 1, "dilation": 3, "padding": "SAME"}),
    ((2,), (7, 5), (2, 2), {"ceil_mode": True}),
    ((2, 1), (6, 5), (3, 3), {"strides": 2, "padding": ((1, 1), (1, 0)), "ceil_mode": True}),
    ((2,), (7, 8), (2, 3), {"strides": 1, "dilation": (3, 2), "padding": ((1, 2), (2, 0))}),
    ((), (4, 5, 3), (2, 3, 2), {"strides": (1, 2, 1), "padding": "SAME"}),
]


@pytest.mark.parametrize("count_include_padding", [False, True])
@pytest.mark.parametrize(("batch", "sizes", "window", "options"), GEOMETRIES)
def test_it_is_the_mean_over_what_counts(rng, batch, sizes, window, options, count_include_padding):
    x = jnp.asarray(rng.standard_normal((*batch, *sizes, 2)), jnp.float32)
    check(rng, x, window, len(batch), count_include_padding=count_include_padding, **options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_float_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    x = jnp.asarray(rng.standard_normal((2, 6, 5, 2)), dtype)
    check(rng, x, (3, 2), 1, strides=2, padding="SAME")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_integers_are_averaged_in_float32(rng, dtype):
    limits = np.iinfo(dtype)
    x = jnp.asarray(rng.choice(np.array([limits.min, 1, 3, limits.max], dtype), size=(2, 7, 5, 2)))
    check(rng, x, (3, 2), 1, strides=(2, 1), padding="SAME")


def test_a_half_precision_window_whose_sum_would_overflow_has_its_mean():
    x = jnp.full((1, 4096, 1), 100.0, jnp.float16)
    assert avg_pool(x, 1024).ravel().tolist() == [100.0] * 4
    assert nn.global_avg_pool(x, axes=-2).tolist() == [[100.0]]


def test_a_half_precision_mean_of_many_is_not_stuck_at_the_last_place():
    x = jnp.ones((1, 32_771, 1), jnp.bfloat16)
    assert nn.global_avg_pool(x, axes=-2).tolist() == [[1.0]]
    assert avg_pool(x, 32_771).tolist() == [[[1.0]]]


def test_what_ceil_mode_adds_beyond_the_padding_never_counts():
    x = jnp.array([6.0, 6.0, 6.0, 6.0])[:, None]
    options = {"strides": 4, "padding": ((2, 0),), "ceil_mode": True}
    # The windows start at −2 and 2: (pad, pad, 6, 6) and (6, 6), which reaches two positions beyond the end.
    assert avg_pool(x, 4, **options).ravel().tolist() == [6, 6]
    assert avg_pool(x, 4, count_include_padding=True, **options).ravel().tolist() == [3, 6]
    # With one column of padding at the end, the last window counts it, and still not the one beyond.
    padded = options | {"padding": ((2, 1),), "count_include_padding": True}
    assert avg_pool(x, 4, **padded).ravel().tolist() == [3, 4]


def test_an_infinite_or_nan_input_reaches_its_own_windows_only():
    x = jnp.array([0.0, jnp.nan, 0, 0, jnp.inf, 0, -jnp.inf])[:, None]
    np.testing.assert_array_equal(avg_pool(x, 2, strides=1).ravel(), [np.nan, np.nan, 0, np.inf, np.inf, -np.inf])
    wide = jnp.zeros((40, 1)).at[20].set(jnp.inf)
    y = avg_pool(wide, 9, strides=1).ravel()
    np.testing.assert_array_equal(y, [np.inf if start <= 20 < start + 9 else 0 for start in range(32)])


def test_an_empty_batch_gives_an_empty_result_and_gradient():
    run = lambda x: nn.avg_pool(x, (2, 2), padding="SAME")
    y, dx = jax.jit(lambda x: (run(x), jax.grad(lambda x: run(x).sum())(x)))(jnp.ones((0, 5, 4, 3)))
    assert y.shape == (0, 3, 2, 3)
    assert dx.shape == (0, 5, 4, 3)
    assert nn.global_avg_pool(jnp.ones((0, 5, 4, 3)), axes=(-3, -2)).shape == (0, 3)


def test_long_odd_axes_are_right_in_jit_and_eagerly(rng):
    x = jnp.asarray(rng.standard_normal((3, 32_771, 1)), jnp.float32)
    run = lambda x: nn.avg_pool(x, 11, strides=2)
    views = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64), 11, axis=1)[:, ::2].mean(-1)
    assert_close(run(x), views, length=11, scale=4)
    assert_close(jax.jit(run)(x), views, length=11, scale=4)


def test_it_is_linear_so_its_tangent_is_itself(rng):
    x, tangent = jnp.asarray(rng.standard_normal((2, 2, 6, 5, 1)), jnp.float32)
    run = jax.jit(lambda x: nn.avg_pool(x, (3, 2), padding="SAME"))
    assert_close(jax.jit(lambda x, t: jax.jvp(run, (x,), (t,))[1])(x, tangent), run(tangent))
    assert_close(jax.jit(jax.vmap(run))(jnp.stack([x, tangent])), jnp.stack([run(x), run(tangent)]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("shape", "axes"), [((3, 5, 4, 2), (-3, -2)), ((5, 3), -2)])
def test_global_pooling_is_the_mean_over_its_axes(rng, dtype, shape, axes, x64):
    x = jnp.asarray(rng.standard_normal(shape), dtype)
    wide = np.asarray(x).astype(np.float64)
    run = lambda x: nn.global_avg_pool(x, axes=axes)
    y, dx = jax.jit(lambda x: (run(x), jax.grad(lambda x: run(x).sum())(x)))(x)
    n = math.prod(shape[axis] for axis in np.atleast_1d(axes))
    assert y.dtype == dx.dtype == dtype
    assert_close(y, wide.mean(axes), length=n, scale=3)
    assert_close(dx, np.full(shape, 1 / n))


def test_global_pooling_averages_integers_in_float32():
    y = nn.global_avg_pool(jnp.array([[[1], [2]]]), axes=-2)
    assert y.dtype == jnp.float32
    assert y.tolist() == [[1.5]]


X = jnp.ones((2, 5, 6, 4))


@pytest.mark.parametrize(
    ("x", "window", "options", "error", "words"),
    [
        (X, (3, 3), {"padding": ((3, 0), (0, 0))}, ValueError, "wholly in padding"),
        (X, (3, 3), {"strides": 4, "padding": ((0, 0), (0, 5))}, ValueError, "wholly in padding"),
        (X, (6, 2), {}, ValueError, "window"),
        (X, (2, 2), {"strides": (1,)}, ValueError, "strides"),
        (X, (2, 2), {"padding": "CAUSAL"}, ValueError, "CAUSAL"),
        (X[0, 0], (2, 2), {}, ValueError, "x"),
        (X > 0, (2, 2), {}, TypeError, "x"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(x, window, options, error, words):
    with pytest.raises(error, match=f"nn.avg_pool.*{words}"):
        nn.avg_pool(x, window, **options)


@pytest.mark.parametrize(
    ("x", "axes", "error"),
    [
        (X, (-2, -1), ValueError),
        (X, (1, 2), ValueError),
        (X, (-2, -2), ValueError),
        (X, -5, ValueError),
        (X, (), TypeError),
        (X, 2.0, TypeError),
        (X[:, :0], (-3, -2), ValueError),
    ],
)
def test_global_axes_are_distinct_negative_spatial_and_not_empty(x, axes, error):
    with pytest.raises(error, match=r"nn\.global_avg_pool"):
        nn.global_avg_pool(x, axes=axes)
