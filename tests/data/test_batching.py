import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data, losses
from tests.tolerance import assert_close

# ---- batches


@pytest.mark.parametrize(("count", "size"), [(1, 1), (10, 3), (10, 10), (12, 4), (7, 5)])
def test_each_example_comes_at_most_once(key, count, size):
    rows = data.batches(key, count, batch_size=size)
    assert rows.shape == (count // size, size)
    assert rows.dtype == jnp.int32
    flat = np.asarray(rows).ravel()
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(count))


def test_all_orders_come_equally_often(key):
    rows = jax.jit(jax.vmap(lambda key: data.batches(key, 3, batch_size=3)[0]))(jax.random.split(key, 6000))
    _, counts = np.unique(np.asarray(rows), axis=0, return_counts=True)
    assert len(counts) == 6
    # Chi-square, five degrees of freedom: once in 10⁹.
    assert ((counts - 1000) ** 2 / 1000).sum() < 50


def test_what_is_left_over_is_another_in_every_epoch(key):
    rows = jax.jit(jax.vmap(lambda key: data.batches(key, 4, batch_size=3)[0]))(jax.random.split(key, 200))
    assert set(6 - np.asarray(rows).sum(-1)) == {0, 1, 2, 3}


# ---- balanced_batches


def imbalanced(rng, *counts):
    return rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)


compiled = jax.jit(data.balanced_batches, static_argnames=("batch_size", "classes", "steps"))


def balanced(key, labels, **options):
    return np.asarray(compiled(key, labels, **{"classes": int(labels.max()) + 1} | options))


@pytest.mark.parametrize("counts", [(3, 40), (10, 10), (1, 99, 7), (5,)])
@pytest.mark.parametrize("steps", [None, 1, 13])
def test_every_batch_and_every_part_of_one_has_as_many_of_each_class(rng, key, counts, steps):
    labels, k = imbalanced(rng, *counts), len(counts)
    rows = balanced(key, labels, batch_size=4 * k, steps=steps)
    assert rows.dtype == np.int32
    assert rows.shape == (steps or max(len(labels) // (4 * k), 1), 4 * k)
    np.testing.assert_array_equal(labels[rows], np.broadcast_to(np.tile(np.arange(k), 4), rows.shape))


def test_a_class_is_dealt_like_cards(rng, key):
    """The rare class to the end before anything comes again; of the frequent one a subsample without repeats."""
    labels = imbalanced(rng, 3, 100)
    rows = balanced(key, labels, batch_size=10, steps=4)
    rare, frequent = (rows[:, k::2].ravel() for k in (0, 1))
    for start in range(0, 18, 3):
        assert sorted(rare[start : start + 3]) == sorted(np.flatnonzero(labels == 0))
    assert len({tuple(rare[start : start + 3]) for start in range(0, 18, 3)}) > 1  # in fresh orders
    assert len(set(frequent)) == 20


def test_all_examples_of_a_class_and_all_their_orders_are_equally_likely(rng, key):
    """Two labels' examples, of which a batch shows 2 of 4: 12 ordered pairs; and 1 round and a half of 2."""
    labels = jnp.asarray(np.array([0, 1, 0, 0, 1, 0], np.int32))
    rows = jax.jit(jax.vmap(lambda key: data.balanced_batches(key, labels, batch_size=2, classes=2, steps=3)[:, 0]))(
        jax.random.split(key, 12_000)
    )
    pairs, counts = np.unique(np.asarray(rows)[:, :2], axis=0, return_counts=True)
    assert len(pairs) == 12
    # Eleven degrees of freedom: once in 10⁹.
    assert ((counts - 1000) ** 2 / 1000).sum() < 68
    rows = jax.jit(jax.vmap(lambda key: data.balanced_batches(key, labels, batch_size=2, classes=2, steps=3)[:, 1]))(
        jax.random.split(jax.random.fold_in(jax.random.clone(key), 1), 4000)
    )
    triples, counts = np.unique(np.asarray(rows), axis=0, return_counts=True)
    assert {tuple(triple) for triple in triples} == {(1, 4, 1), (1, 4, 4), (4, 1, 1), (4, 1, 4)}
    assert ((counts - 1000) ** 2 / 1000).sum() < 45


def test_it_compiles_to_the_same_and_keys_differ(rng, seed):
    labels = jnp.asarray(imbalanced(rng, 5, 50))
    run = lambda s, f: np.asarray(f(jax.random.key(s), labels))
    eager = lambda key, labels: data.balanced_batches(key, labels, batch_size=4)
    np.testing.assert_array_equal(run(seed, eager), balanced(jax.random.key(seed), labels, batch_size=4))
    assert (run(seed, eager) != run(seed + 1, eager)).any()


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.int64])
def test_labels_may_be_of_any_integer_kind(rng, seed, dtype):
    labels = imbalanced(rng, 4, 20)
    rows = balanced(jax.random.key(seed), labels.astype(dtype), batch_size=6)
    np.testing.assert_array_equal(rows, balanced(jax.random.key(seed), labels, batch_size=6))


def test_other_labels_are_never_drawn_and_a_missing_class_shows(rng, key):
    labels = np.array([0, -1, 1, 7, 0, -1, 1, 0], np.int32)
    rows = balanced(key, labels, batch_size=4, classes=2, steps=20)
    assert set(labels[rows].ravel()) == {0, 1}
    assert set(rows.ravel()) == {0, 2, 4, 6, 7}
    rows = balanced(jax.random.clone(key), labels, batch_size=3, classes=3, steps=5)
    assert (rows[:, 2] == len(labels)).all()
    assert (rows[:, :2] < len(labels)).all()
    assert np.isnan(jnp.take(jnp.ones(8), rows[:, 2])).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"batch_size": 3}, ValueError, "`batch_size`.*multiple of the number of classes, 2.*4"),
        ({"labels": np.array([0, 2, 2])}, ValueError, "`labels` came as labels without class 1"),
        ({"labels": np.array([-1, -2])}, ValueError, "`labels` came as labels without class 0"),
        ({"labels": np.array([[0, 1]])}, ValueError, "`labels`"),
        ({"labels": np.array([0.0, 1.0])}, TypeError, "`labels`"),
        ({"steps": 0}, ValueError, "`steps`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(key, change, error, words):
    given = {"labels": np.array([0, 1, 1, 1]), "batch_size": 2} | change
    with pytest.raises(error, match=f"data.balanced_batches: {words}"):
        data.balanced_batches(key, given.pop("labels"), **given)


def test_traced_labels_want_the_number_of_classes(key):
    with pytest.raises(TypeError, match=r"data\.balanced_batches: `classes` came as None"):
        jax.jit(lambda labels: data.balanced_batches(key, labels, batch_size=2))(np.array([0, 1]))


# ---- what balancing changes: few positives, a great many negatives

# Grouped data in which log(positives / negatives) is exactly linear in x, so that a logistic regression fits it:
# 15 positives and 256 negatives, with odds 2^x / 64.
X = np.concatenate([np.repeat(np.arange(4), [1, 2, 4, 8]), np.repeat(np.arange(4), 64)]).astype(np.float64)
Y = np.concatenate([np.ones(15), np.zeros(256)]).astype(np.int32)
SLOPE, INTERCEPT = math.log(2), -math.log(64)
SHIFT = math.log(256 / 15)


def fit(x, y, offset=0.0):
    """Logistic regression by Newton's method, in float64: intercept and slope."""
    design, beta = np.stack([np.ones_like(x), x], 1), np.array([-offset, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(design @ beta + offset)))
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        beta = beta + np.linalg.solve(hessian, design.T @ (y - p))
    return beta


def dealt_evenly(key):
    """So many balanced batches that every positive was shown equally often, and every negative."""
    turns = math.lcm(15, 256)
    rows = balanced(key, Y, batch_size=2 * 15, steps=turns // 15).ravel()
    counts = np.bincount(rows, minlength=len(Y))
    assert (counts[Y == 1] == turns // 15).all()
    assert (counts[Y == 0] == turns // 256).all()
    return rows


def test_balancing_raises_the_logit_by_the_log_of_the_odds_that_it_took_out_and_leaves_the_slope(key):
    np.testing.assert_allclose(fit(X, Y), [INTERCEPT, SLOPE], atol=1e-10)
    rows = dealt_evenly(key)
    np.testing.assert_allclose(fit(X[rows], Y[rows]), [INTERCEPT + SHIFT, SLOPE], atol=1e-10)


def test_the_log_of_the_sampling_rate_makes_it_calibrated_again_after_or_in_training(key):
    rows = dealt_evenly(key)
    x, y = X[rows], Y[rows]
    # After training: the mean of the probabilities is the share of positives, which it was not before.
    intercept, slope = fit(x, y)
    probability = lambda shift: 1 / (1 + np.exp(-(intercept + shift + slope * X)))
    np.testing.assert_allclose(probability(-SHIFT).mean(), Y.mean(), rtol=1e-9)
    assert probability(0).mean() > 5 * Y.mean()
    # In training, as an offset inside the loss alone: the model is then the data's.
    np.testing.assert_allclose(fit(x, y, offset=SHIFT), [INTERCEPT, SLOPE], atol=1e-10)


def test_the_shift_in_the_loss_is_that_of_the_docstring_for_two_logits(key):
    """Cross-entropy of z − log(n_k / N) stands still at the data's own logits; that of z does not."""
    rows = dealt_evenly(key)
    logits = jnp.stack([jnp.zeros(len(rows)), jnp.asarray(INTERCEPT + SLOPE * X[rows], jnp.float32)], 1)
    share = jnp.asarray(np.bincount(Y) / len(Y), jnp.float32)[None, :]

    @jax.jit
    def gradient(correction):
        def run(shift):
            moved = logits + jnp.stack([jnp.zeros(()), shift])[None, :] - correction
            return losses.softmax_cross_entropy(moved, jnp.asarray(Y[rows])).mean()

        return jax.grad(run)(jnp.float32(0.0))

    assert abs(gradient(jnp.log(share))) < 1e-6
    assert abs(gradient(jnp.zeros_like(share))) > 0.1


def test_all_positives_and_a_random_subsample_of_negatives_do_the_same_up_to_chance(key):
    """One epoch: each positive once, fifteen of the negatives; over many, the fits scatter around the shifted truth."""
    fits = []
    for k in jax.random.split(key, 40):
        rows = balanced(k, np.repeat(Y, 20), batch_size=30, steps=20).ravel()  # twenty times as many of each
        x, y = np.repeat(X, 20)[rows], np.repeat(Y, 20)[rows]
        assert len(set(rows)) == len(rows) == 600
        fits.append(fit(x, y))
    fits = np.array(fits)
    error = fits.std(0, ddof=1) / len(fits) ** 0.5
    assert (error < 0.05).all()
    assert (np.abs(fits.mean(0) - [INTERCEPT + SHIFT, SLOPE]) < 6 * error + 0.02).all()


def test_with_weights_the_gradient_of_a_balanced_batch_is_unbiased(rng, key):
    """K n_k / N for each example: the mean over an even deal is the gradient of the data, exactly."""
    labels = imbalanced(rng, 2, 4, 8)
    weight = 3 * np.bincount(labels) / len(labels)
    x, w = jnp.asarray(rng.standard_normal((14, 5)), jnp.float32), jnp.asarray(rng.standard_normal((5, 3)), jnp.float32)

    @jax.jit
    def gradient(rows, scale):
        run = lambda w: (losses.softmax_cross_entropy(x[rows] @ w, jnp.asarray(labels)[rows]) * scale).mean()
        return jax.grad(run)(w)

    rows = balanced(key, labels, batch_size=6, steps=4)  # eight turns each: 4, 2 and 1 rounds
    everything = gradient(jnp.arange(14), jnp.ones(14))
    scales = jnp.asarray(weight[labels[rows]], jnp.float32)
    mean = np.mean([gradient(jnp.asarray(r), s) for r, s in zip(rows, scales, strict=True)], axis=0)
    assert_close(jnp.asarray(mean), everything, length=24, scale=2)
    plain = np.mean([gradient(jnp.asarray(r), jnp.ones(6)) for r in rows], axis=0)
    assert np.abs(plain - np.asarray(everything)).max() > 0.01
