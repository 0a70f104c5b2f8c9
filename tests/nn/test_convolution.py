import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close


def margins(n, extent, stride, padding):
    """The rows of padding before and after an axis of size n."""
    if padding in ("SAME", "SAME_LOWER"):
        total = max((math.ceil(n / stride) - 1) * stride + extent - n, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if padding == "SAME" else (more, less)
    return {"VALID": (0, 0), "CAUSAL": (extent - 1, 0)}.get(padding, padding)


def border(i, n, mode):
    """Which of n inputs stands at position i, or None for a zero."""
    if 0 <= i < n:
        return i
    if mode == "zeros":
        return None
    if mode == "reflect":
        return -i if i < 0 else 2 * (n - 1) - i
    return min(max(i, 0), n - 1) if mode == "replicate" else i % n


def oracle(kernel, x, dy=None, *, strides=1, padding="SAME", padding_mode="zeros", dilation=1, groups=1):
    """Convolution and its two gradients, a window and a tap at a time, in float64; the batch is one axis."""
    count = kernel.ndim - 2
    window, sizes = kernel.shape[:count], x.shape[1:-1]
    strides, dilation = (np.broadcast_to(option, count) for option in (strides, dilation))
    reads = []  # for each axis: which input output p's tap j reads
    for axis in range(count):
        n, k, s, d = sizes[axis], window[axis], strides[axis], dilation[axis]
        extent = (k - 1) * d + 1
        low, high = margins(n, extent, s, padding if isinstance(padding, str) else padding[axis])
        outputs = (n + low + high - extent) // s + 1
        reads.append([[border(p * s + j * d - low, n, padding_mode) for j in range(k)] for p in range(outputs)])
    c, f = kernel.shape[-2], kernel.shape[-1] // groups
    y = np.zeros((x.shape[0], *map(len, reads), kernel.shape[-1]))
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for p in itertools.product(*(range(len(read)) for read in reads)):
        for j in itertools.product(*map(range, window)):
            i = tuple(reads[axis][p[axis]][j[axis]] for axis in range(count))
            if None in i:
                continue
            for g in range(groups):
                ins, outs = slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)
                y[(slice(None), *p, outs)] += x[(slice(None), *i, ins)] @ kernel[(*j, slice(None), outs)]
                if dy is not None:
                    dx[(slice(None), *i, ins)] += dy[(slice(None), *p, outs)] @ kernel[(*j, slice(None), outs)].T
                    dkernel[(*j, slice(None), outs)] += x[(slice(None), *i, ins)].T @ dy[(slice(None), *p, outs)]
    return y, dx, dkernel


def check(rng, batch, sizes, window, c, f, dtype=jnp.float32, **options):
    """Values and the gradients in kernel, bias and input, against the oracle."""
    groups = options.get("groups", 1)
    x, kernel, bias = (
        jnp.asarray(rng.standard_normal(shape), dtype)
        for shape in ((*batch, *sizes, c), (*window, c // groups, f), (f,))
    )
    forward = lambda params, x: nn.conv(params, x, **options)
    shape = jax.eval_shape(forward, {"kernel": kernel, "bias": bias}, x).shape
    dy = jnp.asarray(rng.standard_normal(shape), dtype)
    y, (grads, dx) = jax.jit(lambda params, x, dy: (forward(params, x), jax.vjp(forward, params, x)[1](dy)))(
        {"kernel": kernel, "bias": bias}, x, dy
    )
    x, kernel, bias, dy = (np.asarray(a).astype(np.float64) for a in (x, kernel, bias, dy))
    rows, flat_dy = x.reshape(-1, *x.shape[len(batch) :]), dy.reshape(-1, *shape[len(batch) :])
    want_y, want_dx, want_dkernel = oracle(kernel, rows, flat_dy, **options)
    assert y.dtype == dx.dtype == grads["kernel"].dtype == dtype
    assert_close(y, want_y.reshape(shape) + bias, length=math.prod(window) * c // groups, scale=6)
    assert_close(dx, want_dx.reshape(x.shape), length=math.prod(window) * f // groups, scale=6)
    positions = dy.size // f
    assert_close(grads["kernel"], want_dkernel, length=positions, scale=6)
    assert_close(grads["bias"], dy.reshape(-1, f).sum(0), length=positions, scale=3)


@pytest.mark.parametrize(
    ("batch", "sizes", "window", "options"),
    [
        ((2,), (7,), (3,), {}),
        ((), (7,), (4,), {"padding": "SAME_LOWER", "strides": 2}),
        ((2, 3), (8,), (3,), {"padding": "CAUSAL", "dilation": 2}),
        ((1,), (9,), (2,), {"padding": "CAUSAL", "strides": 3}),
        ((3,), (5,), (3,), {"padding": ((4, 3),)}),
        ((2,), (5,), (1,), {"strides": 2, "padding": "VALID"}),
        ((2,), (7, 6), (3, 2), {"padding": "VALID"}),
        ((), (7, 6), (2, 4), {"strides": (3, 2)}),
        ((2, 1), (6, 5), (3, 3), {"padding": "SAME_LOWER", "dilation": (2, 1)}),
        ((2,), (5, 7), (3, 2), {"padding": ((0, 3), (2, 1)), "strides": (2, 3)}),
        ((2,), (3, 4, 5), (2, 3, 1), {}),
        ((), (5, 4, 3), (2, 2, 2), {"strides": (2, 1, 1), "padding": "VALID"}),
    ],
)
def test_it_is_a_sum_over_taps_and_channels_and_so_are_its_gradients(rng, batch, sizes, window, options):
    check(rng, batch, sizes, window, 4, 3, **options)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("batch", "sizes", "window", "options"),
    [
        ((2,), (5,), (4,), {"padding": ((3, 4),)}),
        ((), (6,), (3,), {"padding": "CAUSAL", "dilation": 2}),
        ((2,), (4, 5), (3, 2), {"padding": "SAME", "strides": (2, 1)}),
    ],
)
def test_the_border_shows_what_the_padding_mode_says(rng, mode, batch, sizes, window, options):
    check(rng, batch, sizes, window, 2, 3, padding_mode=mode, **options)


@pytest.mark.parametrize(
    ("sizes", "window", "c", "f", "groups"), [((6,), (3,), 6, 4, 2), ((4, 5), (2, 3), 3, 6, 3), ((5,), (3,), 4, 4, 4)]
)
def test_groups_are_convolved_apart(rng, sizes, window, c, f, groups):
    check(rng, (2,), sizes, window, c, f, groups=groups, strides=2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    check(rng, (2,), (6, 5), (3, 3), 3, 4, dtype=jnp.dtype(dtype), dilation=2, padding="SAME")


def test_many_rows_of_odd_size_are_right_in_jit_and_eagerly(rng):
    x = jnp.asarray(rng.standard_normal((32_771, 3, 3)), jnp.float32)
    params = {"kernel": jnp.asarray(rng.standard_normal((3, 3, 1)), jnp.float32)}
    want = oracle(np.asarray(params["kernel"], np.float64), np.asarray(x, np.float64))[0]
    assert_close(nn.conv(params, x), want, length=9, scale=6)
    assert_close(jax.jit(nn.conv)(params, x), want, length=9, scale=6)


def test_same_gives_the_input_over_the_stride_rounded_up():
    for n, k, s, d in itertools.product((1, 2, 5, 6), range(1, 5), range(1, 4), (1, 3)):
        params = {"kernel": jax.ShapeDtypeStruct((k, 1, 1), jnp.float32)}
        x = jax.ShapeDtypeStruct((n, 1), jnp.float32)
        for padding in ("SAME", "SAME_LOWER", "CAUSAL"):
            y = jax.eval_shape(partial(nn.conv, strides=s, dilation=d, padding=padding), params, x)
            assert y.shape == (math.ceil(n / s), 1)


def test_same_puts_an_odd_extra_column_at_the_end_and_same_lower_at_the_start():
    params = {"kernel": jnp.array([1.0, 10.0]).reshape(2, 1, 1)}
    x = jnp.array([[1.0], [2.0], [3.0]])
    assert nn.conv(params, x, padding="SAME").ravel().tolist() == [21, 32, 3]
    assert nn.conv(params, x, padding="SAME_LOWER").ravel().tolist() == [10, 21, 32]


def test_causal_output_sees_no_later_input(rng):
    params = {"kernel": jnp.asarray(rng.standard_normal((3, 1, 1)), jnp.float32)}
    run = lambda x: nn.conv(params, x[:, None], padding="CAUSAL", dilation=2)[:, 0]
    jacobian = np.asarray(jax.jacobian(run)(jnp.ones(7)))
    assert not np.triu(jacobian, 1).any()
    assert np.diag(jacobian).all()


@pytest.mark.parametrize(("mode", "groups"), [("zeros", 1), ("zeros", 2), ("reflect", 1), ("circular", 2)])
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(mode, groups):
    params = {"kernel": jnp.ones((3, 4 // groups, 2)), "bias": jnp.ones(2)}
    run = lambda params, x: nn.conv(params, x, padding_mode=mode, groups=groups)
    x = jnp.ones((0, 5, 4))
    assert jax.jit(run)(params, x).shape == (0, 5, 2)
    grads, dx = jax.jit(jax.grad(lambda params, x: run(params, x).sum(), argnums=(0, 1)))(params, x)
    assert dx.shape == (0, 5, 4)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))


def test_an_infinite_or_nan_input_reaches_its_own_windows_only():
    x = jnp.array([0.0, jnp.nan, 0, 0, jnp.inf, 0])[:, None]
    y = np.asarray(nn.conv({"kernel": jnp.ones((2, 1, 1))}, x, padding="VALID")).ravel()
    np.testing.assert_array_equal(y, [np.nan, np.nan, 0, np.inf, np.inf])


def test_without_bias_there_is_no_bias_leaf_and_none_is_added(key):
    params = nn.conv_init(key, 3, 2, 5, use_bias=False)
    assert list(params) == ["kernel"]
    assert not nn.conv(params, jnp.zeros((4, 2))).any()


@pytest.mark.parametrize(("window", "groups"), [((3, 3), 1), (5, 4)])
def test_the_default_kernel_has_the_variance_of_what_one_output_sees(key, window, groups):
    params = jax.jit(lambda key: nn.conv_init(key, window, 16, 1024, groups=groups))(key)
    sizes = (window,) if isinstance(window, int) else window
    assert params["kernel"].shape == (*sizes, 16 // groups, 1024)
    fan_in = math.prod(sizes) * 16 // groups
    # The relative error of a standard deviation from n draws is about 1 / sqrt(2 n).
    assert float(jnp.std(params["kernel"])) == pytest.approx(fan_in**-0.5, rel=5 / (2 * params["kernel"].size) ** 0.5)
    assert not params["bias"].any()


def test_params_are_drawn_in_the_asked_dtype_and_by_the_asked_initialiser(key):
    params = nn.conv_init(
        key, (1, 2), 2, 3, dtype=jnp.bfloat16, kernel_init=nn.initializers.ones, bias_init=nn.initializers.constant(2.0)
    )
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype(jnp.bfloat16)}
    assert (params["kernel"] == 1).all()
    assert (params["bias"] == 2).all()


def test_vmap_over_models_is_a_loop_over_models(rng):
    kernels = jnp.asarray(rng.standard_normal((3, 3, 2, 4)), jnp.float32)
    x = jnp.asarray(rng.standard_normal((2, 6, 2)), jnp.float32)
    together = jax.jit(jax.vmap(lambda kernel: nn.conv({"kernel": kernel}, x)))(kernels)
    for kernel, y in zip(kernels, together, strict=True):
        want = oracle(np.asarray(kernel, np.float64), np.asarray(x, np.float64))[0]
        assert_close(y, want, length=6, scale=6)


X = jnp.ones((2, 5, 6, 4))
PARAMS = {"kernel": jnp.ones((3, 3, 4, 2))}


@pytest.mark.parametrize(
    ("params", "x", "options", "error", "words"),
    [
        (PARAMS, X[..., :3], {}, ValueError, "x"),
        (PARAMS, X.astype(jnp.float16), {}, TypeError, "kernel"),
        (PARAMS, X.astype(jnp.int32), {}, TypeError, "x"),
        (PARAMS, X[0, 0], {}, ValueError, "spatial"),
        (PARAMS, X, {"groups": 3}, ValueError, "groups"),
        (PARAMS, X, {"groups": 2}, ValueError, "groups=2"),
        (PARAMS, X, {"padding": "same"}, ValueError, "padding"),
        (PARAMS, X, {"padding": "CAUSAL"}, ValueError, "CAUSAL"),
        (PARAMS, X, {"padding": ((1, 1),)}, ValueError, "padding"),
        (PARAMS, X, {"padding": ((-1, 1), (0, 0))}, ValueError, "padding"),
        (PARAMS, X, {"padding": "VALID", "dilation": 3}, ValueError, "dilation"),
        (PARAMS, X, {"strides": 0}, ValueError, "strides"),
        (PARAMS, X, {"strides": (1, 2, 3)}, ValueError, "strides"),
        (PARAMS, X, {"padding_mode": "mirror"}, ValueError, "padding_mode"),
        (PARAMS, X, {"padding": ((5, 0), (0, 0)), "padding_mode": "reflect"}, ValueError, "padding"),
        (PARAMS, X, {"padding": ((0, 6), (0, 0)), "padding_mode": "circular"}, ValueError, "padding"),
        (PARAMS | {"bias": jnp.ones(3)}, X, {}, ValueError, "bias"),
        (PARAMS | {"scale": jnp.ones(2)}, X, {}, ValueError, "scale"),
        ({"kernel": jnp.ones((4, 2))}, X, {}, ValueError, "dense"),
        ({"kernel": jnp.ones((3, 0, 4, 2))}, X, {}, ValueError, "kernel"),
        (X, PARAMS, {}, TypeError, "params"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(params, x, options, error, words):
    with pytest.raises(error, match=f"nn.conv.*{words}"):
        nn.conv(params, x, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((None, 3, 1, 1), {}, ValueError, "key"),
        ((np.zeros(2, np.uint32), 3, 1, 1), {}, TypeError, "key"),
        ((jax.random.key(0), (), 1, 1), {}, ValueError, "window"),
        ((jax.random.key(0), 0, 1, 1), {}, ValueError, "window"),
        ((jax.random.key(0), 3, 4, 6), {"groups": 4}, ValueError, "groups"),
        ((jax.random.key(0), 3, 1, 1), {"dtype": jnp.int32}, TypeError, "dtype"),
    ],
)
def test_an_init_that_makes_no_sense_is_refused_by_name(arguments, options, error, words):
    with pytest.raises(error, match=f"nn.conv_init.*{words}"):
        nn.conv_init(*arguments, **options)
