import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan
N = 200_001
FAMILY = {"gaussian_dropout": nn.gaussian_dropout, "alpha_dropout": nn.alpha_dropout, "drop_path": nn.drop_path}
every = pytest.mark.parametrize("name", FAMILY)
# SELU far below zero: −λα.
SATURATION = -1.7580993408473766


@partial(jax.jit, static_argnames=("name", "rate", "broadcast_axes"))
def with_gradient(key, x, dy, *, name, rate, **options):
    y, pull = jax.vjp(lambda x: FAMILY[name](key, x, rate=rate, **options), x)
    return y, pull(dy)[0]


@partial(jax.jit, static_argnames="name")
def with_both_gradients(key, x, dy, rate, *, name):
    """The rate is traced, and differentiated as well, in both modes."""
    run = lambda x, rate: FAMILY[name](jax.random.clone(key), x, rate=rate)
    y, pull = jax.vjp(run, x, rate)
    _, tangent = jax.jvp(run, (x, rate), (jnp.zeros_like(x), jnp.ones_like(rate)))
    return y, *pull(dy), tangent


@every
@pytest.mark.parametrize("dtype", FLOATS)
def test_rate_zero_is_the_input_and_rate_one_is_zeros(name, dtype, seed, x64):
    x = jnp.asarray([1.0, -2.0, 0.0, 6e4, INF, -INF, NAN], dtype)
    for rate, wanted, slope in ((0, x, 1), (0.0, x, 1), (1, 0 * jnp.ones_like(x), 0), (1.0, 0 * jnp.ones_like(x), 0)):
        y, dx = with_gradient(jax.random.key(seed), x, jnp.ones_like(x), name=name, rate=rate)
        assert y.dtype == dx.dtype == dtype
        np.testing.assert_array_equal(np.asarray(y).astype(float), np.asarray(wanted).astype(float))
        np.testing.assert_array_equal(np.asarray(dx).astype(float), np.full(7, slope))


@every
@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
def test_a_traced_rate_is_exact_at_both_ends_and_its_gradient_finite(name, kind, key):
    x = jnp.asarray([1.0, -2.0, 0.0, 7e4, INF, -INF, NAN])
    rates = jnp.asarray([0.0, 1.0], kind)
    run = jax.vmap(partial(with_both_gradients, name=name), in_axes=(None, None, None, 0))
    y, dx, drate, tangent = map(np.asarray, run(key, x, jnp.ones(7), rates))
    np.testing.assert_array_equal(y[0], x)
    np.testing.assert_array_equal(dx[0], 1)
    assert not y[1].any()
    assert not dx[1].any()
    finite = np.isfinite(x)
    assert np.isfinite(tangent[0, finite]).all()
    # What is dropped is in no gradient, inf and NaN neither.
    assert np.isfinite(tangent[1]).all()
    assert np.isfinite(drate[1])


@every
@pytest.mark.parametrize("rate", [0.25, 0.75])
def test_a_number_and_a_traced_rate_of_its_value_are_one(name, rate, key):
    x = jnp.arange(1.0, 401.0)
    first = with_gradient(key, x, jnp.ones(400), name=name, rate=rate)
    second = with_both_gradients(jax.random.clone(key), x, jnp.ones(400), jnp.float32(rate), name=name)[:2]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-4)
        np.testing.assert_array_equal(a == 0, b == 0)


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_dtype_draws_alike_and_computes_in_float32(name, dtype, seed, x64, rng):
    x, dy = (jnp.asarray(rng.uniform(1, 2, 301), dtype) for _ in range(2))
    y, dx = with_gradient(jax.random.key(seed), x, dy, name=name, rate=0.4)
    wide = (a.astype(jnp.float64) for a in (x, dy))
    for a, b in zip((y, dx), with_gradient(jax.random.key(seed), *wide, name=name, rate=0.4), strict=True):
        assert a.dtype == dtype
        assert_close(a, b)


@every
@pytest.mark.parametrize("shape", [(1,), (0,), (0, 3), (3, 0), (2, 1, 3)])
def test_shapes_are_kept(name, shape, key):
    y, dx = with_gradient(key, jnp.ones(shape), jnp.ones(shape), name=name, rate=0.5)
    assert y.shape == dx.shape == shape


@pytest.mark.parametrize("name", ["gaussian_dropout", "alpha_dropout"])
def test_a_scalar_keeps_its_shape(name, key):
    assert FAMILY[name](key, jnp.float32(2.0), rate=0.5).shape == ()


@every
def test_a_rate_beyond_its_range_shows_where_it_is_traced(name, key):
    y, *_ = with_both_gradients(key, jnp.ones(50), jnp.ones(50), jnp.float32(NAN), name=name)
    assert np.isnan(np.asarray(y)).all()


# ---- gaussian_dropout


def phi(z):
    return np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.9])
def test_gaussian_noise_has_mean_one_and_the_variance_of_dropouts(rate, key):
    y, dx = with_gradient(key, jnp.ones(N), jnp.ones(N), name="gaussian_dropout", rate=rate)
    z = (np.asarray(y, np.float64) - 1) / math.sqrt(rate / (1 - rate))
    # Standard errors of mean, variance, skewness and kurtosis of a standard normal.
    for moment, wanted, variance in ((z, 0, 1), (z**2, 1, 2), (z**3, 0, 15), (z**4, 3, 96)):
        assert abs(moment.mean() - wanted) < 6 * math.sqrt(variance / N)
    # Kolmogorov and Smirnov: passed by chance once in 2·10⁸ times.
    edges = np.linspace(-4, 4, 81)
    found = np.searchsorted(np.sort(z), edges) / N
    assert np.abs(found - phi(edges)).max() < 3.1 / math.sqrt(N)
    np.testing.assert_array_equal(dx, y)


def test_gaussian_noise_multiplies_and_the_gradient_is_the_same_noise(rng, key):
    x, dy = (jnp.asarray(rng.standard_normal(1001), jnp.float32) for _ in range(2))
    y, dx = with_gradient(key, x, dy, name="gaussian_dropout", rate=0.5)
    noise, _ = with_gradient(jax.random.clone(key), jnp.ones(1001), dy, name="gaussian_dropout", rate=0.5)
    assert_close(y, np.asarray(x, np.float64) * np.asarray(noise, np.float64))
    assert_close(dx, np.asarray(dy, np.float64) * np.asarray(noise, np.float64))


def test_the_gradient_of_gaussian_noise_in_the_rate_is_the_formulas(key):
    x, rate = jnp.full(501, 2.0), 0.3
    y, _, drate, tangent = with_both_gradients(key, x, jnp.ones(501), jnp.float32(rate), name="gaussian_dropout")
    # y = x (1 + √(r / (1 − r)) ε), so that dy/dr = (y − x) / (2 r (1 − r)).
    wanted = (np.asarray(y, np.float64) - 2) / (2 * rate * (1 - rate))
    assert_close(tangent, wanted, length=4)
    assert_close(drate, wanted.sum(), length=501, scale=np.abs(wanted).sum())


# ---- alpha_dropout


def alpha_oracle(x, kept, rate):
    """Klambauer et al. 2017, in float64: values and slopes."""
    q = 1 - rate
    a = 1 / math.sqrt(q + SATURATION**2 * q * (1 - q))
    b = -a * (1 - q) * SATURATION
    return a * np.where(kept, x, SATURATION) + b, np.where(kept, a, 0)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.999])
def test_alpha_dropout_is_the_formula_with_dropouts_mask(rate, rng, seed):
    x = jnp.asarray(rng.standard_normal((40, 50)), jnp.float32)
    dy = jnp.asarray(rng.uniform(1, 2, (40, 50)), jnp.float32)
    y, dx = with_gradient(jax.random.key(seed), x, dy, name="alpha_dropout", rate=rate)
    kept = np.asarray(nn.dropout(jax.random.key(seed), jnp.ones((40, 50)), rate=rate)) != 0
    wanted, slope = alpha_oracle(np.asarray(x, np.float64), kept, rate)
    assert_close(y, wanted)
    assert_close(dx, slope * np.asarray(dy, np.float64))


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
def test_alpha_dropout_keeps_mean_zero_and_variance_one(rate, rng, key):
    x = rng.standard_normal(N)
    y, _ = with_gradient(key, jnp.asarray(x, jnp.float32), jnp.ones(N), name="alpha_dropout", rate=rate)
    y = np.asarray(y, np.float64)
    assert abs(y.mean()) < 6 / math.sqrt(N)
    # The variance of y², from the formula: kept values are normal, dropped ones constant.
    a, b = alpha_oracle(0.0, np.array(False), rate)[0], None
    slope = alpha_oracle(0.0, np.array(True), rate)[1]
    b = float(alpha_oracle(0.0, np.array(True), rate)[0])
    fourth = (1 - rate) * (3 * slope**4 + 6 * slope**2 * b**2 + b**4) + rate * a**4
    assert abs((y**2).mean() - 1) < 6 * math.sqrt((fourth - 1) / N)


def test_selu_with_alpha_dropout_stays_normalised_through_layers(rng, seed):
    """What it is for: after ten layers mean and variance are still those of a fixed point, as without dropout."""
    width = 512
    x = jnp.asarray(rng.standard_normal((1000, width)), jnp.float32)

    @jax.jit
    def layer(key, x, kernel):
        return nn.alpha_dropout(key, nn.selu(x @ kernel), rate=0.2)

    for index in range(10):
        kernel = jnp.asarray(rng.standard_normal((width, width)) / math.sqrt(width), jnp.float32)
        x = layer(jax.random.fold_in(jax.random.key(seed), index), x, kernel)
    assert abs(float(x.mean())) < 0.1
    assert abs(float(x.var()) - 1) < 0.1


@pytest.mark.parametrize("axes", [(-2,), (-3, -2), (0, 1, 2)])
def test_alpha_dropout_shares_a_draw_along_the_broadcast_axes(axes, key):
    y, _ = with_gradient(
        key, jnp.ones((40, 5, 30)), jnp.ones((40, 5, 30)), name="alpha_dropout", rate=0.5, broadcast_axes=axes
    )
    kept = np.asarray(y) > 0
    shared = tuple(axis % 3 for axis in axes)
    np.testing.assert_array_equal(kept, np.broadcast_to(kept.any(axis=shared, keepdims=True), kept.shape))
    for axis in set(range(3)) - set(shared):
        assert (kept != kept.take([0], axis)).any()


def test_alpha_dropout_drops_infinities_and_nan_to_the_same_constant(key):
    x = jnp.tile(jnp.array([INF, -INF, NAN]), 100)
    y, dx = map(np.asarray, with_gradient(key, x, jnp.ones(300), name="alpha_dropout", rate=0.5))
    gone = np.isfinite(y)
    assert 0 < gone.sum() < 300
    constant, _ = alpha_oracle(0.0, np.array(False), 0.5)
    assert_close(jnp.asarray(y[gone]), np.full(gone.sum(), constant))
    np.testing.assert_array_equal(y[~gone], np.asarray(x)[~gone])
    assert not dx[gone].any()
    assert np.isfinite(dx).all()


# ---- drop_path


def test_drop_path_drops_whole_examples_and_scales_the_others_up(rng, key):
    x = jnp.asarray(rng.uniform(1, 2, (1000, 3, 2)), jnp.float32).at[:, 0, 0].set(INF)
    y, dx = map(np.asarray, with_gradient(key, x, jnp.ones(x.shape), name="drop_path", rate=0.25))
    kept = y[:, 1, 1] != 0
    assert abs(kept.sum() - 750) < 6 * math.sqrt(1000 * 0.25 * 0.75)
    scale = np.broadcast_to(np.where(kept, 4 / 3, 0)[:, None, None], x.shape)
    assert_close(dx, scale)
    np.testing.assert_array_equal(y[~kept], 0)
    assert_close(jnp.asarray(y[kept]), np.asarray(x, np.float64)[kept] * 4 / 3)


def test_drop_path_keeps_the_mean_of_a_residual_network(key):
    y, _ = with_gradient(key, jnp.ones((N, 1)), jnp.ones((N, 1)), name="drop_path", rate=0.9)
    assert abs(np.asarray(y, np.float64).mean() - 1) < 6 * math.sqrt(9 / N)


def test_under_vmap_over_examples_dropout_with_all_axes_shared_says_the_same_as_drop_path(key):
    x = jnp.ones((500, 4))
    run = jax.vmap(lambda key, x: nn.dropout(key, x, rate=0.5, broadcast_axes=range(-x.ndim, 0)))
    y = np.asarray(jax.jit(run)(jax.random.split(key, 500), x))
    assert (y == y[:, :1]).all()
    assert set(y.ravel()) == {0.0, 2.0}
