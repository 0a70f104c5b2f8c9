import importlib
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, nn
from tests.tolerance import assert_close

INF, NAN = np.inf, np.nan
OPTIONS = ("samples", "sampler", "remove_accidental_hits")
loss = jax.jit(nn.sampled_softmax_loss, static_argnames=OPTIONS)


@partial(jax.jit, static_argnames=OPTIONS)
def with_gradients(key, params, x, y, **options):
    """The losses and the gradients of their sum in params and features."""
    value, pull = jax.vjp(lambda params, x: nn.sampled_softmax_loss(key, params, x, y, **options), params, x)
    return value, *pull(jnp.ones_like(value))


def q_of(sampler, k):
    return (
        np.full(k, 1 / k) if sampler == "uniform" else np.log((np.arange(k) + 2) / (np.arange(k) + 1)) / np.log(k + 1)
    )


def closed_form(z, y, drawn, q, hits=False):
    """The loss of one example for these samples, in float64."""
    total = np.exp(z[y]) + sum(np.exp(z[s]) / (len(drawn) * q[s]) for s in drawn if hits or s != y)
    return np.log(total) - z[y]


def draw_params(rng, d, k, dtype=jnp.float32):
    return {
        "kernel": jnp.asarray(rng.standard_normal((d, k)), dtype),
        "bias": jnp.asarray(rng.standard_normal(k), dtype),
    }


def full(params, x, y):
    return losses.softmax_cross_entropy(nn.dense(params, x), y)


# ---- tiny cases, all of whose samples are written out


@pytest.mark.parametrize("hits", [False, True])
@pytest.mark.parametrize("sampler", ["log_uniform", "uniform"])
def test_each_loss_is_that_of_some_samples_which_come_at_their_rate(rng, key, sampler, hits):
    """Three classes, two samples: six values of the loss, each as often as the product of its samples' q says."""
    k, count = 3, 20_000
    params, x, y = draw_params(rng, 2, k), jnp.asarray([0.5, -1.0]), 1
    q = q_of(sampler, k)
    z = np.asarray(x, np.float64) @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"], np.float64)
    chances: dict[float, float] = {}
    for drawn in itertools.product(range(k), repeat=2):
        value = round(float(closed_form(z, y, drawn, q, hits)), 9)
        chances[value] = chances.get(value, 0) + q[drawn[0]] * q[drawn[1]]
    # The argument of the logarithm is right on average, exactly.
    mean = sum(np.exp(value) * chance for value, chance in chances.items())
    np.testing.assert_allclose(mean, (np.exp(z).sum() + (np.exp(z[y]) if hits else 0)) / np.exp(z[y]), rtol=1e-6)

    one = partial(loss, samples=2, sampler=sampler, remove_accidental_hits=not hits)
    found = jax.jit(jax.vmap(lambda key: one(key, params, x, jnp.asarray(y))))(jax.random.split(key, count))
    values, share = np.array(list(chances)), np.array(list(chances.values()))
    which = np.abs(np.asarray(found, np.float64)[:, None] - values).argmin(1)
    assert_close(found, values[which], scale=4)
    expected = share * count
    # Five degrees of freedom: passed once in 10⁹ times.
    assert ((np.bincount(which, minlength=len(values)) - expected) ** 2 / expected).sum() < 50


def test_of_two_classes_it_is_the_binary_loss_with_the_logit_shifted_by_the_rate_of_the_negatives(rng, key):
    """softplus(z_j − z_y + log(c / (S q_j))) for c negatives seen where S q_j are expected."""
    params, x = draw_params(rng, 2, 2), jnp.asarray(rng.standard_normal((4, 2)), jnp.float32)
    y, s = jnp.array([0, 1, 0, 1]), 10
    z = np.asarray(nn.dense(params, x), np.float64)
    gap = z[np.arange(4), 1 - np.asarray(y)] - z[np.arange(4), y]
    expected = s * q_of("log_uniform", 2)[1 - np.asarray(y)]
    for k in jax.random.split(key, 5):
        found = np.asarray(loss(k, params, x, y, samples=s), np.float64)
        counts = expected * np.expm1(found) / np.exp(gap)
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-3)
        # One set of samples for the batch: the ones of class 1 and the ones of class 0 are S together.
        assert len({*np.round(counts[::2])}) == len({*np.round(counts[1::2])}) == 1
        assert round(counts[0] + counts[1]) == s


def test_one_class_has_no_negatives():
    params = {"kernel": jnp.ones((2, 1))}
    results = with_gradients(jax.random.key(0), params, jnp.ones((3, 2)), jnp.zeros(3, int), samples=4)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(results))


# ---- the limit of many samples


@pytest.mark.parametrize("sampler", ["log_uniform", "uniform"])
def test_loss_and_gradient_tend_to_the_full_ones_with_the_root_of_the_samples(rng, key, sampler):
    k, keys = 40, jax.random.split(key, 100)
    params, x = draw_params(rng, 3, k), jnp.asarray(rng.standard_normal((5, 3)), jnp.float32)
    y = jnp.array([0, 39, 7, 7, 20])
    exact = jax.jit(jax.value_and_grad(lambda *args: full(*args, y).sum(), argnums=(0, 1)))(params, x)
    exact = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(exact)]
    errors, biases = [], []
    for samples in (100, 1600):

        def one(key, samples=samples):
            run = lambda params, x: nn.sampled_softmax_loss(key, params, x, y, samples=samples, sampler=sampler).sum()
            return jax.value_and_grad(run, argnums=(0, 1))(params, x)

        found = [
            np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(jax.jit(jax.vmap(one))(jax.random.clone(keys)))
        ]
        errors.append([np.sqrt(((a - b) ** 2).mean()) for a, b in zip(found, exact, strict=True)])
        biases.append([np.abs((a.mean(0) - b).mean()) for a, b in zip(found, exact, strict=True)])
    ratio = np.array(errors[0]) / np.array(errors[1])
    # √(1600 / 100) = 4, measured from a hundred runs.
    assert (ratio > 2.5).all()
    assert (ratio < 6).all()
    assert (np.array(errors[1]) < 0.2 * max(1, np.abs(exact[0]) / 5)).all()
    assert biases[1][0] < errors[1][0]


def test_without_the_removal_of_hits_the_true_class_is_counted_again(rng, key):
    k = 5
    params, x, y = (
        draw_params(rng, 3, k),
        jnp.asarray(rng.standard_normal((4, 3)), jnp.float32),
        jnp.array([0, 1, 4, 4]),
    )
    z = np.asarray(nn.dense(params, x), np.float64)
    own = np.exp(z[np.arange(4), y])
    found = np.asarray(loss(key, params, x, y, samples=200_000, remove_accidental_hits=False), np.float64)
    np.testing.assert_allclose(found, np.log((np.exp(z).sum(1) + own) / own), atol=0.02)
    found = np.asarray(loss(jax.random.clone(key), params, x, y, samples=200_000), np.float64)
    np.testing.assert_allclose(found, np.log(np.exp(z).sum(1) / own), atol=0.02)


def test_without_the_correction_the_logits_learn_the_rate_of_the_sampling():
    """The same shift as in tests/data/test_batching.py: where the negatives' logits take in the rate at which they are
    shown, the best logits are those of the data; a model without that is off by the logarithm of it."""
    k, s = 3, 60_000
    share = np.array([0.6, 0.3, 0.1])
    y = jnp.arange(3)
    rate = np.log(s * q_of("log_uniform", k))

    @jax.jit
    def gradient(bias):
        params = {"kernel": jnp.zeros((1, k)), "bias": bias}
        run = lambda bias: nn.sampled_softmax_loss(
            jax.random.key(5), params | {"bias": bias}, jnp.zeros((k, 1)), y, samples=s
        )
        return jax.grad(lambda bias: (run(bias) * jnp.asarray(share, jnp.float32)).sum())(bias)

    true = jnp.asarray(np.log(share), jnp.float32)
    # At the data's own logits the corrected loss stands still; at logits that are off by the log-rates it does not.
    assert np.abs(np.asarray(gradient(true))).max() < 0.01
    assert np.abs(np.asarray(gradient(true - jnp.asarray(rate, jnp.float32)))).max() > 0.05


# ---- what is drawn


def drawn_by(key, k, samples):
    """The samples themselves, from the function that draws them."""
    draw = importlib.import_module("dlcore.nn.sampled_softmax")._log_uniform
    return np.asarray(jax.jit(partial(draw, number=samples, classes=k))(key))


@pytest.mark.parametrize("k", [1, 2, 3, 7, 8, 9, 1000])
def test_log_uniform_draws_each_class_at_its_rate(key, k):
    count = 200_000
    drawn = drawn_by(key, k, count)
    q = q_of("log_uniform", k)
    assert abs(q.sum() - 1) < 1e-12
    assert drawn.dtype == np.int32
    assert (drawn >= 0).all()
    counts = np.bincount(drawn, minlength=k)
    assert len(counts) == k
    # The mean of chi-square is k − 1, and its tail is passed once in 10⁸ times here.
    assert ((counts - count * q) ** 2 / (count * q)).sum() < (k - 1) + 8 * (2 * k) ** 0.5 + 20


def test_among_a_million_classes_the_last_ones_come_evenly(key):
    """Where exp of a float32 uniform number would skip classes and double others."""
    k = 2**20 + 7
    last = drawn_by(key, k, 2_000_000)
    assert last.max() < k
    last = last[last >= k // 2]
    assert abs(len(last) / 2_000_000 - np.log(2) / np.log(k + 1)) < 1e-3
    for modulus, most in ((2, 38), (3, 42), (7, 55), (16, 80)):
        counts = np.bincount(last % modulus, minlength=modulus)
        mean = len(last) / modulus
        assert ((counts - mean) ** 2 / mean).sum() < most


# ---- gradients, dtypes and limits


def test_only_the_columns_of_labels_and_samples_have_gradients_and_no_wide_array_is_made(rng, key):
    k, samples = 10_007, 20
    params, x = draw_params(rng, 4, k), jnp.asarray(rng.standard_normal((6, 4)), jnp.float32)
    y = jnp.asarray([0, 5, 5, 10_006, 77, 1])
    run = lambda params, x: nn.sampled_softmax_loss(key, params, x, y, samples=samples).sum()
    grads = jax.jit(jax.grad(run))(params, x)
    touched = np.asarray(grads["kernel"]).any(0)
    assert touched[np.asarray(y)].all()
    assert touched.sum() <= 5 + samples
    np.testing.assert_array_equal(touched, np.asarray(grads["bias"]) != 0)
    shapes = {
        variable.aval.shape
        for jaxpr in jax.make_jaxpr(run)(params, x).jaxpr.eqns
        for variable in jaxpr.outvars
        if hasattr(variable.aval, "shape")
    }
    assert not [shape for shape in shapes if k in shape]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_dtype_draws_alike_and_sums_in_float32(rng, seed, dtype, x64):
    params, x = draw_params(rng, 3, 50, dtype), jnp.asarray(rng.standard_normal((4, 3)), dtype)
    y = jnp.array([0, 49, 3, 3])
    found = with_gradients(jax.random.key(seed), params, x, y, samples=3000)
    wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf).astype(np.float64)), (params, x))
    wanted = with_gradients(jax.random.key(seed), *wide, y, samples=3000)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == dtype
        assert_close(a, b, length=4)


@pytest.mark.parametrize("wrong", [-1, 3, -(2**31), 2**31 - 1])
def test_a_label_outside_the_classes_is_nan_in_the_gradient_too_and_harms_no_other(rng, seed, wrong):
    params, x = draw_params(rng, 2, 3), jnp.asarray(rng.standard_normal((3, 2)), jnp.float32)
    good, bad = (
        with_gradients(jax.random.key(seed), params, x, jnp.asarray([0, middle, 2], jnp.int32), samples=5)
        for middle in (1, wrong)
    )
    for a, b in zip(good[::2], bad[::2], strict=True):
        np.testing.assert_array_equal(np.asarray(a)[::2], np.asarray(b)[::2])
        assert np.isnan(np.asarray(b)[1]).all()


@pytest.mark.parametrize(
    ("bias", "wanted"),
    [([INF, 0, 0], 0), ([-INF, 0, 0], INF), ([0, INF, 0], INF), ([0, -INF, -INF], 0), ([1e30, 0, -1e30], 0)],
)
def test_infinite_logits_have_their_limits(bias, wanted, key):
    params = {"kernel": jnp.zeros((1, 3)), "bias": jnp.asarray(bias, jnp.float32)}
    # With so many samples, every class is among them.
    assert loss(key, params, jnp.zeros(1), jnp.asarray(0), samples=200) == wanted


@pytest.mark.parametrize("lead", [(), (0,), (2, 3)])
def test_batch_axes_are_free(rng, seed, lead):
    params, x = draw_params(rng, 3, 9), jnp.asarray(rng.standard_normal((*lead, 3)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 9, lead), jnp.int32)
    found = loss(jax.random.key(seed), params, x, y, samples=7)
    assert found.shape == lead
    one = [loss(jax.random.key(seed), params, x[i], y[i], samples=7) for i in np.ndindex(*lead)]
    if one:
        assert_close(found, np.reshape(one, lead), length=4)


def test_lanes_of_a_vmap_over_keys_draw_apart_and_one_key_draws_alike(rng, seed):
    params, x, y = draw_params(rng, 3, 99), jnp.ones((2, 3)), jnp.array([4, 5])
    run = jax.jit(jax.vmap(lambda key: nn.sampled_softmax_loss(key, params, x, y, samples=6)))
    found = np.asarray(run(jax.random.split(jax.random.key(seed), 4)))
    assert len(set(found[:, 0])) == 4
    np.testing.assert_array_equal(found, run(jax.random.split(jax.random.key(seed), 4)))


def test_many_steps_train_as_the_full_softmax_does(key):
    """Classes that a table of features tells apart: the full loss falls to a fraction of where it began."""
    k, d = 200, 16
    table = jax.random.normal(jax.random.key(1), (k, d))
    params = {"kernel": jnp.zeros((d, k)), "bias": jnp.zeros(k)}

    @jax.jit
    def train(params, key):
        def step(params, index):
            draw, pick = jax.random.split(jax.random.fold_in(key, index))
            y = jax.random.randint(pick, (64,), 0, k, jnp.int32)
            value = lambda params: nn.sampled_softmax_loss(
                draw, params, table[y], y, samples=20, sampler="uniform"
            ).mean()
            return jax.tree.map(lambda p, g: p - 2.0 * g, params, jax.grad(value)(params)), None

        return jax.lax.scan(step, params, jnp.arange(400))[0]

    trained = train(params, key)
    assert full(params, table, jnp.arange(k)).mean() > 5
    assert full(trained, table, jnp.arange(k)).mean() < 0.5
