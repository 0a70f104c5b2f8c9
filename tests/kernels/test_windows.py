import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dlcore._windows import WindowAxis, resolve_windows
from dlcore.kernels.windows import fold_windows, window_max, window_sum
from tests.kernels.geometry import windows
from tests.tolerance import assert_close

CASES = {
    "short, one by one": windows((9, 8, 1, 1, 4, 4)),
    "just long, in blocks": windows((30, 9, 1, 1, 4, 4)),
    "all powers of two": windows((40, 15, 2, 1, 0, 7)),
    "long, dilated, strided": windows((50, 11, 4, 3, 10, 15)),
    "the window is the axis": windows((17, 17, 1, 1, 0, 0)),
    "inputs that no window reads": windows((11, 2, 4, 1, 0, 0)),
    "images, long one way": windows((4, 2, 1, 1, 1, 0), (23, 10, 3, 2, 5, 5)),
    "volumes": windows((4, 2, 1, 1, 0, 1), (5, 3, 2, 1, 1, 1), (3, 2, 1, 2, 1, 1)),
}
# Ceil mode: more outputs than fit, so that the last window reaches past the padding.
CASES["ceil mode"] = (WindowAxis(7, 4, 3, 2, 1, 1, 0), WindowAxis(6, 2, 12, 5, 1, 4, 0))


def inputs_of(axes):
    """For every window, in row-major order, the flat positions of the inputs it holds, in row-major order."""
    sizes = [w.inputs for w in axes]
    for p in itertools.product(*(range(w.outputs) for w in axes)):
        taps = []
        for j in itertools.product(*(range(w.size) for w in axes)):
            i = [q * w.stride + t * w.dilation - w.low for q, t, w in zip(p, j, axes, strict=True)]
            if all(0 <= a < n for a, n in zip(i, sizes, strict=True)):
                taps.append(int(np.ravel_multi_index(i, sizes)))
        yield taps


def shape_of(axes):
    return (2, *(w.inputs for w in axes), 3)


def compare(function, axes, x, expected, expected_gradient, **tolerance):
    """Values and gradient of `function`, (rows, windows or inputs, channels) by the oracle."""
    outputs = (2, *(w.outputs for w in axes), 3)
    dy = jnp.asarray(np.arange(1, math.prod(outputs) + 1).reshape(outputs) % 5 + 1, x.dtype)
    y, dx = jax.jit(lambda x, dy: (function(x, axes), jax.vjp(lambda x: function(x, axes), x)[1](dy)[0]))(x, dy)
    assert_close(y, expected.reshape(outputs), **tolerance)
    assert_close(dx, expected_gradient(np.asarray(dy, np.float64).reshape(2, -1, 3)).reshape(x.shape), **tolerance)


@pytest.mark.parametrize("axes", CASES.values(), ids=CASES)
def test_the_maximum_and_its_first_place(rng, axes):
    x = rng.choice([-np.inf, -1.0, 0.0, 1.0], size=shape_of(axes), p=[0.55, 0.15, 0.15, 0.15])
    flat = x.reshape(2, -1, 3)
    members = list(inputs_of(axes))
    first = np.stack([np.asarray(taps)[flat[:, taps].argmax(1)] for taps in members], 1)

    def gradient(dy):
        dx = np.zeros(flat.shape)
        np.add.at(dx, (np.arange(2)[:, None, None], first, np.arange(3)), dy)
        return dx

    expected = np.stack([flat[:, taps].max(1) for taps in members], 1)
    compare(window_max, axes, jnp.asarray(x, jnp.float32), expected, gradient)


@pytest.mark.parametrize("axes", CASES.values(), ids=CASES)
def test_the_sum_and_its_spread(rng, axes):
    x = rng.standard_normal(shape_of(axes)).astype(np.float32)
    member = np.zeros((math.prod(w.outputs for w in axes), math.prod(w.inputs for w in axes)))
    for row, taps in zip(member, inputs_of(axes), strict=True):
        row[taps] = 1
    expected = np.einsum("pi,bic->bpc", member, x.astype(np.float64).reshape(2, -1, 3))
    gradient = lambda dy: np.einsum("pi,bpc->bic", member, dy)
    compare(window_sum, axes, jnp.asarray(x), expected, gradient, length=math.prod(w.size for w in axes), scale=5)


@pytest.mark.parametrize("name", ["long, dilated, strided", "all powers of two", "volumes", "ceil mode"])
def test_combine_learns_which_values_hold_an_input(name):
    """Folding "the earlier, if it holds an input" gives every window's first input."""
    axes = CASES[name]
    sizes = [w.inputs for w in axes]
    index = jnp.arange(math.prod(sizes)).reshape(1, *sizes, 1)
    keep_first = lambda earlier, later, real: jnp.where(jnp.asarray(real), earlier, later)
    found = jax.jit(lambda index: fold_windows(index, axes, identity=-1, combine=keep_first))(index)
    assert found.ravel().tolist() == [taps[0] for taps in inputs_of(axes)]


@pytest.mark.parametrize("name", ["long, dilated, strided", "volumes"])
def test_the_maximum_equals_the_compilers_own_reduce_window(rng, name):
    axes = CASES[name]
    x = jnp.asarray(rng.standard_normal(shape_of(axes)), jnp.float32)
    plain = lambda x: lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, *(w.size for w in axes), 1),
        window_strides=(1, *(w.stride for w in axes), 1),
        padding=[(0, 0), *((w.low, w.high) for w in axes), (0, 0)],
        window_dilation=(1, *(w.dilation for w in axes), 1),
    )
    fast, reference = jax.jit(lambda x: (window_max(x, axes), plain(x)))(x)
    np.testing.assert_array_equal(fast, reference)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8", "int32"])
def test_maxima_are_exact_in_every_dtype(rng, dtype):
    axes = CASES["just long, in blocks"]
    x = jnp.asarray(rng.integers(0, 100, shape_of(axes)), dtype)
    y = jax.jit(window_max, static_argnums=1)(x, axes)
    flat = np.asarray(x).astype(int).reshape(2, -1, 3)
    assert y.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(y).astype(int), np.stack([flat[:, taps].max(1) for taps in inputs_of(axes)], 1)
    )


@pytest.mark.parametrize("name", ["just long, in blocks", "images, long one way"])
def test_nan_wins_and_its_first_place_takes_the_gradient(rng, name):
    axes = CASES[name]
    x = rng.choice([-np.inf, 0.0, np.inf, np.nan], size=shape_of(axes), p=[0.4, 0.3, 0.2, 0.1])
    flat = x.reshape(2, -1, 3)
    members = list(inputs_of(axes))
    # NumPy's argmax, too, takes a NaN for the largest, and the first of several.
    first = np.stack([np.asarray(taps)[flat[:, taps].argmax(1)] for taps in members], 1)

    def gradient(dy):
        dx = np.zeros(flat.shape)
        np.add.at(dx, (np.arange(2)[:, None, None], first, np.arange(3)), dy)
        return dx

    expected = np.stack([flat[:, taps].max(1) for taps in members], 1)
    compare(window_max, axes, jnp.asarray(x, jnp.float32), expected, gradient)


@pytest.mark.parametrize("name", ["long, dilated, strided", "images, long one way"])
def test_forward_mode_is_the_transpose_of_reverse_mode(rng, name):
    axes = CASES[name]
    x, tangent = (jnp.asarray(rng.integers(-2, 3, shape_of(axes)), jnp.float32) for _ in range(2))
    y, pushed = jax.jit(lambda x, tangent: jax.jvp(lambda x: window_max(x, axes), (x,), (tangent,)))(x, tangent)
    dy = jnp.asarray(rng.integers(-2, 3, y.shape), jnp.float32)
    pulled = jax.jit(lambda x, dy: jax.vjp(lambda x: window_max(x, axes), x)[1](dy)[0])(x, dy)
    # Whole numbers, so both sides are exact.
    assert float((pushed * dy).sum()) == float((tangent * pulled).sum())


def test_the_curvature_of_a_smooth_function_of_sums_is_right():
    axes = windows((5, 2, 1, 1, 0, 0))
    hessian = jax.jit(jax.hessian(lambda x: 0.5 * (window_sum(x[:, None], axes) ** 2).sum()))(jnp.arange(5.0))
    member = np.array([[1.0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(hessian, member.T @ member)


def test_resolved_windows_cover_what_their_padding_says():
    for n, k, s, d in itertools.product(range(1, 8), range(1, 5), range(1, 4), range(1, 4)):
        extent = (k - 1) * d + 1
        for padding in ("SAME", "SAME_LOWER", "CAUSAL", ((2, 1),)):
            if padding == ((2, 1),) and n + 3 < extent:
                continue
            (w,) = resolve_windows("test", (n,), (k,), s, padding, d, limit="none")
            taps = w.taps()
            assert taps.shape == (w.outputs, k)
            assert taps[0, 0] == -w.low
            assert taps[-1, -1] < n + w.high
            assert taps[-1, -1] + s >= n + w.high  # one more window would not fit
            assert w.used == taps[-1, -1] + w.low + 1
            if isinstance(padding, str):
                assert w.outputs == math.ceil(n / s)
            if padding == "SAME" and s <= extent:
                assert w.high - w.low in (0, 1)
            if padding == "SAME_LOWER" and s <= extent:
                assert w.low - w.high in (0, 1)
