"""Windows side by side: a convolution and its transpose as products, equal to the plain forms with all derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from dlcore import nn
from dlcore._windows import WindowAxis
from dlcore.backprop.convolution import input_gradient
from dlcore.kernels.apart_windows import are_apart, convolve_apart
from dlcore.kernels.convolution import convolve_dense, plain_convolve
from dlcore.kernels.few_features import products_back
from tests.tolerance import assert_close

# inputs, window, low, high; the last of the inputs may be in no window
AXES = {
    "one axis": ((8, 4, 0, 0),),
    "rests": ((9, 4, 0, 0), (5, 2, 0, 0)),
    "padding": ((7, 3, 1, 2), (6, 2, 1, 1)),
    "one place and several": ((4, 1, 0, 0), (6, 3, 0, 0)),
    "a volume": ((4, 2, 0, 0), (5, 2, 1, 0), (3, 3, 0, 0)),
}


def windows(case):
    return tuple(WindowAxis(n, (n + low + high - k) // k + 1, k, k, 1, low, high) for n, k, low, high in AXES[case])


def arrays(rng, *shapes):
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def agree(fast, plain, a, b, da, db):
    def all_of(function):
        whole = lambda a, b: (function(a, b) ** 3).sum()
        return (
            jax.jvp(function, (a, b), (da, db)), jax.grad(whole, (0, 1))(a, b),
            jax.jvp(jax.grad(whole, (0, 1)), (a, b), (da, db)),
        )  # fmt: skip

    for actual, wanted in zip(*map(jax.tree.leaves, (all_of(fast), all_of(plain))), strict=True):
        assert_close(actual, wanted, length=1000)


@pytest.mark.parametrize("case", AXES)
def test_it_is_the_plain_form_with_all_derivatives(rng, case):
    axes = windows(case)
    assert are_apart(axes)
    window, x, dy = [w.size for w in axes], (2, *(w.inputs for w in axes), 3), (2, *(w.outputs for w in axes), 5)
    agree(*(partial(each, axes=axes) for each in (convolve_apart, plain_convolve)),
          *arrays(rng, x, (*window, 3, 5), x, (*window, 3, 5)))  # fmt: skip
    agree(*(partial(each, axes=axes) for each in (products_back, input_gradient)),
          *arrays(rng, (*window, 3, 5), dy, (*window, 3, 5), dy))  # fmt: skip


def test_windows_that_overlap_or_leave_gaps_are_not_apart():
    for size, stride, dilation in ((3, 2, 1), (2, 3, 1), (2, 2, 2), (1, 1, 1)):
        assert not are_apart((WindowAxis(12, 4, size, stride, dilation, 0, 0),))


def test_the_public_functions_take_it(rng):
    x, kernel = arrays(rng, (2, 8, 8, 3), (4, 4, 3, 6))
    text = str(jax.make_jaxpr(lambda x: nn.conv({"kernel": kernel}, x, strides=4))(x))
    assert "conv_general_dilated" not in text
    back = {"kernel": kernel.swapaxes(2, 3)}
    text = str(jax.make_jaxpr(lambda x: nn.conv_transpose(back, x, strides=4))(x))
    assert "conv_general_dilated" not in text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_rounding_of_float64(rng, dtype, x64):
    axes = windows("padding")
    x, kernel = (part.astype(dtype) for part in arrays(rng, (2, 7, 6, 3), (3, 2, 3, 5)))
    found = convolve_dense(x, kernel, axes)
    assert found.dtype == dtype
    assert_close(found, plain_convolve(x.astype(jnp.float64), kernel.astype(jnp.float64), axes))
