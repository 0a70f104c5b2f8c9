"""Packed random masks: equal to their reference, exact in rate, and independent as far as can be seen."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore._bits import PLACES, below, plain_below

SHAPES = ((), (0,), (7,), (64,), (33, 5), (3, 4, 100))
FEW, MANY = 3 * 2**30, round(0.1 * 2**32)
EDGES = (0, 1, 2**31, 2**32 - 1, 2 ** (32 - PLACES), 2 ** (32 - PLACES) - 1)


@pytest.mark.parametrize("threshold", [FEW, MANY, *EDGES])
def test_it_is_the_reference_whether_the_rate_is_static_or_traced(threshold):
    def key():
        return jax.random.key(threshold % 97)

    for shape in SHAPES if threshold in (FEW, MANY) else SHAPES[-2:]:
        expected = plain_below(key(), threshold, shape)
        np.testing.assert_array_equal(below(key(), threshold, shape), expected)
        np.testing.assert_array_equal(below(key(), jnp.uint32(threshold), shape), expected)
        assert expected.shape == shape


def test_the_places_that_a_rate_does_not_need_change_nothing():
    def key():
        return jax.random.key(1)

    np.testing.assert_array_equal(below(key(), 2**31, (999,)), below(key(), jnp.uint32(2**31), (999,)))
    # More is dropped at a higher rate, and all that was dropped before.
    masks = [below(key(), threshold, (4096,)) for threshold in (0, 1000, 2**30, MANY * 3, 2**31, 2**32 - 1)]
    for lower, higher in itertools.pairwise(masks):
        assert not (lower & ~higher).any()


@pytest.mark.parametrize("threshold", [2**31, FEW, MANY, round(2**32 / 3), round(0.003 * 2**32)])
def test_its_rate_is_exact(threshold):
    n, p = 2**22, threshold / 2**32
    count = float(jax.jit(lambda key: below(key, threshold, (n,)).sum())(jax.random.key(11)))
    assert abs(count - n * p) < 4.5 * (n * p * (1 - p)) ** 0.5


def test_ties_are_decided_at_the_rate_of_what_is_left_of_p():
    # The first places of this rate are zeros: all that is dropped is dropped by the shared bits.
    threshold = 2 ** (32 - PLACES) // 2
    rate = threshold / 2**32
    masks = jax.jit(jax.vmap(lambda key: below(key, threshold, (2**16,)).sum()))(
        jax.random.split(jax.random.key(3), 128)
    )
    n = masks.size * 2**16
    # Values of one word fall together more often than apart: the variance is that of pairs, at most twice as large.
    assert abs(float(masks.sum()) - n * rate) < 4.5 * (2 * n * rate) ** 0.5


def test_values_do_not_depend_on_their_neighbours():
    n, rows = 2**15, 32
    mask = np.asarray(below(jax.random.key(5), MANY, (rows, n)), np.float64) - MANY / 2**32
    # The values of a word stand n apart; others are neighbours, or a power of two apart.
    for a, b in [
        (mask[:-1], mask[1:]),
        (mask[:16], mask[16:]),
        (mask[:, :-1], mask[:, 1:]),
        (mask[:, :-64], mask[:, 64:]),
    ]:
        covariance = (a * b).mean()
        assert abs(covariance) < 4.5 * 0.09 / a.size**0.5
    # Counts over whole words spread as independent ones do.
    counts = mask.sum(0)
    assert abs(counts.var() / (rows * 0.09) - 1) < 4.5 * (2 / n) ** 0.5


def test_keys_give_other_masks():
    first, second = (below(jax.random.key(seed), 2**31, (2**16,)) for seed in (0, 1))
    assert abs(float((first == second).mean()) - 0.5) < 4.5 * 0.5 / 2**8
