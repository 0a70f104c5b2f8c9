from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests import properties
from tests.enrolment import Entry, key_of, normal
from tests.tolerance import assert_close

INF, NAN = np.inf, np.nan
N = 100_003
P = np.array([0.5, 0.3, 0.15, 0.04, 0.01])
# Chi-square with four degrees of freedom passes it once in 10⁹ times.
CHI_SQUARE_4 = 48.0
draw = jax.jit(nn.gumbel_softmax, static_argnames=("axis", "temperature", "hard"))


@partial(jax.jit, static_argnames=("axis", "temperature", "hard"))
def with_gradient(key, x, dy, **options):
    y, pull = jax.vjp(lambda x: nn.gumbel_softmax(key, x, **options), x)
    return y, pull(dy)[0]


def logits(count=N):
    # A constant is added to each: it changes no probability.
    return jnp.tile(jnp.asarray(np.log(P) + 3, jnp.float32), (count, 1))


def chi_square(counts, share):
    expected = share * counts.sum()
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.parametrize(("temperature", "hard"), [(1.0, False), (0.1, True), (1e30, True), (1e-30, True)])
def test_the_largest_is_a_draw_from_softmax_at_any_temperature(key, temperature, hard):
    y = np.asarray(draw(key, logits(), temperature=temperature, hard=hard))
    counts = np.bincount(y.argmax(-1), minlength=5)
    assert chi_square(counts, P) < CHI_SQUARE_4
    assert chi_square(counts, np.full(5, 0.2)) > CHI_SQUARE_4
    if hard:
        assert set(y.ravel()) == {0.0, 1.0}
        assert (y.sum(-1) == 1).all()


def test_rows_and_keys_draw_independently(key):
    first, second = (
        np.asarray(draw(k, logits(), temperature=1.0, hard=True)).argmax(-1) for k in jax.random.split(key)
    )
    for a, b in ((first[1:], first[:-1]), (first, second)):
        joint = np.bincount(5 * a + b, minlength=25)
        # 24 degrees of freedom: once in 10⁹.
        assert chi_square(joint, np.outer(P, P).ravel()) < 93.0


def test_differences_of_the_soft_sample_are_logistic(key):
    """(x_i + g_i) − (x_j + g_j) = τ log(y_i / y_j), and two Gumbel variables differ by a logistic one."""
    tau = 2.0
    y = np.asarray(draw(key, logits(), temperature=tau, hard=False), np.float64)
    for i, j in ((0, 1), (3, 4)):
        z = np.sort(tau * np.log(y[:, i] / y[:, j]) - np.log(P[i] / P[j]))
        edges = np.linspace(-8, 8, 81)
        found = np.searchsorted(z, edges) / N
        # Kolmogorov and Smirnov: passed by chance once in 2·10⁸ times.
        assert np.abs(found - 1 / (1 + np.exp(-edges))).max() < 3.1 / N**0.5


@pytest.mark.parametrize(("axis", "temperature"), [(-1, 1.0), (0, 0.5), (-2, 2.0)])
def test_the_gradient_is_that_of_softmax_with_the_same_noise(rng, key, axis, temperature):
    x, dy = (jnp.asarray(rng.standard_normal((6, 5, 4)), jnp.float32) for _ in range(2))
    y, dx = with_gradient(key, x, dy, axis=axis, temperature=temperature)
    p, d = np.asarray(y, np.float64), np.asarray(dy, np.float64)
    assert_close(y.sum(axis), np.ones(y.sum(axis).shape), length=6)
    assert_close(dx, p * (d - (d * p).sum(axis, keepdims=True)) / temperature, length=6, scale=3)


def test_the_gradient_in_the_temperature_is_the_closed_form(rng, key):
    x = jnp.asarray(rng.standard_normal(5), jnp.float32)
    run = lambda tau: nn.gumbel_softmax(key, x, temperature=tau)
    y, slope = jax.jit(lambda tau: jax.jvp(run, (tau,), (jnp.float32(1.0),)))(jnp.float32(0.7))
    p = np.asarray(y, np.float64)
    # (x + g) / τ is log y, up to a constant.
    assert_close(slope, -p * (np.log(p) - (p * np.log(p)).sum()) / 0.7, length=5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_hard_is_one_hot_with_the_soft_ones_gradient_in_both_modes(rng, seed, dtype):
    x, t = (jnp.asarray(rng.standard_normal((40, 5)), dtype) for _ in range(2))

    @partial(jax.jit, static_argnames="hard")
    def run(x, t, hard):
        value = lambda x: nn.gumbel_softmax(jax.random.key(seed), x, temperature=0.5, hard=hard)
        y, pull = jax.vjp(value, x)
        return y, pull(t)[0], jax.jvp(value, (x,), (t,))[1]

    soft, hard = run(x, t, False), run(x, t, True)
    assert all(leaf.dtype == dtype for leaf in (*soft, *hard))
    assert set(np.asarray(hard[0]).astype(float).ravel()) == {0.0, 1.0}
    np.testing.assert_array_equal(np.asarray(hard[0]).argmax(-1), np.asarray(soft[0]).argmax(-1))
    np.testing.assert_array_equal(np.asarray(hard[0]).astype(float).sum(-1), 1)
    for a, b in zip(hard[1:], soft[1:], strict=True):
        assert_close(a, b)


def test_the_straight_through_estimator_learns_where_one_hot_values_have_no_gradient(key):
    """Ascending the mean reward of hard draws moves the probability to the class with the reward."""
    reward = jnp.array([0.0, 1.0, 0.0])

    @jax.jit
    def step(x, key):
        mean = lambda x: (nn.gumbel_softmax(key, jnp.tile(x, (64, 1)), hard=True) @ reward).mean()
        return x + 2.0 * jax.grad(mean)(x), None

    x, _ = jax.lax.scan(step, jnp.zeros(3), jax.random.split(key, 100))
    assert nn.softmax(x)[1] > 0.9


HARD = Entry(
    "nn.gumbel_softmax",
    nn.gumbel_softmax,
    lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
    options={"hard": True},
    batched=(1,),
    smooth=(1,),
    independent=False,
)


def test_awkward_values_do_hard_draws_no_harm(seed):
    """A property that the registry has proven of soft draws, compiled and eagerly."""
    properties.awkward_values_do_no_harm(HARD, seed % 10_000)


@pytest.mark.parametrize("hard", [False, True])
def test_minus_infinity_is_never_drawn_and_plus_infinity_shares_evenly(key, hard):
    x = jnp.tile(jnp.array([[0.0, -INF, 1.0, -INF], [INF, 3.0, INF, -INF]]), (5000, 1))
    y, dx = with_gradient(key, x, jnp.arange(40_000.0).reshape(10_000, 4) % 7, hard=hard)
    y = np.asarray(y)
    assert not y[:, [1, 3]].any()
    assert np.isfinite(dx).all()
    assert np.allclose(y.sum(-1), 1)
    picked = (y[1::2].argmax(-1) == 0).sum()
    assert abs(picked - 2500) < 6 * (5000 / 4) ** 0.5


@pytest.mark.parametrize("hard", [False, True])
def test_nothing_but_minus_infinity_gives_zeros_and_nan_stays_in_its_slice(key, hard):
    x = jnp.array([[-INF, -INF, -INF], [0.0, NAN, 0.0], [1e30, 1e30, -1e30]])
    y, dx = map(np.asarray, with_gradient(key, x, jnp.array([[1.0, 2.0, 4.0]] * 3), hard=hard))
    assert not y[0].any()
    assert not dx[0].any()
    assert np.isnan(y[1]).all()
    np.testing.assert_allclose(y[2].sum(), 1, rtol=1e-6)
    assert y[2, 2] == 0
    assert np.isfinite(dx[2]).all()


def test_large_scores_do_not_swallow_the_noise(key):
    x = jnp.full((2000, 2), 1e8)
    share = np.asarray(draw(key, x, hard=True))[:, 0].mean()
    assert abs(share - 0.5) < 6 * (0.25 / 2000) ** 0.5


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((0,), -1), ((0, 3), -1), ((3, 0), -1), ((3, 1), -1), ((3, 4), 0)])
def test_odd_shapes_are_kept(key, shape, axis, hard):
    y, dx = with_gradient(key, jnp.ones(shape), jnp.ones(shape), axis=axis, hard=hard)
    assert y.shape == dx.shape == shape


def test_temperatures_are_mapped_over_with_one_key(key):
    x = jnp.asarray(np.log(P), jnp.float32)
    y = np.asarray(
        jax.jit(jax.vmap(lambda tau: nn.gumbel_softmax(key, x, temperature=tau)))(jnp.array([0.5, 1.0, 2.0]))
    )
    # The same noise: y ∝ exp(s / τ), so that the one at τ/2 is the square of that at τ, up to the sum.
    squared = y.astype(np.float64) ** 2 / (y.astype(np.float64) ** 2).sum(-1, keepdims=True)
    assert_close(jnp.asarray(y[:2]), squared[1:], length=16)


def test_the_same_key_gives_the_same_draw_and_another_key_another(seed, rng):
    x = jnp.asarray(rng.standard_normal((30, 7)), jnp.float32)
    first, again, other = (np.asarray(draw(jax.random.key(s), x, hard=True)) for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
