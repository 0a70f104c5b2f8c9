import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close


def low_and_size(n, k, s, d, padding, more):
    """Where the first tap of the first entry falls, and how many positions come back."""
    extent = (k - 1) * d + 1
    if padding in ("SAME", "SAME_LOWER"):
        cut = max(extent - s, 0)
        return (cut // 2 if padding == "SAME" else cut - cut // 2), n * s
    if padding == "CAUSAL":
        return extent - 1, n * s
    low, high = (0, 0) if padding == "VALID" else padding
    return low, (n - 1) * s + extent - low - high + more


def oracle(kernel, x, dy=None, *, strides=1, padding="SAME", output_padding=0, dilation=1, groups=1):
    """Each entry of x throws its kernel into y, in float64; the gradients are read at the same places."""
    count = kernel.ndim - 2
    strides, dilation, more = (np.broadcast_to(option, count) for option in (strides, dilation, output_padding))
    sizes, window = x.shape[1:-1], kernel.shape[:count]
    axes = [
        low_and_size(*each, padding if isinstance(padding, str) else padding[axis], more[axis])
        for axis, each in enumerate(zip(sizes, window, strides, dilation, strict=True))
    ]
    f, c = kernel.shape[-2], kernel.shape[-1] // groups
    y = np.zeros((len(x), *(size for _, size in axes), f * groups))
    dx, dkernel = np.zeros(x.shape), np.zeros(kernel.shape)
    for p, j in itertools.product(np.ndindex(*sizes), np.ndindex(*window)):
        q = tuple(int(a * s + b * d - low) for a, b, s, d, (low, _) in zip(p, j, strides, dilation, axes, strict=True))
        if any(not 0 <= i < size for i, (_, size) in zip(q, axes, strict=True)):
            continue
        for g in range(groups):
            ins, outs = slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)
            w = kernel[(*j, slice(None), ins)]
            y[(slice(None), *q, outs)] += x[(slice(None), *p, ins)] @ w.T
            if dy is not None:
                dx[(slice(None), *p, ins)] += dy[(slice(None), *q, outs)] @ w
                dkernel[(*j, slice(None), ins)] += dy[(slice(None), *q, outs)].T @ x[(slice(None), *p, ins)]
    return y, dx, dkernel


def check(rng, lead, sizes, window, c, f, dtype=jnp.float32, **options):
    groups = options.get("groups", 1)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
    x, params = draw(*lead, *sizes, c), {"kernel": draw(*window, f // groups, c), "bias": draw(f)}
    forward = lambda params, x: nn.conv_transpose(params, x, **options)
    shape = jax.eval_shape(forward, params, x).shape
    dy = draw(*shape)
    y, (grads, dx) = jax.jit(lambda params, x, dy: (forward(params, x), jax.vjp(forward, params, x)[1](dy)))(
        params, x, dy
    )
    rows, wide_dy, kernel, bias = (
        np.asarray(a).astype(np.float64)
        for a in (x.reshape(-1, *x.shape[len(lead) :]), dy.reshape(-1, *shape[len(lead) :]), *params.values())
    )
    want, want_dx, want_dkernel = oracle(kernel, rows, wide_dy, **options)
    assert y.dtype == dx.dtype == grads["kernel"].dtype == dtype
    assert_close(y, want.reshape(shape) + bias, length=math.prod(window) * c // groups, scale=6)
    assert_close(dx, want_dx.reshape(x.shape), length=math.prod(window) * f // groups, scale=6)
    assert_close(grads["kernel"], want_dkernel, length=rows[..., 0].size, scale=6)
    assert_close(grads["bias"], wide_dy.reshape(-1, f).sum(0), length=wide_dy[..., 0].size, scale=6)


CASES = [
    ((2,), (5,), (3,), {}),
    ((), (4,), (4,), {"padding": "SAME_LOWER", "strides": 3}),
    ((2, 2), (5,), (3,), {"padding": "CAUSAL", "strides": 2, "dilation": 2}),
    ((1,), (5,), (2,), {"padding": "VALID", "strides": 3, "output_padding": 2}),
    ((2,), (5,), (3,), {"padding": ((3, 2),), "strides": 2, "output_padding": 1}),
    ((2,), (5,), (2,), {"padding": ((0, 1),), "dilation": 3, "output_padding": 2}),
    ((2,), (3,), (1,), {"strides": 2}),
    ((2,), (3, 5), (3, 2), {"strides": 2}),
    ((2,), (3, 5), (2, 4), {"strides": (3, 2), "padding": "VALID", "output_padding": (0, 1)}),
    ((2, 1), (4, 3), (3, 3), {"padding": ((1, 2), (0, 3)), "dilation": (2, 1)}),
    ((), (2, 3, 4), (2, 3, 1), {"strides": (1, 2, 2), "padding": "SAME_LOWER"}),
    ((2,), (3, 2, 2), (2, 2, 2), {"strides": 2, "padding": ((1, 0), (0, 0), (0, 1)), "output_padding": 1}),
]


@pytest.mark.parametrize(("lead", "sizes", "window", "options"), CASES)
def test_each_entry_adds_its_kernel_and_so_are_the_gradients(rng, lead, sizes, window, options):
    check(rng, lead, sizes, window, 2, 3, **options)


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_kept_apart(rng, groups):
    check(rng, (2,), (4, 3), (3, 2), 4, 8, strides=(2, 1), groups=groups)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    check(rng, (2,), (3, 5), (3, 2), 2, 3, dtype=jnp.dtype(dtype), strides=2)


@pytest.mark.parametrize("padding", ["VALID", "SAME", "SAME_LOWER", "CAUSAL", ((1, 2),)])
def test_it_is_the_vector_jacobian_product_of_conv(rng, padding, x64):
    for k, s, d, groups in ((3, 2, 1, 1), (2, 3, 1, 2), (4, 2, 2, 1), (1, 3, 1, 2)):
        if padding == ((1, 2),) and k == 1:
            continue
        kernel, x = (jnp.asarray(rng.standard_normal(shape)) for shape in ((k, 4 // groups, 6), (2, 5, 6)))
        options = {"strides": s, "padding": padding, "dilation": d, "groups": groups}
        run = jax.jit(partial(nn.conv_transpose, **options))
        y = run({"kernel": kernel}, x)
        u = jnp.asarray(rng.standard_normal(y.shape))
        v = nn.conv({"kernel": kernel}, u, **options)
        assert v.shape == x.shape
        assert_close((v * x).sum(), (u * y).sum(), length=x.size, scale=float(jnp.abs(u * y).sum()))


def test_the_size_that_comes_back():
    for n, k, s, d in itertools.product((1, 2, 5), (1, 2, 3, 4), (1, 2, 3), (1, 2)):
        specs = {"kernel": jax.ShapeDtypeStruct((k, 1, 1), jnp.float32)}, jax.ShapeDtypeStruct((n, 1), jnp.float32)
        size = lambda specs=specs, s=s, d=d, **options: jax.eval_shape(
            partial(nn.conv_transpose, strides=s, dilation=d, **options), *specs
        ).shape[0]
        for padding in ("SAME", "SAME_LOWER", "CAUSAL"):
            assert size(padding=padding) == n * s
        for more in range(max(s, d)):
            full = (n - 1) * s + (k - 1) * d + 1 + more
            assert size(padding="VALID", output_padding=more) == full
            if full > 3:
                assert size(padding=((1, 2),), output_padding=more) == full - 3


@pytest.mark.parametrize("groups", [1, 2])
def test_hessians_and_forward_mode(rng, groups, x64):
    kernel, x = jnp.asarray(rng.standard_normal((2, 2 // groups, 2))), jnp.asarray(rng.standard_normal((3, 2)))
    f = lambda kernel, x: nn.conv_transpose({"kernel": kernel}, x, strides=2, padding="VALID", groups=groups)
    loss = lambda kernel, x: (f(kernel, x) ** 3).sum()
    hessian, pushed = jax.jit(
        lambda kernel, x: (
            jax.hessian(loss, argnums=(0, 1))(kernel, x),
            jax.jvp(f, (kernel, x), (kernel, x))[1],
        )
    )(kernel, x)
    assert_close(pushed, 2 * np.asarray(f(kernel, x)), length=8)
    step, grad = 1e-5, jax.jit(jax.grad(loss, argnums=(0, 1)))
    t = jnp.asarray(rng.standard_normal(x.shape))
    change = jax.tree.map(lambda a, b: (a - b) / (2 * step), grad(kernel, x + step * t), grad(kernel, x - step * t))
    for row, want in zip((hessian[0][1], hessian[1][1]), change, strict=True):
        np.testing.assert_allclose(jnp.tensordot(row, t, 2), want, rtol=1e-6, atol=1e-6)


def test_the_gradients_inside_a_scan_are_those_outside(rng):
    kernels = jnp.asarray(rng.standard_normal((3, 3, 3, 2, 2)), jnp.float32)
    x = jnp.asarray(rng.standard_normal((2, 3, 3, 2)), jnp.float32)
    loss = lambda kernel, x: (nn.conv_transpose({"kernel": kernel}, x, strides=2) ** 2).sum()
    grad = jax.grad(loss, argnums=(0, 1))
    inside = jax.jit(lambda kernels, x: jax.lax.scan(lambda c, kernel: (c, grad(kernel, x)), None, kernels)[1])(
        kernels, x
    )
    mapped = jax.jit(jax.vmap(grad, in_axes=(0, None)))(kernels, x)
    for i, kernel in enumerate(kernels):
        for many, other, one in zip(inside, mapped, grad(kernel, x), strict=True):
            assert_close(many[i], one, length=64)
            assert_close(other[i], one, length=64)


def test_long_odd_axes_and_many_rows_are_right(rng):
    kernel = rng.standard_normal((3, 1, 1))
    for shape in ((1, 32_771, 1), (32_771, 3, 1)):
        x = rng.standard_normal(shape)
        y = jax.jit(partial(nn.conv_transpose, strides=2))(
            {"kernel": jnp.asarray(kernel, jnp.float32)}, jnp.asarray(x, jnp.float32)
        )
        # The first of a padding of one in all stands at the end, so that entry p starts at 2 p.
        want = np.zeros((shape[0], 2 * shape[1] + 1, 1))
        for j in range(3):
            want[:, j : j + 2 * shape[1] : 2] += x * kernel[j, 0, 0]
        assert_close(y, want[:, :-1], length=3, scale=4)


@pytest.mark.parametrize("groups", [1, 2])
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(groups):
    params = {"kernel": jnp.ones((3, 4 // groups, 2)), "bias": jnp.ones(4)}
    run = lambda params, x: nn.conv_transpose(params, x, strides=2, groups=groups)
    y, (grads, dx) = jax.jit(
        lambda params, x: (run(params, x), jax.grad(lambda *args: run(*args).sum(), argnums=(0, 1))(params, x))
    )(params, jnp.ones((0, 5, 2)))
    assert (y.shape, dx.shape) == ((0, 10, 4), (0, 5, 2))
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))


def test_an_infinite_or_nan_entry_reaches_its_own_places_only():
    x = jnp.array([0.0, jnp.nan, 0, jnp.inf])[:, None]
    y = np.asarray(nn.conv_transpose({"kernel": jnp.ones((2, 1, 1))}, x, padding="VALID", strides=2)).ravel()
    np.testing.assert_array_equal(y, [0, 0, np.nan, np.nan, 0, 0, np.inf, np.inf])


def test_a_causal_layer_is_said_by_its_padding(rng):
    params = {"kernel": jnp.asarray(rng.standard_normal((4, 1, 1)), jnp.float32)}
    jacobian = lambda padding: np.asarray(
        jax.jacobian(lambda x: nn.conv_transpose(params, x[:, None], strides=2, padding=padding)[:, 0])(jnp.ones(4))
    )
    q, p = np.nonzero(jacobian(((0, 2),)))
    assert (2 * p <= q).all()
    q, p = np.nonzero(jacobian("CAUSAL"))
    assert (2 * p >= q).all()


@pytest.mark.parametrize(("window", "groups"), [((3, 3), 1), (5, 4), ((2, 1, 2), 2)])
def test_the_default_kernel_has_the_variance_of_what_one_output_sees(key, window, groups):
    c, f = 16, 1024
    params = jax.jit(lambda key: nn.conv_transpose_init(key, window, c, f, groups=groups))(key)
    sizes = (window,) if isinstance(window, int) else window
    kernel = params["kernel"]
    assert kernel.shape == (*sizes, f // groups, c)
    fan_in = math.prod(sizes) * c // groups
    # The relative error of a standard deviation from n draws is about 1 / sqrt(2 n).
    assert float(jnp.std(kernel)) == pytest.approx(fan_in**-0.5, rel=5 / (2 * kernel.size) ** 0.5)
    assert not params["bias"].any()


def test_outputs_have_the_variance_of_inputs_at_stride_one(key):
    init, data = jax.random.split(key)
    params = nn.conv_transpose_init(init, 5, 64, 64, groups=2)
    y = jax.jit(partial(nn.conv_transpose, groups=2))(params, jax.random.normal(data, (4, 64, 64)))[:, 4:-4]
    assert float(y.var()) == pytest.approx(1.0, rel=0.1)


def test_an_initialiser_sees_inputs_before_outputs_of_each_group(key):
    shapes = []

    def init(key, shape, dtype):
        shapes.append(shape)
        return jnp.arange(math.prod(shape), dtype=dtype).reshape(shape)

    params = nn.conv_transpose_init(key, 1, 4, 6, groups=2, kernel_init=init, dtype=jnp.bfloat16, use_bias=False)
    assert shapes == [(1, 2, 6)]
    assert list(params) == ["kernel"]
    assert params["kernel"].dtype == jnp.bfloat16
    # Drawn: from input c of the group (rows) to output f (columns, three a group).
    assert params["kernel"][0].tolist() == [[0, 6, 3, 9], [1, 7, 4, 10], [2, 8, 5, 11]]


X = jnp.ones((2, 5, 6, 4))
PARAMS = {"kernel": jnp.ones((3, 3, 2, 4))}


@pytest.mark.parametrize(
    ("params", "x", "options", "error", "words"),
    [
        (PARAMS, X[..., :3], {}, ValueError, "x"),
        (PARAMS, X.astype(jnp.float16), {}, TypeError, "kernel"),
        (PARAMS, X[0, 0], {}, ValueError, "spatial"),
        (PARAMS, X, {"groups": 3}, ValueError, "groups"),
        (PARAMS, X, {"padding": ((4, 4), (0, 0))}, ValueError, "padding"),
        (PARAMS, X, {"padding": "SAME", "output_padding": 1, "strides": 2}, ValueError, "output_padding"),
        (PARAMS, X, {"padding": "VALID", "output_padding": 2, "strides": (3, 2)}, ValueError, "output_padding"),
        (PARAMS, X, {"padding": "VALID", "output_padding": (0, 0, 0)}, ValueError, "output_padding"),
        (PARAMS | {"bias": jnp.ones(4)}, X, {}, ValueError, "bias"),
        (X, PARAMS, {}, TypeError, "params"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(params, x, options, error, words):
    with pytest.raises(error, match=f"nn.conv_transpose.*{words}"):
        nn.conv_transpose(params, x, **options)
