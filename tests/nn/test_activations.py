"""Every activation against a formula in complex numbers, whose imaginary step gives the exact derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from dlcore import nn
from tests.tolerance import EPSILON, FLOATS, assert_close, relative

INF, NAN = np.inf, np.nan
LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772  # of Klambauer et al. 2017


def sigmoid(x):
    e = np.exp(np.where(x.real > 0, -x, x))
    return np.where(x.real > 0, 1, e) / (1 + e)


def softplus(x):
    positive = x.real > 0
    e = np.exp(np.where(positive, -x, x))
    return np.where(positive, x, 0) + np.log1p(e.real) + 1j * e.imag / (1 + e.real)  # NumPy's complex log1p is rough


def tanh(x):
    return np.tanh(np.clip(x.real, -20, 20) + 1j * np.where(np.abs(x.real) < 20, x.imag, 0))


def clip(x, low, high):
    return np.where(x.real <= low, low, np.where(x.real >= high, high, x))


def gelu_tanh(x):
    return x / 2 * (1 + tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def exponential(x):
    return np.exp(np.where(x.real > 0, 0, x)) - 1


# The formula, with its options; every one is right for −300 to 300.
FORMULAS = {
    "relu": ({}, lambda x: np.where(x.real > 0, x, 0)),
    "relu6": ({}, lambda x: clip(x, 0, 6)),
    "leaky_relu": ({}, lambda x: np.where(x.real > 0, x, 0.01 * x)),
    "leaky_relu 0.3": ({"negative_slope": 0.3}, lambda x: np.where(x.real > 0, x, 0.3 * x)),
    "thresholded_relu": ({"threshold": 1.5}, lambda x: np.where(x.real > 1.5, x, 0)),
    "elu": ({}, lambda x: np.where(x.real > 0, x, exponential(x))),
    "elu 0.5": ({"alpha": 0.5}, lambda x: np.where(x.real > 0, x, 0.5 * exponential(x))),
    "selu": ({}, lambda x: LAMBDA * np.where(x.real > 0, x, ALPHA * exponential(x))),
    "celu": ({}, lambda x: np.where(x.real > 0, x, exponential(x))),
    "celu 2": ({"alpha": 2.0}, lambda x: np.where(x.real > 0, x, 2 * exponential(x / 2))),
    "gelu": ({}, gelu_tanh),
    "gelu exact": ({"approximate": False}, lambda x: x / 2 * (1 + erf(x / np.sqrt(2)))),
    "silu": ({}, lambda x: x * sigmoid(x)),
    "mish": ({}, lambda x: x * tanh(softplus(x))),
    "softplus": ({}, softplus),
    "squareplus": ({}, lambda x: np.where(x.real > 0, (x + np.sqrt(x**2 + 4)) / 2, 2 / (np.sqrt(x**2 + 4) - x))),
    "squareplus 0.25": (
        {"b": 0.25},
        lambda x: np.where(x.real > 0, (x + np.sqrt(x**2 + 0.25)) / 2, 0.125 / (np.sqrt(x**2 + 0.25) - x)),
    ),
    "soft_sign": ({}, lambda x: x / (1 + np.where(x.real > 0, x, -x))),
    "sigmoid": ({}, sigmoid),
    "log_sigmoid": ({}, lambda x: -softplus(-x)),
    "tanh": ({}, tanh),
    "hard_tanh": ({}, lambda x: clip(x, -1, 1)),
    "hard_sigmoid": ({}, lambda x: clip(x / 6 + 0.5, 0, 1)),
    "hard_sigmoid 0.2": ({"slope": 0.2, "offset": 0.25}, lambda x: clip(0.2 * x + 0.25, 0, 1)),
    "hard_silu": ({}, lambda x: x * clip(x / 6 + 0.5, 0, 1)),
    "hard_shrink": ({}, lambda x: np.where(np.abs(x.real) > 0.5, x, 0)),
    "hard_shrink 1": ({"threshold": 1.0}, lambda x: np.where(np.abs(x.real) > 1, x, 0)),
    "soft_shrink": ({}, lambda x: np.where(np.abs(x.real) > 0.5, x - 0.5 * np.sign(x.real), 0)),
    "soft_shrink 0": ({"threshold": 0.0}, lambda x: np.where(x.real == 0, 0, x)),
    "tanh_shrink": ({}, lambda x: x - tanh(x)),
}
NAMES = sorted({name.split()[0] for name in FORMULAS})


def oracle(name, x):
    """Value and derivative at finite points away from kinks, in float64."""
    step = 1e-200
    y = FORMULAS[name][1](np.asarray(x).astype(np.float64) + 1j * step)
    return y.real, y.imag / step


def function(name, **options):
    return lambda x: getattr(nn, name.split()[0])(x, **(FORMULAS[name][0] if name in FORMULAS else options))


def value_and_slope(f, x):
    """f and its derivative, on the host; for several arrays, one compilation."""
    once = lambda x: (f(x), jax.vjp(f, x)[1](jnp.ones_like(x))[0])
    return jax.tree.map(np.asarray, jax.jit(lambda x: jax.tree.map(once, x))(x))


NEAR = np.append(np.random.default_rng(0).uniform(-8, 8, 285), [0.0, -0.0])
FAR = np.array([-300.0, -100.0, -20.0, 20.0, 100.0, 300.0])


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_the_formula_near_zero_and_far_out_in_every_dtype(name, x64):
    arrays = {dtype: jnp.asarray(np.concatenate([NEAR, FAR]), dtype) for dtype in FLOATS}
    found = value_and_slope(function(name), arrays)
    # A gated unit's slope is a sum of terms as large as x, or (gelu) as a cubic's slope.
    gated = {"gelu": 5, "mish": 4, "silu": 4, "hard_silu": 4}.get(name.split()[0])
    near = np.arange(len(NEAR)) if gated is None else np.flatnonzero(np.abs(NEAR) < 4)
    far = np.arange(len(NEAR), len(NEAR) + len(FAR))
    for dtype, (y, slope) in found.items():
        assert y.dtype == slope.dtype == dtype
        want, want_slope = oracle(name, arrays[dtype])
        assert_close(y[near], want[near], scale=1)
        assert_close(slope[near], want_slope[near], scale=gated or 1 if dtype in ("float32", "float64") else 1)
        # Each to its own size, not to that of the largest; below the last place of 1 it may be rounded off.
        for actual, wanted in ((y, want), (slope, want_slope)):
            np.testing.assert_allclose(
                actual[far].astype(float), wanted[far], rtol=relative(dtype), atol=EPSILON[dtype], err_msg=dtype
            )


@pytest.mark.parametrize(
    ("name", "options", "slopes"),
    [
        ("relu", {}, {0: 0}),
        ("relu6", {}, {0: 0, 6: 0}),
        ("leaky_relu", {"negative_slope": 0.25}, {0: 0.25}),
        ("thresholded_relu", {"threshold": 1.5}, {1.5: 0}),
        ("thresholded_relu", {"threshold": -1.0}, {-1: 0, 0: 1}),
        ("elu", {"alpha": 0.5}, {0: 0.5}),
        ("elu", {}, {0: 1}),
        ("selu", {}, {0: LAMBDA * ALPHA}),
        ("celu", {"alpha": 2.0}, {0: 1}),
        ("soft_sign", {}, {0: 1}),
        ("hard_tanh", {}, {-1: 0, 1: 0}),
        ("hard_sigmoid", {}, {-3: 0, 3: 0, 0: 1 / 6}),
        ("hard_sigmoid", {"slope": 0.25, "offset": 0.5}, {-2: 0, 2: 0}),
        ("hard_silu", {}, {-3: 0, 3: 1, 0: 0.5}),
        ("hard_shrink", {}, {-0.5: 0, 0.5: 0}),
        ("soft_shrink", {}, {-0.5: 0, 0.5: 0}),
        ("hard_shrink", {"threshold": 0.0}, {0: 0}),
        ("soft_shrink", {"threshold": 0.0}, {0: 0}),
    ],
)
def test_the_gradient_at_a_kink_is_the_documented_one(name, options, slopes, x64):
    at = [*slopes, *(-0.0 for x in slopes if x == 0)]
    wanted = [*slopes.values(), *(slope for x, slope in slopes.items() if x == 0)]
    found = value_and_slope(function(f"{name} ", **options), {dtype: jnp.asarray(at, dtype) for dtype in FLOATS})
    for _, slope in found.values():
        assert_close(slope, wanted, scale=1)


@pytest.mark.parametrize("name", NAMES)
def test_forward_mode_and_curvature_are_the_derivatives_of_the_slope(name, x64):
    """At points between the kinks, where the slope's own difference quotient is the oracle."""
    f = function(name, **OPTIONS.get(name, {}))
    slope, step = jax.vmap(jax.grad(f)), 1e-5
    tangent = lambda f, x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]
    run = lambda x: (slope(x), tangent(f, x), tangent(slope, x), slope(x + step) - slope(x - step))
    found = jax.jit(run)(jnp.array([-3.3, -1.7, -0.7, 0.7, 2.3, 6.7]))
    reverse, forward, curvature, difference = map(np.asarray, found)
    assert_close(forward, reverse, scale=1)
    # The quotient's own error: step² for the next derivatives, the last place over the step for rounding.
    np.testing.assert_allclose(curvature, difference / (2 * step), atol=1e-9)


LIMITS = {
    "relu": (0, INF),
    "relu6": (0, 6),
    "leaky_relu": (-INF, INF),
    "elu": (-1, INF),
    "selu": (-LAMBDA * ALPHA, INF),
    "celu": (-1, INF),
    "gelu": (0, INF),
    "silu": (0, INF),
    "mish": (0, INF),
    "softplus": (0, INF),
    "squareplus": (0, INF),
    "soft_sign": (-1, 1),
    "sigmoid": (0, 1),
    "log_sigmoid": (-INF, 0),
    "tanh": (-1, 1),
    "hard_tanh": (-1, 1),
    "hard_sigmoid": (0, 1),
    "hard_silu": (0, INF),
    "hard_shrink": (-INF, INF),
    "soft_shrink": (-INF, INF),
    "tanh_shrink": (-INF, INF),
    "thresholded_relu": (0, INF),
}
# For which the docstring writes the gradient out, so that it has a value at −∞ and ∞ too.
SLOPES = {
    "relu": (0, 1),
    "relu6": (0, 0),
    "leaky_relu": (0.01, 1),
    "elu": (0, 1),
    "selu": (0, LAMBDA),
    "celu": (0, 1),
    "softplus": (0, 1),
    "soft_sign": (0, 0),
    "sigmoid": (0, 0),
    "log_sigmoid": (1, 0),
    "tanh": (0, 0),
    "hard_tanh": (0, 0),
    "hard_sigmoid": (0, 0),
    "hard_silu": (0, 1),
    "hard_shrink": (1, 1),
    "soft_shrink": (1, 1),
    "tanh_shrink": (1, 1),
    "thresholded_relu": (0, 1),
}
OPTIONS = {"thresholded_relu": {"threshold": 1.0}}


@pytest.mark.parametrize("name", LIMITS)
def test_infinity_gives_the_limit(name):
    y = getattr(nn, name)(jnp.array([-INF, INF]), **OPTIONS.get(name, {}))
    assert_close(y, LIMITS[name])


def test_infinity_gives_the_limit_of_the_exact_gelu():
    assert_close(nn.gelu(jnp.array([-INF, INF]), approximate=False), [0, INF])


@pytest.mark.parametrize("name", SLOPES)
def test_the_gradient_at_infinity_is_the_documented_one(name):
    x = jnp.array([-INF, INF])
    assert_close(value_and_slope(function(name, **OPTIONS.get(name, {})), x)[1], SLOPES[name], scale=1)


@pytest.mark.parametrize("name", NAMES)
def test_nan_passes_through_and_reaches_no_neighbour(name):
    y = getattr(nn, name)(jnp.array([1.0, NAN, 1.0]), **OPTIONS.get(name, {}))
    assert np.isnan(y).tolist() == [False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_integers_are_refused_and_any_shape_is_kept(name):
    f = function(name, **OPTIONS.get(name, {}))
    with pytest.raises(TypeError, match=f"nn.{name}.*`x`"):
        f(jnp.array([1, 2]))
    for shape in ((), (0,), (2, 0, 3)):
        assert jax.eval_shape(f, jax.ShapeDtypeStruct(shape, jnp.float16)) == jax.ShapeDtypeStruct(shape, jnp.float16)


def test_prelu_learns_a_slope_for_each_channel(rng):
    x, dy = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
    x[0, 0] = 0
    for slope in (np.float32(0.25), rng.uniform(0.1, 1, 3).astype(np.float32)):
        y, pull = jax.vjp(nn.prelu, jnp.asarray(x), jnp.asarray(slope))
        dx, dslope = pull(jnp.asarray(dy))
        assert_close(y, np.where(x > 0, x, slope * x))
        assert_close(dx, np.where(x > 0, dy, slope * dy))
        shares = np.where(x < 0, np.float64(x) * dy, 0)
        assert_close(dslope, shares.sum((0, 1)) if slope.ndim else shares.sum(), length=60, scale=3)


def test_an_infinite_or_nan_input_above_the_kink_leaves_the_slope_its_gradient():
    x = jnp.array([-2.0, INF])
    assert jax.grad(lambda slope: nn.prelu(x, slope).sum())(jnp.array(0.5)) == -2
    assert nn.prelu(jnp.array([NAN, INF, -INF]), 0.5).tolist()[1:] == [INF, -INF]
    assert np.isnan(nn.prelu(jnp.array([NAN]), 0.5)).all()


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_glu_gates_one_half_by_the_other(rng, axis):
    x = rng.standard_normal((4, 2, 6))
    a, b = np.split(x, 2, axis)
    dy, gate = rng.standard_normal(a.shape), 1 / (1 + np.exp(-b))
    y, pull = jax.vjp(lambda x: nn.glu(x, axis=axis), jnp.asarray(x, jnp.float32))
    assert_close(y, a * gate)
    assert_close(pull(jnp.asarray(dy, jnp.float32))[0], np.concatenate([dy * gate, dy * a * gate * (1 - gate)], axis))


@pytest.mark.parametrize(("name", "gate"), [("swiglu", "silu"), ("geglu", "gelu")])
def test_gated_pairs_are_the_activation_times_the_value(rng, name, gate):
    a, b = (jnp.asarray(rng.standard_normal((3, 5)), jnp.float32) for _ in range(2))
    y, pull = jax.vjp(getattr(nn, name), a, b)
    value, slope = oracle(gate, a)
    da, db = pull(jnp.ones_like(y))
    assert_close(y, value * np.asarray(b))
    assert_close(da, slope * np.asarray(b))
    assert_close(db, value)


@pytest.mark.parametrize("pieces", [1, 2, 3, 12])
def test_maxout_takes_the_largest_of_neighbours_and_the_first_of_equals_its_gradient(rng, pieces):
    x = rng.choice([-INF, 0.0, 1.0, NAN], size=(5, 2, 12), p=[0.3, 0.3, 0.3, 0.1])
    runs = x.reshape(5, 2, -1, pieces)
    y, dx = jax.jit(lambda x: (nn.maxout(x, pieces), jax.grad(lambda x: nn.maxout(x, pieces).sum())(x)))(
        jnp.asarray(x, jnp.float32)
    )
    np.testing.assert_array_equal(y, runs.max(-1))
    np.testing.assert_array_equal(dx.reshape(runs.shape), runs.argmax(-1)[..., None] == np.arange(pieces))


@pytest.mark.parametrize(
    ("name", "arguments", "options", "error"),
    [
        ("leaky_relu", (jnp.ones(2),), {"negative_slope": INF}, ValueError),
        ("thresholded_relu", (jnp.ones(2),), {"threshold": NAN}, ValueError),
        ("elu", (jnp.ones(2),), {"alpha": NAN}, ValueError),
        ("celu", (jnp.ones(2),), {"alpha": 0.0}, ValueError),
        ("squareplus", (jnp.ones(2),), {"b": 0.0}, ValueError),
        ("hard_sigmoid", (jnp.ones(2),), {"slope": NAN}, ValueError),
        ("hard_sigmoid", (jnp.ones(2),), {"offset": INF}, ValueError),
        ("hard_shrink", (jnp.ones(2),), {"threshold": -1.0}, ValueError),
        ("soft_shrink", (jnp.ones(2),), {"threshold": -1.0}, ValueError),
        ("prelu", (jnp.ones((2, 3)), jnp.ones(2)), {}, ValueError),
        ("prelu", (jnp.ones((2, 3)), jnp.ones(3, jnp.float16)), {}, TypeError),
        ("glu", (jnp.ones((2, 3)),), {}, ValueError),
        ("glu", (jnp.ones((2, 4)),), {"axis": 2}, ValueError),
        ("swiglu", (jnp.ones(3), jnp.ones((3, 1))), {}, ValueError),
        ("geglu", (jnp.ones(3), jnp.ones(3, jnp.float16)), {}, TypeError),
        ("maxout", (jnp.ones((2, 5)), 2), {}, ValueError),
        ("maxout", (jnp.ones((2, 4)), 2.0), {}, TypeError),
        ("maxout", (jnp.ones((2, 4)), 0), {}, ValueError),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, arguments, options, error):
    with pytest.raises(error, match=f"nn.{name}"):
        getattr(nn, name)(*arguments, **options)
