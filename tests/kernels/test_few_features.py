"""Convolution to a few features: equal to the plain form with its derivatives, also where nothing is left."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore._windows import WindowAxis
from dlcore.backprop.convolution import input_gradient, kernel_gradient
from dlcore.kernels.convolution import convolve_dense, plain_convolve
from dlcore.kernels.few_features import are_few, few_features, products_back
from tests.tolerance import assert_close

# inputs, window, stride, low, high
AXES = {
    "one axis": ((9, 3, 1, 1, 1),),
    "images, uneven": ((7, 3, 1, 0, 2), (5, 2, 1, 1, 0)),
    "no padding": ((6, 5, 1, 0, 0), (5, 5, 1, 0, 0)),
    "more padding than a window has": ((5, 2, 1, 1, 4),),
    "gaps": ((9, 3, 2, 1, 1), (8, 4, 2, 0, 0)),
    "gaps, taps that fill no block": ((11, 5, 3, 0, 1),),
    "windows apart": ((12, 2, 3, 0, 0), (5, 1, 1, 0, 0)),
}


def windows(case):
    return tuple(WindowAxis(n, (n + low + high - k) // s + 1, k, s, 1, low, high) for n, k, s, low, high in AXES[case])


def slopes(function, *arguments):
    y, pull = jax.vjp(function, *arguments)
    return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("case", AXES)
def test_back_is_the_plain_gradient(rng, case, features):
    axes = windows(case)
    kernel = jnp.asarray(rng.standard_normal((*(w.size for w in axes), features, 40)), jnp.float32)
    dy = jnp.asarray(rng.standard_normal((2, *(w.outputs for w in axes), 40)), jnp.float32)
    for actual, wanted in zip(
        slopes(partial(products_back, axes=axes), kernel, dy),
        slopes(partial(input_gradient, axes=axes), kernel, dy), strict=True,
    ):  # fmt: skip
        assert_close(actual, wanted, length=200)


@pytest.mark.parametrize("case", [case for case in AXES if all(each[2] == 1 for each in AXES[case])])
def test_forward_is_the_plain_convolution(rng, case):
    axes = windows(case)
    kernel = jnp.asarray(rng.standard_normal((*(w.size for w in axes), 30, 2)), jnp.float32)
    x = jnp.asarray(rng.standard_normal((2, *(w.inputs for w in axes), 30)), jnp.float32)
    assert are_few(30, 2, axes)
    for actual, wanted in zip(
        slopes(partial(few_features, axes=axes), x, kernel), slopes(partial(plain_convolve, axes=axes), x, kernel),
        strict=True,
    ):  # fmt: skip
        assert_close(actual, wanted, length=800)


def test_convolution_takes_it_with_all_derivatives(rng):
    axes = windows("images, uneven")
    x, kernel, dx, dkernel = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in 2 * ((2, 7, 5, 30), (3, 2, 30, 2))
    )
    assert are_few(30, 2, axes)
    fast, plain = (partial(each, axes=axes) for each in (convolve_dense, plain_convolve))
    for actual, wanted in zip(slopes(fast, x, kernel), slopes(plain, x, kernel), strict=True):
        assert_close(actual, wanted, length=800)
    for actual, wanted in zip(*(jax.jvp(each, (x, kernel), (dx, dkernel)) for each in (fast, plain)), strict=True):
        assert_close(actual, wanted, length=400)

    def product(function):
        whole = lambda x, kernel: (function(x, kernel) ** 3).sum()
        return jax.jvp(jax.grad(whole, (0, 1)), (x, kernel), (dx, dkernel))

    for actual, wanted in zip(*map(jax.tree.leaves, (product(fast), product(plain))), strict=True):
        assert_close(actual, wanted, length=4000)


def test_nothing_comes_from_nothing():
    for batch, rows in ((0, 6), (0, 1)):
        x, kernel = jnp.ones((batch, rows, 20)), jnp.ones((3, 20, 1))
        for function in (
            lambda kernel, x: nn.conv({"kernel": kernel}, x),
            lambda kernel, x: nn.conv_transpose({"kernel": kernel.swapaxes(1, 2)}, x, strides=2),
        ):  # fmt: skip
            y, slope = jax.value_and_grad(lambda kernel, x, f=function: f(kernel, x).sum())(kernel, x)
            assert y == 0
            np.testing.assert_array_equal(slope, np.zeros_like(slope))


def test_a_nan_stays_in_its_windows():
    x = jnp.ones((2, 9, 20)).at[0, 4, 3].set(jnp.nan)
    y = nn.conv({"kernel": jnp.ones((3, 20, 1))}, x)
    np.testing.assert_array_equal(np.isnan(y[..., 0]), np.isin(np.arange(9), (3, 4, 5)) & [[True], [False]])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_rounding_of_float64(rng, dtype, x64):
    axes = windows("gaps")
    kernel, dy = (
        jnp.asarray(rng.standard_normal(shape), dtype)
        for shape in ((3, 4, 2, 40), (2, *(w.outputs for w in axes), 40))
    )  # fmt: skip
    found = products_back(kernel, dy, axes)
    assert found.dtype == dtype
    assert_close(found, input_gradient(kernel.astype(jnp.float64), dy.astype(jnp.float64), axes))


@pytest.mark.parametrize(("low", "high", "dilation"), [(0, 0, 1), (2, 0, 1), (1, 3, 2), (3, 3, 1)])
def test_a_kernels_gradient_turned_round_is_the_plain_one(rng, low, high, dilation):
    axes = (WindowAxis(9, 9 + low + high - 2 * dilation, 3, 1, dilation, low, high),)
    x, dy, kernel = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((2, 9, 8), (2, axes[0].outputs, 4), (3, 8, 4))
    )
    (wanted,) = jax.vjp(lambda kernel: plain_convolve(x, kernel, axes), kernel)[1](dy)
    assert_close(kernel_gradient(x, dy, axes), wanted, length=30)
