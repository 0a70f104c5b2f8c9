"""What is drawn in one place: permutations."""

import jax
import numpy as np
import pytest

from dlcore._random import permutation


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 4096, 4097, 70_000])
def test_every_number_comes_once(n):
    order = np.asarray(permutation(jax.random.key(n), n))
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("n", [5, 4097])
def test_every_place_and_every_pair_is_equally_likely(n):
    count = 4000 if n == 5 else 300
    orders = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, n)))(jax.random.split(jax.random.key(1), count)))
    if n == 5:
        seen = np.stack([(orders == value).mean(0) for value in range(n)])
        assert np.abs(seen - 0.2).max() < 4.5 * (0.16 / count) ** 0.5
        whole = np.unique(orders, axis=0, return_counts=True)[1]
        assert len(whole) == 120
        # Chi-squared with 119 degrees of freedom.
        assert ((whole - count / 120) ** 2).sum() / (count / 120) < 119 + 5 * (2 * 119) ** 0.5
    ascending = (orders[:, 1:] > orders[:, :-1]).mean(1)
    # The ascents of a permutation have variance (n + 1) / 12.
    deviation = ((n + 1) / 12) ** 0.5 / (n - 1) / count**0.5
    assert abs(ascending.mean() - 0.5) < 4.5 * deviation


def test_keys_give_other_orders():
    first, second = (np.asarray(permutation(jax.random.key(seed), 1000)) for seed in (0, 1))
    assert (first == second).sum() < 12
