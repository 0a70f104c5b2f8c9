import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.backprop.convolution import input_gradient, kernel_gradient
from dlcore.kernels.convolution import plain_convolve
from dlcore.kernels.grouped_convolution import convolve
from tests.kernels.geometry import windows
from tests.tolerance import assert_close

CASES = {
    "one tap, stride over it": windows((7, 1, 3, 1, 0, 0)),
    "stride leaves a rest": windows((9, 3, 4, 1, 0, 0)),
    "causal and dilated": windows((8, 3, 1, 3, 6, 0)),
    "padding wider than the window": windows((5, 2, 1, 1, 4, 3)),
    "padding wider than the window, strided": windows((5, 2, 3, 2, 5, 6)),
    "images, all different": windows((9, 3, 2, 2, 2, 1), (7, 2, 3, 1, 0, 1)),
    "volumes": windows((4, 2, 1, 2, 1, 1), (5, 3, 2, 1, 0, 2), (3, 1, 1, 1, 0, 0)),
}


def draw(rng, axes, batch=2, c=3, f=2, dtype=jnp.float32):
    shapes = (
        (batch, *(w.inputs for w in axes), c),
        (*(w.size for w in axes), c, f),
        (batch, *(w.outputs for w in axes), f),
    )
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def everything(function, axes):
    """One compiled function: value, both gradients, tangent, and the gradients inside a scan."""

    def run(x, kernel, dy, tx, tkernel):
        f = lambda x, kernel: function(x, kernel, axes)
        y, tangent = jax.jvp(f, (x, kernel), (tx, tkernel))
        dx, dkernel = jax.vjp(f, x, kernel)[1](dy)

        def loss(x, kernel):
            def step(total, scale):
                return total + ((f(scale * x, kernel) * dy) ** 2).sum(), None

            return jax.lax.scan(step, jnp.zeros((), x.dtype), jnp.array([1.0, 0.5], x.dtype))[0]

        return y, tangent, dx, dkernel, *jax.grad(loss, argnums=(0, 1))(x, kernel)

    return jax.jit(run)


@pytest.mark.parametrize("axes", CASES.values(), ids=CASES)
def test_it_equals_the_plain_form_with_all_its_derivatives(rng, axes):
    x, kernel, dy = draw(rng, axes)
    tx, tkernel, _ = draw(rng, axes)
    found = everything(convolve, axes)(x, kernel, dy, tx, tkernel)
    expected = everything(plain_convolve, axes)(x, kernel, dy, tx, tkernel)
    length = max(math.prod(kernel.shape[:-1]), math.prod(dy.shape[:-1]))
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.dtype == wanted.dtype == jnp.float32
        assert_close(actual, wanted, length=length)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["images, all different", "volumes"])
def test_half_precision_is_the_rounding_of_float64_inside_a_scan(rng, dtype, name, x64):
    axes = CASES[name]
    x, kernel, dy = draw(rng, axes, dtype=dtype)

    def run(function, x, kernel, dy):
        def once(dy):
            y, pull = jax.vjp(lambda x, kernel: function(x, kernel, axes), x, kernel)
            return y, *pull(dy)

        return [a[0] for a in jax.lax.scan(lambda _, dy: (None, once(dy)), None, dy[None])[1]]

    found = jax.jit(run, static_argnums=0)(convolve, x, kernel, dy)
    wide = (a.astype(jnp.float64) for a in (x, kernel, dy))
    expected = jax.jit(run, static_argnums=0)(plain_convolve, *wide)
    length = max(math.prod(kernel.shape[:-1]), math.prod(dy.shape[:-1]))
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.dtype == dtype
        assert_close(actual, wanted, length=length)


def test_the_hessian_equals_the_plain_form(rng):
    axes = CASES["images, all different"]
    x, kernel, dy = draw(rng, axes, batch=1, c=2)
    hessian = lambda function: jax.jit(
        jax.hessian(lambda x, kernel: (dy * function(x, kernel, axes) ** 2).sum(), argnums=(0, 1))
    )(x, kernel)
    for actual, wanted in zip(*map(jax.tree.leaves, (hessian(convolve), hessian(plain_convolve))), strict=True):
        assert np.abs(wanted).max() > 0
        assert_close(actual, wanted, length=dy.size)


@pytest.mark.parametrize("over", [(0, None), (None, 0), (0, 0)])
def test_vmap_over_inputs_kernels_or_both_is_a_loop(rng, over):
    axes = CASES["images, all different"]
    draws = [draw(rng, axes) for _ in range(3)]
    x = jnp.stack([d[0] for d in draws]) if over[0] == 0 else draws[0][0]
    kernel = jnp.stack([d[1] for d in draws]) if over[1] == 0 else draws[0][1]
    dy = draws[0][2]

    def run(function):
        def one(x, kernel):
            y, pull = jax.vjp(lambda x, kernel: function(x, kernel, axes), x, kernel)
            return y, *pull(dy)

        return one

    together = jax.jit(jax.vmap(run(convolve), in_axes=over))(x, kernel)
    alone = jax.jit(run(plain_convolve))
    for lane in range(3):
        expected = alone(x[lane] if over[0] == 0 else x, kernel[lane] if over[1] == 0 else kernel)
        for actual, wanted in zip(together, expected, strict=True):
            assert_close(actual[lane], wanted, length=dy.size)


def test_the_gradient_in_one_argument_alone_equals_its_share_of_both(rng):
    axes = CASES["images, all different"]
    x, kernel, dy = draw(rng, axes)
    loss = lambda x, kernel: (dy * convolve(x, kernel, axes)).sum()
    both = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)
    assert_close(jax.jit(jax.grad(loss, argnums=0))(x, kernel), both[0])
    assert_close(jax.jit(jax.grad(loss, argnums=1))(x, kernel), both[1])


@pytest.mark.parametrize("axes", [CASES["stride leaves a rest"], CASES["padding wider than the window, strided"]])
def test_the_two_gradients_are_the_adjoints_of_the_convolution(rng, axes):
    x, kernel, dy = draw(rng, axes)
    y = np.asarray(plain_convolve(x, kernel, axes), np.float64)
    wanted = (y * np.asarray(dy)).sum()
    scale = np.abs(y * np.asarray(dy)).sum()
    for dual, primal in ((input_gradient(kernel, dy, axes), x), (kernel_gradient(x, dy, axes), kernel)):
        assert dual.shape == primal.shape
        found = jnp.asarray((np.asarray(dual, np.float64) * np.asarray(primal)).sum(), jnp.float32)
        assert_close(found, wanted, length=dy.size, scale=scale)


def test_one_tap_of_one_channel_is_a_product():
    axes = windows((3, 1, 1, 1, 0, 0))
    x, kernel = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1), jnp.full((1, 1, 1), 10.0)
    y, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, axes), x, kernel)
    assert y.ravel().tolist() == [10, 20, 30]
    dx, dkernel = pull(jnp.array([1.0, 0.0, 2.0]).reshape(1, 3, 1))
    assert dx.ravel().tolist() == [10, 0, 20]
    assert dkernel.ravel().tolist() == [7]


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_convolution_is_its_groups_side_by_side(rng, groups):
    axes = windows((6, 3, 1, 1, 1, 1), (5, 3, 1, 1, 1, 1))
    x, _, dy = draw(rng, axes, c=4, f=4)
    kernel = draw(rng, axes, c=4 // groups, f=4)[1]

    def apart(x, kernel):
        pieces = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([plain_convolve(a, b, axes) for a, b in pieces], -1)

    run = lambda f: jax.jit(lambda x, kernel, dy: (f(x, kernel), *jax.vjp(f, x, kernel)[1](dy)))(x, kernel, dy)
    for actual, wanted in zip(run(lambda x, kernel: convolve(x, kernel, axes, groups)), run(apart), strict=True):
        assert_close(actual, wanted, length=dy.size)


def test_many_rows_of_odd_size(rng):
    axes = windows((3, 3, 1, 1, 1, 1))
    x, kernel, dy = draw(rng, axes, batch=32_771, c=3, f=1)
    y, pull = jax.jit(lambda x, kernel: jax.vjp(lambda x, kernel: convolve(x, kernel, axes), x, kernel))(x, kernel)
    dx, dkernel = jax.jit(lambda pull, dy: pull(dy))(pull, dy)
    wide_x, wide_kernel, wide_dy = (np.asarray(a, np.float64) for a in (x, kernel, dy))
    padded = np.pad(wide_x, ((0, 0), (1, 1), (0, 0)))
    assert_close(y, sum(padded[:, j : j + 3] @ wide_kernel[j] for j in range(3)), length=9)
    spread = np.pad(wide_dy, ((0, 0), (1, 1), (0, 0)))
    assert_close(dx, sum(spread[:, 2 - j : 5 - j] @ wide_kernel[j].T for j in range(3)), length=3)
    slices = [np.einsum("bpc,bpf->cf", padded[:, j : j + 3], wide_dy) for j in range(3)]
    assert_close(dkernel, np.stack(slices), length=3 * 32_771, scale=3)
