"""log(1 + e) of 0 ≤ e ≤ 1 in every digit that float32 has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore._log1p import log1p_unit


def test_it_is_within_two_units_in_the_last_place(rng):
    small = 10.0 ** -rng.uniform(0, 37, 200_000)
    e = np.concatenate([rng.random(200_000), small, np.linspace(0, 1, 10_001)]).astype(np.float32)
    found = np.asarray(jax.jit(log1p_unit)(e), np.float64)
    wanted = np.log1p(e.astype(np.float64))
    units = np.abs(found - wanted) / np.maximum(np.spacing(wanted.astype(np.float32)), np.finfo(np.float32).tiny)
    assert units.max() < 2


@pytest.mark.parametrize("e", [0.0, 1e-30, 0.3, 1.0])
def test_its_derivatives_are_those_of_the_logarithm(e):
    first, second = jax.grad(log1p_unit), jax.grad(jax.grad(log1p_unit))
    np.testing.assert_allclose(jax.jit(first)(e), 1 / (1 + e), rtol=3e-7)
    np.testing.assert_allclose(jax.jit(second)(e), -1 / (1 + e) ** 2, rtol=3e-7)


def test_nan_stays_and_wider_numbers_keep_their_digits():
    assert np.isnan(log1p_unit(jnp.float32(np.nan)))
    with jax.enable_x64(True):
        e = jnp.asarray(0.3, jnp.float64)
        assert log1p_unit(e) == np.log1p(0.3)
