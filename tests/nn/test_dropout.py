from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

N = 200_001
dropout = jax.jit(nn.dropout, static_argnames=("rate", "broadcast_axes"))


@partial(jax.jit, static_argnames="rate")
def with_gradient(key, x, dy, rate):
    y, pull = jax.vjp(lambda x: nn.dropout(key, x, rate=rate), x)
    return y, pull(dy)[0]


def kept(key, shape, rate=0.5, **options):
    return np.asarray(dropout(key, jnp.ones(shape), rate=rate, **options)) != 0


@pytest.mark.parametrize("dtype", FLOATS)
def test_rate_zero_is_the_input_and_rate_one_is_zeros(key, dtype, x64):
    x = jnp.asarray([1.0, -2.0, 0.0, jnp.inf, -jnp.inf, jnp.nan], dtype)
    for rate in (0, 0.0):
        y, pull = jax.vjp(lambda x, rate=rate: nn.dropout(jax.random.clone(key), x, rate=rate), x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.astype(jnp.float32), x.astype(jnp.float32))
        np.testing.assert_array_equal(pull(jnp.ones_like(x))[0], jnp.ones_like(x))
    for rate in (1, 1.0):
        y, pull = jax.vjp(lambda x, rate=rate: nn.dropout(jax.random.clone(key), x, rate=rate), x)
        assert y.dtype == dtype
        assert not y.any()
        assert not pull(jnp.ones_like(x))[0].any()


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_rate_is_the_probability_of_dropping(key, rate):
    dropped = N - kept(key, (N,), rate).sum()
    assert abs(dropped - N * rate) < 5 * (N * rate * (1 - rate)) ** 0.5


def test_a_rate_of_a_few_in_a_million_drops_its_share(key):
    n, rate = 10_000_001, 4e-6
    dropped = n - int(jax.jit(lambda key: (nn.dropout(key, jnp.ones(n, jnp.bfloat16), rate=rate) != 0).sum())(key))
    assert abs(dropped - n * rate) < 5 * (n * rate) ** 0.5


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rate", [0.1, 0.999])
def test_what_stays_is_scaled_up_and_the_gradient_uses_the_same_mask(rng, key, dtype, rate, x64):
    x = jnp.asarray(rng.uniform(1, 2, 20_001), dtype)
    dy = jnp.asarray(rng.uniform(1, 2, 20_001), dtype)
    y, dx = with_gradient(key, x, dy, rate)
    assert y.dtype == dx.dtype == dtype
    stays = np.asarray(y) != 0
    assert 0 < stays.sum() < 20_001
    assert_close(y, stays * np.asarray(x).astype(np.float64) / (1 - rate))
    assert_close(dx, stays * np.asarray(dy).astype(np.float64) / (1 - rate))


def test_the_tangent_uses_the_same_mask(key):
    x, t = jnp.ones(101), jnp.arange(1.0, 102.0)
    y, tangent = jax.jvp(lambda x: dropout(key, x, rate=0.5), (x,), (t,))
    np.testing.assert_array_equal(tangent, y * t)


def test_the_mean_is_kept(key):
    for rate, k in zip((0.1, 0.5, 0.9), jax.random.split(key, 3), strict=True):
        mean = np.asarray(dropout(k, jnp.ones(N), rate=rate), np.float64).mean()
        assert abs(mean - 1) < 5 * (rate / (1 - rate) / N) ** 0.5


def test_the_same_key_gives_the_same_mask_in_jit_and_eagerly(seed):
    draw = lambda run: np.asarray(run(jax.random.key(seed), jnp.ones((30, 7)), rate=0.3))
    np.testing.assert_array_equal(draw(dropout), draw(dropout))
    np.testing.assert_array_equal(draw(dropout), draw(nn.dropout))


def chi_square(first, second):
    """Of the four joint outcomes of two fair masks, against a quarter each."""
    counts = np.array([((first == a) & (second == b)).sum() for a in (0, 1) for b in (0, 1)])
    return ((counts - first.size / 4) ** 2 / (first.size / 4)).sum()


# The value that chi-square with three degrees of freedom passes once in a million times.
CHI_SQUARE_3 = 30.7


def test_different_keys_give_independent_masks(key):
    masks = [kept(k, (N,)) for k in jax.random.split(key, 4)]
    for i in range(4):
        for j in range(i):
            assert chi_square(masks[i], masks[j]) < CHI_SQUARE_3
    assert chi_square(masks[0], masks[0]) > CHI_SQUARE_3


@pytest.mark.parametrize("step", [1, 2, 7, 128])
def test_different_positions_are_independent(key, step):
    mask = kept(key, (N,))
    assert chi_square(mask[:-step], mask[step:]) < CHI_SQUARE_3


def test_a_step_that_folds_in_its_number_draws_anew_each_time(key):
    masks = [kept(jax.random.fold_in(k, step), (N,)) for step, k in enumerate(jax.random.clone(key) for _ in range(3))]
    assert all(chi_square(masks[i], masks[j]) < CHI_SQUARE_3 for i, j in ((0, 1), (1, 2), (0, 2)))


@pytest.mark.parametrize("axes", [(-2,), (1,), (-3, -2), (0, 1, 2)])
def test_one_draw_is_shared_along_the_broadcast_axes(key, axes):
    mask = kept(key, (40, 5, 30), broadcast_axes=axes)
    shared = tuple(axis % 3 for axis in axes)
    np.testing.assert_array_equal(mask, np.broadcast_to(mask.any(axis=shared, keepdims=True), mask.shape))
    for axis in set(range(3)) - set(shared):  # and along no other axis
        assert (mask != mask.take([0], axis)).any()


def test_a_dropped_infinity_or_nan_is_zero_and_so_is_its_gradient(key):
    x = jnp.tile(jnp.array([jnp.inf, -jnp.inf, jnp.nan]), 100)
    y, dx = with_gradient(key, x, jnp.ones(300), 0.5)
    gone = np.asarray(y) == 0
    assert 0 < gone.sum() < 300
    np.testing.assert_array_equal(np.asarray(y)[~gone], np.asarray(x)[~gone])
    np.testing.assert_array_equal(dx, np.where(gone, 0, 2))


def test_rates_may_be_traced_and_mapped_over_and_both_ends_are_exact(key):
    rates = jnp.array([0.0, 1e-3, 0.25, 0.999, 1.0])
    x = jnp.ones(N).at[:2].set(jnp.array([jnp.inf, jnp.nan]))

    def value_and_gradient(rate):
        y, pull = jax.vjp(lambda x: nn.dropout(key, x, rate=rate), x)
        return y, pull(jnp.ones(N))[0]

    y, dx = map(np.asarray, jax.jit(jax.vmap(value_and_gradient))(rates))
    np.testing.assert_array_equal(y[0], x)
    np.testing.assert_array_equal(dx[0], np.ones(N))
    assert not y[-1].any()
    assert not dx[-1].any()
    for lane, rate in enumerate(np.asarray(rates, np.float64)):
        dropped = (dx[lane] == 0).sum()
        assert abs(dropped - N * rate) <= 5 * (N * rate * (1 - rate)) ** 0.5
        np.testing.assert_array_equal(dx[lane][2:], y[lane][2:])
        assert_close(jnp.asarray(dx[lane]), (dx[lane] != 0) / (1 - rate if rate < 1 else 1))


def test_a_traced_rate_in_half_precision_is_scaled_in_float32(key):
    x = jnp.full(1001, 3.0, jnp.bfloat16)
    y = np.asarray(jax.jit(lambda rate: nn.dropout(key, x, rate=rate))(jnp.asarray(0.1, jnp.float32)))
    assert set(y.astype(float)) == {0.0, float(jnp.asarray(3 / 0.9, jnp.bfloat16))}


def test_lanes_of_a_vmap_over_keys_draw_apart(key):
    masks = np.asarray(jax.jit(jax.vmap(lambda k: nn.dropout(k, jnp.ones(N), rate=0.5)))(jax.random.split(key, 2))) != 0
    assert chi_square(masks[0], masks[1]) < CHI_SQUARE_3


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,)])
def test_scalars_and_empty_arrays_keep_their_shape(key, shape):
    assert nn.dropout(key, jnp.ones(shape), rate=0.5).shape == shape


@pytest.mark.parametrize(
    ("given", "x", "options", "error", "words"),
    [
        (None, jnp.ones(3), {"rate": 0.5}, ValueError, "`key`.*jax.random.key"),
        (None, jnp.ones(3), {"rate": 0.0}, ValueError, "`key`"),
        (np.zeros(2, np.uint32), jnp.ones(3), {"rate": 0.5}, TypeError, "`key`.*raw"),
        (jnp.zeros(2, jnp.uint32), jnp.ones(3), {"rate": 0.5}, TypeError, "`key`.*raw"),
        (0, jnp.ones(3), {"rate": 0.5}, TypeError, "`key`"),
        (jax.random.split(jax.random.key(0)), jnp.ones(3), {"rate": 0.5}, ValueError, "`key`"),
        (jax.random.key(1), jnp.ones(3), {"rate": 1.01}, ValueError, "`rate`"),
        (jax.random.key(1), jnp.ones(3), {"rate": -0.1}, ValueError, "`rate`"),
        (jax.random.key(1), jnp.ones(3), {"rate": float("nan")}, ValueError, "`rate`"),
        (jax.random.key(1), jnp.ones(3), {"rate": "half"}, TypeError, "`rate`"),
        (jax.random.key(1), jnp.ones(3), {"rate": jnp.ones(3)}, TypeError, "`rate`"),
        (jax.random.key(1), jnp.ones(3), {"rate": jnp.array(1)}, TypeError, "`rate`"),
        (jax.random.key(1), jnp.ones(3, int), {"rate": 0.5}, TypeError, "`x`"),
        (jax.random.key(1), jnp.ones(3), {"rate": 0.5, "broadcast_axes": (1,)}, ValueError, "`broadcast_axes`"),
        (jax.random.key(1), jnp.ones(3), {"rate": 0.5, "broadcast_axes": (-2,)}, ValueError, "`broadcast_axes`"),
        (jax.random.key(1), jnp.ones(3), {"rate": 0.5, "broadcast_axes": (0.0,)}, TypeError, "`broadcast_axes`"),
        (jax.random.key(1), jnp.ones(3), {"rate": 0.5, "broadcast_axes": 0.0}, TypeError, "`broadcast_axes`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given, x, options, error, words):
    with pytest.raises(error, match=f"nn.dropout.*{words}"):
        nn.dropout(given, x, **options)
