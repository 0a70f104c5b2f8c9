from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.norm_oracle import standardised
from tests.tolerance import FLOATS, assert_close

SCALE = 10


@partial(jax.jit, static_argnames=("groups", "batch_axes", "epsilon"))
def run(params, x, dy, *, groups=None, **options):
    """y, and the gradients in params and x; instance normalisation where there are no groups."""

    def function(params, x):
        if groups is None:
            return nn.instance_norm(params, x, **options)
        return nn.group_norm(params, x, groups=groups, **options)

    y, pull = jax.vjp(function, params, x)
    return y, *pull(dy)


def draw(rng, shape, dtype=jnp.float32):
    params = {name: jnp.asarray(rng.standard_normal(shape[-1]), dtype) for name in ("scale", "offset")}
    return params, *(jnp.asarray(rng.standard_normal(shape), dtype) for _ in range(2))


def oracle(params, x, dy, groups, batch_axes=1, epsilon=1e-5):
    """One group of one example after another, each as one row."""
    x, dy = (np.asarray(a).astype(np.float64) for a in (x, dy))
    c = x.shape[-1]
    scale, offset = (
        np.asarray(params.get(name, np.full(c, i)), np.float64) for name, i in (("scale", 1), ("offset", 0))
    )
    width = c // (groups or c)
    y, dx, dscale = np.empty_like(x), np.empty_like(x), np.zeros(c)
    for example in np.ndindex(x.shape[:batch_axes]):
        for first in range(0, c, width):
            part = (*example, ..., slice(first, first + width))
            pulled = dy[part] * scale[first : first + width]
            rows = [a.reshape(1, -1) for a in (x[part], pulled)]
            normal, row_dx = (a.reshape(pulled.shape) for a in standardised(*rows, (1,), epsilon=epsilon))
            y[part], dx[part] = normal * scale[first : first + width] + offset[first : first + width], row_dx
            dscale[first : first + width] += (dy[part] * normal).reshape(-1, width).sum(0)
    return y, dscale, dy.reshape(-1, c).sum(0), dx


def check(params, x, dy, groups, **options):
    y, grads, dx = run(params, x, dy, groups=groups, **options)
    assert y.dtype == dx.dtype == x.dtype
    wanted, dscale, doffset, wanted_dx = oracle(params, x, dy, groups, **options)
    length = x.size
    assert_close(y, wanted, length=length)
    assert_close(dx, wanted_dx, length=length, scale=SCALE)
    for name, leaf in (("scale", dscale), ("offset", doffset)):
        if name in params:
            assert_close(grads[name], leaf, length=length, scale=SCALE)


@pytest.mark.parametrize(
    ("shape", "batch_axes", "groups"),
    [
        ((2, 3, 5, 6), 1, 2),
        ((2, 3, 5, 6), 1, None),
        ((2, 3, 5, 6), 2, 3),
        ((2, 3, 5, 6), 2, None),
        ((3, 5, 4), 0, 4),
        ((3, 5, 4), 0, None),
        ((2, 2, 3, 2, 4), 1, 1),
        ((3, 8), 1, 2),
        ((8,), 0, 2),
        ((5, 3), 0, None),
    ],
)
def test_values_and_gradients_are_the_closed_forms(rng, shape, batch_axes, groups):
    params, x, dy = draw(rng, shape)
    check(params, x + 1, dy, groups, batch_axes=batch_axes)


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, groups, x64):
    check(*draw(rng, (2, 3, 4), dtype), groups)


@pytest.mark.parametrize("names", [(), ("scale",), ("offset",)])
def test_scale_and_offset_may_be_left_out_and_be_wider_than_the_data(rng, names):
    params, x, dy = draw(rng, (2, 3, 4))
    some = {name: params[name] for name in names}
    for groups in (2, None):
        check(some, x.astype(jnp.float16), dy.astype(jnp.float16), groups)


@pytest.mark.parametrize("groups", [2, None])
def test_epsilon_is_added_to_the_variance(rng, groups):
    check(*draw(rng, (2, 3, 4)), groups, epsilon=0.5)


def test_one_group_is_layer_normalisation_over_space_and_channels_and_a_group_a_channel_is_instance(rng):
    params, x, dy = draw(rng, (2, 3, 5, 4))
    one = nn.layer_norm({}, x, axis=(-3, -2, -1)) * params["scale"].reshape(1, 1, 1, 4)
    np.testing.assert_allclose(
        nn.group_norm(params, x, groups=1), one + params["offset"].reshape(1, 1, 1, 4), rtol=1e-5, atol=1e-6
    )
    for whole, single in zip(
        jax.tree.leaves(run(params, x, dy, groups=4)), jax.tree.leaves(run(params, x, dy)), strict=True
    ):
        assert_close(whole, single, length=15, scale=SCALE)


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_values_of_any_size_have_their_digits_and_their_gradient(rng, groups, size):
    _, x, dy = draw(rng, (2, 9, 4))
    x = x * jnp.float32(size)
    y, _, dx = run({}, x, dy, groups=groups)
    wanted, *_, wanted_dx = oracle({}, x, dy, groups)
    largest = np.abs(wanted_dx).max()
    assert_close(y, wanted, length=18, scale=np.abs(wanted).max())
    assert_close(np.asarray(dx, np.float64) / largest, wanted_dx / largest, dtype=dx.dtype, length=18)


@pytest.mark.parametrize("groups", [2, None])
def test_a_mean_far_above_the_deviation_costs_no_digits(rng, groups):
    _, x, dy = draw(rng, (2, 999, 4))
    x = x + jnp.asarray([1e4, 1e4, -1e4, -1e4], jnp.float32).reshape(1, 1, 4)
    y, _, dx = run({}, x, dy, groups=groups)
    wanted, *_, wanted_dx = oracle({}, x, dy, groups)
    assert_close(y, wanted)
    assert_close(dx, wanted_dx)


@pytest.mark.parametrize("groups", [1, None])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
def test_equal_values_give_the_offset_and_the_gradient_of_the_limit(rng, groups, value):
    params = {"scale": jnp.full(1, 2.0), "offset": jnp.full(1, 0.5)}
    dy = rng.standard_normal((1, 6, 1))
    y, grads, dx = run(params, jnp.full((1, 6, 1), value), jnp.asarray(dy, jnp.float32), groups=groups)
    assert (y == 0.5).all()
    assert not grads["scale"].any()
    assert_close(dx, 2 * (dy - dy.mean()) / np.sqrt(1e-5), length=6)


@pytest.mark.parametrize(("shape", "groups"), [((2, 1, 3), None), ((2, 3), 3)])
def test_one_value_alone_gives_the_offset_and_no_gradient(rng, shape, groups):
    params, x, dy = draw(rng, shape)
    y, _, dx = run(params, x, dy, groups=groups)
    np.testing.assert_array_equal(y, np.broadcast_to(params["offset"], shape))
    assert not dx.any()


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_group_of_its_example(rng, groups, value):
    params, x, dy = draw(rng, (2, 3, 4))
    clean = run(params, x, dy, groups=groups)
    y, _, dx = run(params, x.at[1, 0, 3].set(value), dy, groups=groups)
    harmed = np.zeros(x.shape, bool)
    harmed[1, :, 3 if groups is None else 2 :] = True
    assert np.isnan(y[harmed]).all()
    for found, wanted in ((y, clean[0]), (dx, clean[2])):
        np.testing.assert_array_equal(found[~harmed], wanted[~harmed])


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)])
def test_nothing_gives_nothing(rng, groups, shape):
    params, x, dy = draw(rng, shape)
    y, grads, dx = run(params, x, dy, groups=groups)
    assert y.shape == dx.shape == shape
    assert not any(leaf.any() for leaf in grads.values())


def test_fresh_params_are_the_identity():
    for init in (nn.group_norm_init, nn.instance_norm_init):
        params = init(3, dtype=jnp.float16)
        assert params["scale"].tolist() == [1] * 3
        assert params["offset"].tolist() == [0] * 3
        assert {leaf.dtype for leaf in params.values()} == {jnp.dtype(jnp.float16)}
