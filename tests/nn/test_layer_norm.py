from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.norm_oracle import standardised
from tests.tolerance import FLOATS, assert_close

BOTH = pytest.mark.parametrize("function", [nn.layer_norm, nn.rms_norm])
# The size of x̂'s terms in these tests, which cancel in the gradient.
SCALE = 10


@partial(jax.jit, static_argnames=("function", "axis", "epsilon"))
def run(function, params, x, dy, **options):
    """y, and the gradients in params and x."""
    y, pull = jax.vjp(lambda params, x: function(params, x, **options), params, x)
    return y, *pull(dy)


def draw(rng, function, shape, leaf_shape, dtype=jnp.float32):
    names = ("scale", "offset") if function is nn.layer_norm else ("scale",)
    params = {name: jnp.asarray(rng.standard_normal(leaf_shape), dtype) for name in names}
    return params, *(jnp.asarray(rng.standard_normal(shape), dtype) for _ in range(2))


def check(function, params, x, dy, axis=-1, axes=(-1,), **options):
    """Against the closed form; `axes`: those of `axis`, negative and sorted."""
    y, grads, dx = run(function, params, x, dy, axis=axis, **options)
    assert y.dtype == dx.dtype == x.dtype
    # Leaves as the rows of a broadcast: what `axes` does not hold has size one.
    shape = [n if i - x.ndim in axes else 1 for i, n in enumerate(x.shape)]
    leaf = {name: np.asarray(value, np.float64).reshape(shape) for name, value in params.items()}
    wide = np.asarray(dy, np.float64)
    normal, dx_wanted = standardised(x, wide * leaf.get("scale", 1), axes, centre=function is nn.layer_norm, **options)
    length = int(np.prod(shape))
    assert_close(y, leaf.get("scale", 1) * normal + leaf.get("offset", 0), length=length)
    assert_close(dx, dx_wanted, length=length, scale=SCALE)
    rest = tuple(i for i in range(x.ndim) if i - x.ndim not in axes)
    for name, of in (("scale", wide * normal), ("offset", wide)):
        if name in params:
            assert_close(grads[name], of.sum(rest), length=x.size, scale=SCALE)


@BOTH
@pytest.mark.parametrize(
    ("shape", "axis", "axes"),
    [
        ((4, 7), -1, (-1,)),
        ((7,), 0, (-1,)),
        ((3, 4, 5), (-2, -1), (-2, -1)),
        ((3, 4, 5), (2, 0), (-3, -1)),
        ((3, 4, 5), (-1, -3), (-3, -1)),
        ((3, 4, 5), 1, (-2,)),
    ],
)
def test_values_and_gradients_are_the_closed_forms_over_any_axes(rng, function, shape, axis, axes):
    params, x, dy = draw(rng, function, shape, tuple(shape[a] for a in axes))
    check(function, params, x + 1, dy, axis, axes)


@BOTH
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, function, dtype, x64):
    params, x, dy = draw(rng, function, (4, 6), (6,), dtype)
    check(function, params, x, dy)


@BOTH
def test_params_may_be_wider_than_the_data(rng, function):
    params, x, dy = draw(rng, function, (4, 6), (6,))
    check(function, params, x.astype(jnp.bfloat16), dy.astype(jnp.bfloat16))


@pytest.mark.parametrize("names", [(), ("scale",), ("offset",)])
def test_scale_and_offset_may_be_left_out(rng, names):
    params, x, dy = draw(rng, nn.layer_norm, (4, 6), (6,))
    check(nn.layer_norm, {name: params[name] for name in names}, x, dy)
    check(nn.rms_norm, {}, x, dy)


@BOTH
@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 30.0])
def test_epsilon_is_added_to_the_square_under_the_root(rng, function, epsilon):
    params, x, dy = draw(rng, function, (4, 6), (6,))
    check(function, params, x, dy, epsilon=epsilon)


@BOTH
@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e15, 1e30])
def test_values_of_any_size_have_their_digits_and_their_gradient(rng, function, size):
    x = jnp.asarray(size * rng.standard_normal((3, 33)), jnp.float32)
    dy = jnp.asarray(rng.standard_normal((3, 33)), jnp.float32)
    y, _, dx = run(function, {}, x, dy)
    normal, wanted = standardised(x, dy, (-1,), centre=function is nn.layer_norm)
    assert_close(y, normal, length=33, scale=abs(normal).max())
    largest = np.abs(wanted).max()
    assert_close(np.asarray(dx) / largest, wanted / largest, dtype=dx.dtype, length=33)


@BOTH
@pytest.mark.parametrize("size", [1e34, 1e38])
def test_beyond_the_largest_the_result_is_nan_and_never_a_wrong_number(rng, function, size):
    x = jnp.asarray(size * rng.choice([-3.0, 3.0, 0.5], (3, 33)), jnp.float32).at[0].set(1.0)
    y, _, dx = run(function, {}, x, jnp.ones_like(x))
    assert np.isfinite(y[0]).all()
    assert np.isfinite(dx[0]).all()
    assert np.isnan(y[1:]).all()
    assert np.isnan(dx[1:]).all()


@BOTH
def test_slices_of_very_different_sizes_do_not_meet(rng, function):
    x = jnp.asarray(rng.standard_normal((4, 16)) * np.array([[1e30], [1e-30], [1.0], [0.0]]), jnp.float32)
    dy = jnp.asarray(rng.standard_normal((4, 16)), jnp.float32)
    whole = run(function, {}, x, dy)
    for i in range(4):
        alone = run(function, {}, x[i : i + 1], dy[i : i + 1])
        np.testing.assert_array_equal(whole[0][i], alone[0][0])
        np.testing.assert_array_equal(whole[2][i], alone[2][0])


@pytest.mark.parametrize("n", [33, 4099])
def test_a_mean_far_above_the_deviation_costs_no_digits(rng, n):
    x = jnp.asarray(1e4 + rng.standard_normal((2, n)), jnp.float32)
    dy = jnp.asarray(rng.standard_normal((2, n)), jnp.float32)
    y, _, dx = run(nn.layer_norm, {}, x, dy)
    normal, wanted = standardised(x, dy, (-1,))
    # No square root of n: deviations are taken from the data, so nothing large is summed.
    assert_close(y, normal)
    assert_close(dx, wanted)


def test_a_first_value_far_from_the_others_costs_no_more_than_its_size(rng):
    x = jnp.asarray(rng.standard_normal((1, 64)), jnp.float32).at[0, 0].set(1e8)
    y, _, _ = run(nn.layer_norm, {}, x, x)
    assert_close(y, standardised(x, x, (-1,))[0], length=64)


@pytest.mark.parametrize("value", [0.0, -3.5, 0.1, 1e12, -3e38])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-12])
def test_equal_values_give_the_offset_and_the_gradient_of_the_limit(rng, value, epsilon):
    params = {"scale": jnp.full(5, 2.0), "offset": jnp.full(5, 0.5)}
    dy = rng.standard_normal(5)
    y, grads, dx = run(nn.layer_norm, params, jnp.full(5, value), jnp.asarray(dy, jnp.float32), epsilon=epsilon)
    assert y.tolist() == [0.5] * 5
    assert not grads["scale"].any()
    assert_close(dx, 2 * (dy - dy.mean()) / np.sqrt(epsilon), length=5)


def test_zeros_give_zeros_and_the_gradient_of_the_limit(rng):
    dy = rng.standard_normal(5)
    y, grads, dx = run(nn.rms_norm, {"scale": jnp.full(5, 2.0)}, jnp.zeros(5), jnp.asarray(dy, jnp.float32))
    assert not y.any()
    assert not grads["scale"].any()
    assert_close(dx, 2 * dy / np.sqrt(1e-5))


def test_one_value_alone_gives_the_offset_and_no_gradient():
    params = {"scale": jnp.array([3.0]), "offset": jnp.array([0.5])}
    y, _, dx = run(nn.layer_norm, params, jnp.array([[7.0], [-1e30]]), jnp.ones((2, 1)))
    assert y.ravel().tolist() == [0.5, 0.5]
    assert not dx.any()


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_slice(rng, function, value):
    params, x, dy = draw(rng, function, (3, 4), (4,))
    clean = run(function, params, x, dy)
    y, _, dx = run(function, params, x.at[1, 2].set(value), dy)
    assert np.isnan(y[1]).any()
    for found, wanted in ((y, clean[0]), (dx, clean[2])):
        np.testing.assert_array_equal(found[::2], wanted[::2])


@BOTH
def test_the_largest_half_precision_values_do_not_overflow(function):
    x = jnp.array([60000.0, -60000.0, 60000.0, -60000.0], jnp.float16)
    y, _, dx = run(function, {}, x, jnp.ones(4, jnp.float16))
    assert y.tolist() == [1, -1, 1, -1]
    assert np.isfinite(dx).all()


@BOTH
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_gives_nothing(function, shape):
    y, _, dx = run(function, {}, jnp.ones(shape), jnp.ones(shape))
    assert y.shape == dx.shape == shape


@BOTH
def test_forward_mode_and_the_hessian_are_those_of_the_formula(rng, function, x64):
    x, t, dy = rng.standard_normal((3, 2, 5))

    def plain(x):
        deviation = x - x.mean(-1, keepdims=True) if function is nn.layer_norm else x
        return (dy * deviation / jnp.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-5)).sum()

    ours = lambda x: (dy * function({}, x)).sum()
    for derivative in (lambda f: jax.jvp(f, (x,), (t,))[1], lambda f: jax.hessian(f)(x)):
        assert_close(derivative(ours), derivative(plain), length=10, scale=SCALE)


def test_fresh_params_are_the_identity_in_the_shape_of_the_axes():
    params = nn.layer_norm_init((2, 3), dtype=jnp.bfloat16)
    assert list(params) == ["scale", "offset"]
    assert {(leaf.shape, leaf.dtype) for leaf in params.values()} == {((2, 3), jnp.dtype(jnp.bfloat16))}
    assert (params["scale"] == 1).all()
    assert not params["offset"].any()
    assert list(nn.rms_norm_init(3)) == ["scale"]
    assert nn.rms_norm_init([2, 3])["scale"].shape == (2, 3)
    assert nn.layer_norm_init(np.int64(3))["scale"].shape == (3,)
