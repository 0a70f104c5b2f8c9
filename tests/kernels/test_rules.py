"""The kernels with one derivative rule each, against their plain references: values, both modes, second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore._rows import block_sum, column_sum, row_max, row_sum, stack_sum
from dlcore.kernels.batch_norm import normalise_rows, plain_normalise_rows
from dlcore.kernels.group_norm import normalise_groups, plain_normalise_groups
from dlcore.kernels.layer_norm import normalise_last, plain_normalise_last
from dlcore.kernels.softmax import log_softmax_rows, plain_log_softmax, plain_softmax, softmax_rows
from tests.tolerance import assert_close

EPSILON = 1e-5


def rows(function, where=None):
    """Batch norm of all rows, or of those that a mask leaves."""
    return lambda x, scale, offset: function(x, scale, offset, where, EPSILON, None)


def lanes(function, where):
    """Batch norm of a batch that stands apart on two lanes, each with a scale of its own."""

    def run(x, scale, offset):
        def one(x, where, factor):
            return function(x, factor * scale, offset, where, EPSILON, "device")

        return jax.vmap(one, axis_name="device")(x, where, jnp.array([1.0, 2.0]))

    return run


# name: (kernel, reference, shape of x), of x, scale and offset
RULES = {
    **{
        f"batch norm, {name}": (batch(normalise_rows, where), batch(plain_normalise_rows, where), shape)
        for name, batch, where, shape in (
            ("few rows", rows, None, (7, 3)),
            ("stacks and a rest", rows, None, (131, 5)),
            ("a mask of rows", rows, jnp.arange(7)[:, None] % 3 > 0, (7, 3)),
            ("a mask of its own for each channel", rows, jnp.arange(393).reshape(131, 3) % 7 > 1, (131, 3)),
            ("over lanes", lanes, None, (2, 70, 3)),
            ("a mask, over lanes", lanes, jnp.arange(14).reshape(2, 7, 1) % 3 > 0, (2, 7, 3)),
        )
    },
    **{
        f"{'layer' if centre else 'RMS'} norm of {shape}": (
            lambda x, scale, offset, centre=centre: normalise_last(x, scale, offset, EPSILON, centre),
            lambda x, scale, offset, centre=centre: plain_normalise_last(x, scale, offset, EPSILON, centre),
            shape,
        )
        for centre in (True, False)
        for shape in ((5, 3), (70, 41), (2, 3, 64))
    },
    **{
        f"group norm, {groups} groups of {shape}": (
            lambda x, scale, offset, groups=groups: normalise_groups(x, scale, offset, groups, EPSILON),
            lambda x, scale, offset, groups=groups: plain_normalise_groups(x, scale, offset, groups, EPSILON),
            shape,
        )
        for groups, shape in ((2, (3, 5, 6)), (6, (2, 67, 6)), (1, (2, 64, 4)), (1, (2, 1, 6)))
    },
    **{
        f"{name} of {shape}": (lambda x, *_, own=own: own(x), lambda x, *_, plain=plain: plain(x), shape)
        for name, own, plain in (
            ("softmax", softmax_rows, plain_softmax),
            ("log softmax", log_softmax_rows, plain_log_softmax),
        )
        for shape in ((4, 3), (3, 45), (2, 2, 64))
    },
}


def arguments(rng, shape):
    x = 3 * rng.standard_normal(shape) + 1
    return [jnp.asarray(a, jnp.float32) for a in (x, rng.standard_normal(shape[-1]), rng.standard_normal(shape[-1]))]


@pytest.mark.parametrize(("kernel", "reference", "shape"), RULES.values(), ids=RULES)
def test_it_equals_its_reference_with_all_derivatives(rng, kernel, reference, shape):
    own, tangents = arguments(rng, shape), arguments(rng, shape)
    errors = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype), jax.eval_shape(reference, *own))

    def everything(function):
        def run(own, tangents, errors):
            y, pushed = jax.jvp(function, own, tangents)
            pulled = jax.vjp(function, *own)[1](errors)

            def slope(*own):
                return jax.vjp(function, *own)[1](errors)

            # The derivative of the gradient along the tangents: forward over reverse; and reverse over reverse.
            second = jax.jvp(slope, own, tangents)[1]
            again = jax.grad(lambda *own: sum((g**2).sum() for g in slope(*own)))(*own)
            return y, pushed, pulled, second, again

        return jax.jit(run)(tuple(own), tuple(tangents), errors)

    found, expected = map(everything, (kernel, reference))
    for actual, wanted in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert actual.dtype == wanted.dtype
        assert_close(actual, np.asarray(wanted, np.float64), length=200 * max(shape), scale=float(np.abs(wanted).max()))


@pytest.mark.parametrize("shape", [(3,), (0, 5), (4, 0), (2, 31), (2, 32), (3, 77), (2, 2, 520)])
def test_sums_and_maxima_along_rows(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    wide = x.astype(np.float64)
    for function in (block_sum, row_sum):
        assert_close(jax.jit(function)(x), wide.sum(-1, keepdims=True), length=max(shape[-1], 1))
    np.testing.assert_array_equal(jax.jit(row_max)(x), x.max(-1, keepdims=True, initial=-np.inf))
    gradient = jax.jit(jax.grad(lambda x: (row_sum(x) ** 2).sum()))(x)
    assert_close(gradient, np.broadcast_to(2 * wide.sum(-1, keepdims=True), shape), length=max(shape[-1], 1))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (63, 2), (64, 2), (77, 5), (9, 13, 4)])
def test_sums_over_rows(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    wide = x.astype(np.float64)
    assert_close(jax.jit(column_sum)(x), wide.reshape(-1, shape[-1]).sum(0), length=max(wide.size, 1))
    if len(shape) == 3:
        assert_close(jax.jit(stack_sum)(np.repeat(x, 9, axis=1)), 9 * wide.sum(1), length=wide.size)


def test_a_maximum_keeps_nan_and_infinities():
    x = jnp.zeros((4, 40)).at[0, 17].set(jnp.nan).at[1, 39].set(jnp.inf).at[2].set(-jnp.inf)
    assert np.array_equal(row_max(x)[:, 0], [np.nan, np.inf, -np.inf, 0.0], equal_nan=True)


def test_softmax_at_infinity():
    x = jnp.array([[-jnp.inf] * 3, [0.0, jnp.inf, 1.0], [jnp.inf, jnp.inf, -jnp.inf], [3e38, 3e38, -3e38]])
    assert softmax_rows(x).tolist() == [[0, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]]
    slope = jax.vjp(softmax_rows, x)[1](jnp.array([1.0, 2.0, 3.0])[None].repeat(4, 0))[0]
    assert slope[:3].tolist() == [[0, 0, 0]] * 3
    assert slope[3].tolist() == [-0.25, 0.25, 0.0]


def test_log_softmax_at_infinity():
    x = jnp.array([[-jnp.inf] * 3, [0.0, jnp.inf, 1.0], [3e38, 3e38, -3e38], [-jnp.inf, 0.0, 0.0]])
    none, half = -jnp.inf, np.float32(-np.log(2)).item()
    assert log_softmax_rows(x)[:2].tolist() == [[none] * 3, [none, 0, none]]
    np.testing.assert_allclose(log_softmax_rows(x)[2:, 1], half, rtol=1e-6)
    slope = jax.vjp(log_softmax_rows, x)[1](jnp.array([[1.0, 2.0, 3.0]]).repeat(4, 0))[0]
    assert np.isfinite(slope).all()
    assert slope[1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(slope[3], [1, 2 - 3, 3 - 3], atol=1e-6)
