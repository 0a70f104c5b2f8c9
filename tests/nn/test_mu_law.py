import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

CLASSES = (*range(2, 10), 255, 256, 257, 1024, 65_536, 2**22)


def encode(x, classes):
    """The standard's formula in float64, as written."""
    mu = classes - 1
    f = np.sign(x) * np.log(1 + mu * np.abs(x)) / np.log(1 + mu)
    return np.floor((f + 1) / 2 * mu + 0.5)


def decode(ids, classes):
    mu = classes - 1
    y = 2 * ids / mu - 1
    return np.sign(y) * ((1 + mu) ** np.abs(y) - 1) / mu


@pytest.mark.parametrize("classes", CLASSES)
def test_encoding_is_the_inverse_of_decoding_on_every_class(classes):
    ids = jnp.arange(classes)
    x = nn.mu_law_decode(ids, classes=classes)
    assert x.dtype == jnp.float32
    np.testing.assert_array_equal(nn.mu_law_encode(x, classes=classes), ids)
    x = np.asarray(x)
    assert (np.diff(x) > 0).all(), "rising: no two classes share a sample"
    np.testing.assert_array_equal(x, -x[::-1])
    assert (x[0], x[-1]) == (-1, 1)
    assert_close(x, decode(np.arange(classes), classes), dtype="float32")


@pytest.mark.parametrize("classes", [2, 3, 17, 256, 1024])
def test_samples_fall_where_the_formula_says(rng, classes):
    x = np.concatenate([rng.uniform(-1, 1, 5000), rng.choice([-1, 1], 5000) * 10 ** rng.uniform(-9, 0, 5000)])
    x = x.astype(np.float32)
    wide = x.astype(np.float64)
    found = np.asarray(jax.jit(lambda x: nn.mu_law_encode(x, classes=classes))(x))
    # Rounding may move the edge between two classes by a few units in the last place, but no further.
    lower, upper = (encode(wide * (1 + sign * np.sign(wide) * 1e-6), classes) for sign in (-1, 1))
    assert ((lower <= found) & (found <= upper)).all()
    assert (found == encode(wide, classes)).mean() > 0.999


def test_quiet_samples_keep_their_sign():
    x = jnp.array([-1e-30, -1e-9, 0.0, 1e-9, 1e-30])
    np.testing.assert_array_equal(nn.mu_law_encode(x), [127, 127, 128, 128, 128])
    np.testing.assert_array_equal(nn.mu_law_encode(x, classes=255), [127] * 5)


def test_what_is_outside_clips_and_nan_is_no_class():
    x = jnp.array([-np.inf, -1.5, -1.0, 1.0, 1.5, np.inf, np.nan])
    for run in (nn.mu_law_encode, jax.jit(nn.mu_law_encode)):
        np.testing.assert_array_equal(run(x), [0, 0, 0, 255, 255, 255, -1])


def test_an_id_that_is_no_class_decodes_to_nan():
    ids = jnp.array([-1, 256, -(2**31), 2**31 - 1, 0])
    np.testing.assert_array_equal(nn.mu_law_decode(ids), [np.nan] * 4 + [-1])
    np.testing.assert_array_equal(nn.mu_law_decode(jnp.array([-1, 1], jnp.int8), classes=2), [np.nan, 1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_float_is_encoded_as_its_own_value(rng, dtype, x64):
    x = jnp.asarray(rng.uniform(-1.1, 1.1, 1000), dtype)
    ids = nn.mu_law_encode(x)
    assert ids.dtype == jnp.int32
    wide = np.clip(np.asarray(x).astype(np.float64), -1, 1)
    assert (np.asarray(ids) == encode(wide, 256)).mean() > 0.99
    assert np.abs(np.asarray(ids) - encode(wide, 256)).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32"])
def test_every_integer_dtype_names_the_same_samples(dtype):
    ids = np.array([0, 1, 64, 127])
    np.testing.assert_array_equal(nn.mu_law_decode(jnp.asarray(ids, dtype)), nn.mu_law_decode(jnp.asarray(ids)))


def test_the_error_of_a_sample_is_at_most_half_a_step_at_its_loudness(rng):
    x = rng.uniform(-1, 1, 4000).astype(np.float32)
    there_and_back = np.asarray(nn.mu_law_decode(nn.mu_law_encode(jnp.asarray(x))))
    # |dx/df| ln(256) / 255 is the width of a class: (1 + 255 |x|) / 255 · ln 256 · 2 / 255, with f in [−1, 1].
    width = (1 + 255 * np.maximum(np.abs(x), np.abs(there_and_back))) / 255 * np.log(256) * 2 / 255
    assert (np.abs(there_and_back - x) <= 0.51 * width).all()
