"""Grouped and depthwise convolution against the plain form, with all derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.kernels.convolution import plain_convolve
from dlcore.kernels.grouped_convolution import convolve
from tests.kernels.geometry import windows
from tests.kernels.test_convolution import CASES, draw, everything
from tests.tolerance import assert_close

# channels, features, groups
GROUPS = {
    "depthwise": (5, 5, 5),
    "depthwise, two each": (3, 6, 3),
    "depthwise, too many each for slices": (2, 10, 2),
    "two groups": (6, 4, 2),
    "narrow groups put together": (12, 24, 12 // 2),
    "an odd number of groups": (9, 3, 3),
}


def grouped(axes, groups):
    return lambda x, kernel, _: convolve(x, kernel, axes, groups), lambda x, kernel, _: plain_convolve(
        x, kernel, axes, groups
    )


@pytest.mark.slow(one_in=2)
@pytest.mark.parametrize("sizes", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize(
    "case", ["causal and dilated", "padding wider than the window, strided", "images, all different"]
)
def test_it_equals_the_plain_form_with_all_its_derivatives(rng, case, sizes):
    axes = CASES[case]
    channels, features, groups = sizes
    x, _, dy = draw(rng, axes, batch=9, c=channels, f=features)
    kernel, tkernel = (draw(rng, axes, c=channels // groups, f=features)[1] for _ in range(2))
    tx = draw(rng, axes, batch=9, c=channels)[0]
    found, expected = (everything(f, axes)(x, kernel, dy, tx, tkernel) for f in grouped(axes, groups))
    length = max(math.prod(kernel.shape[:-1]), math.prod(dy.shape[:-1]))
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.dtype == wanted.dtype == jnp.float32
        assert_close(actual, wanted, length=length)


@pytest.mark.parametrize("batch", [0, 1, 3, 8, 19])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_of_any_number_of_examples(rng, batch, stride):
    axes = windows((6, 3, stride, 1, 1, 1), (5, 3, stride, 1, 1, 1))
    x, _, dy = draw(rng, axes, batch=batch, c=4, f=4)
    kernel = draw(rng, axes, c=1, f=4)[1]

    def run(function):
        y, pull = jax.vjp(lambda x, kernel: function(x, kernel, axes, 4), x, kernel)
        return y, *pull(dy)

    for actual, wanted in zip(jax.jit(run, static_argnums=0)(convolve), run(plain_convolve), strict=True):
        assert actual.shape == wanted.shape
        assert_close(actual, wanted, length=max(dy.size // 4, 9))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_rounding_of_float64(rng, dtype, x64):
    axes = windows((6, 3, 1, 1, 1, 1), (5, 3, 1, 1, 1, 1))
    x, _, dy = draw(rng, axes, c=4, f=4, dtype=dtype)
    kernel = draw(rng, axes, c=1, f=4, dtype=dtype)[1]

    def run(function, x, kernel, dy):
        y, pull = jax.vjp(lambda x, kernel: function(x, kernel, axes, 4), x, kernel)
        return y, *pull(dy)

    found = jax.jit(run, static_argnums=0)(convolve, x, kernel, dy)
    expected = run(plain_convolve, *(a.astype(jnp.float64) for a in (x, kernel, dy)))
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.dtype == dtype
        assert_close(actual, wanted, length=60)


def test_vmap_over_kernels_is_a_loop(rng):
    axes = windows((6, 3, 2, 1, 1, 1))
    x, _, _ = draw(rng, axes, c=4, f=4)
    kernels = jnp.stack([draw(rng, axes, c=1, f=4)[1] for _ in range(3)])
    gradient = lambda function: lambda kernel: jax.grad(lambda k: (function(x, k, axes, 4) ** 2).sum())(kernel)
    together = jax.jit(jax.vmap(gradient(convolve)))(kernels)
    for lane in range(3):
        assert_close(together[lane], gradient(plain_convolve)(kernels[lane]), length=36)


def test_what_is_infinite_in_one_channel_stays_there(rng):
    axes = windows((6, 3, 1, 1, 1, 1))
    x, _, _ = draw(rng, axes, c=4)
    kernel = draw(rng, axes, c=1, f=4)[1]
    y = convolve(x.at[0, 2, 1].set(np.inf), kernel, axes, 4)
    assert np.isfinite(y[..., [0, 2, 3]]).all()
    assert not np.isfinite(y[0, 1:4, 1]).any()
