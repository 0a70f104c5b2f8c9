import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses
from tests.tolerance import FLOATS, assert_close


def run(predictions, targets, dy):
    value, pull = jax.vjp(losses.squared_error, predictions, targets)
    return value, *pull(dy)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (2, 3, 2), (0,)])
def test_squared_error_is_the_square_of_each_difference(rng, dtype, shape, x64):
    predictions, targets, dy = (jnp.asarray(3 * rng.standard_normal(shape), dtype) for _ in range(3))
    value, in_predictions, in_targets = jax.jit(run)(predictions, targets, dy)
    difference = np.asarray(predictions).astype(np.float64) - np.asarray(targets).astype(np.float64)
    slope = 2 * difference * np.asarray(dy).astype(np.float64)
    assert value.dtype == in_predictions.dtype == in_targets.dtype == dtype
    assert_close(value, difference**2)
    assert_close(in_predictions, slope)
    assert_close(in_targets, -slope)


@pytest.mark.parametrize("dtype", FLOATS)
def test_at_the_minimum_value_and_gradient_are_exactly_zero(dtype, x64):
    y = jnp.asarray([0.0, -0.0, 1e4, -3.0], dtype)
    value, in_predictions, in_targets = run(y, y, jnp.ones_like(y))
    assert not value.any()
    assert not in_predictions.any()
    assert not in_targets.any()


def test_the_difference_of_half_precision_is_taken_in_float32():
    # In float16 the gap between 2048 and its neighbours is 2, and 255² is close to the largest number.
    value = losses.squared_error(jnp.array([2050.0, 255.0], jnp.float16), jnp.array([2048.0, 0.0], jnp.float16))
    assert value.dtype == jnp.float16
    assert value.tolist() == [4, 65024]
    mixed = losses.squared_error(jnp.array([2048.0], jnp.float16), jnp.array([2049.0], jnp.float32))
    assert mixed.dtype == jnp.float16
    assert mixed.tolist() == [1]


def test_float32_predictions_keep_their_dtype_beside_float64_targets(x64):
    value = losses.squared_error(jnp.array([1.0], jnp.float32), jnp.array([3.0], jnp.float64))
    assert value.dtype == jnp.float32
    assert value.tolist() == [4]


def test_nan_and_infinity_stay_where_they_are():
    predictions = jnp.array([np.nan, 1.0, np.inf, -np.inf, 1.0])
    targets = jnp.array([1.0, np.nan, 0.0, 0.0, 2.0])
    value, slope, _ = run(predictions, targets, jnp.ones(5))
    np.testing.assert_array_equal(value, [np.nan, np.nan, np.inf, np.inf, 1])
    np.testing.assert_array_equal(slope, [np.nan, np.nan, np.inf, -np.inf, -2])


def test_the_hessian_is_two_on_the_diagonal_and_forward_mode_agrees():
    total = lambda predictions: losses.squared_error(predictions, jnp.zeros(3)).sum()
    np.testing.assert_array_equal(jax.hessian(total)(jnp.array([1.0, 0.0, -2.0])), 2 * np.eye(3))
    tangent = jax.jvp(total, (jnp.array([1.0, 0.0, -2.0]),), (jnp.array([1.0, 10.0, 100.0]),))[1]
    assert tangent == 2 - 400


def test_many_rows_of_odd_size_are_right_in_jit_and_eagerly(rng):
    predictions, targets = (jnp.asarray(rng.standard_normal((32_771, 3)), jnp.float32) for _ in range(2))
    want = (np.asarray(predictions, np.float64) - np.asarray(targets, np.float64)) ** 2
    assert_close(losses.squared_error(predictions, targets), want)
    assert_close(jax.jit(losses.squared_error)(predictions, targets), want)


@pytest.mark.parametrize(
    ("predictions", "targets", "error", "words"),
    [
        (jnp.ones(4), jnp.ones((4, 1)), ValueError, "targets"),
        (jnp.ones((4, 1)), jnp.ones(4), ValueError, "targets"),
        (jnp.ones((4, 1)), jnp.ones((4, 4)), ValueError, "targets"),
        (jnp.ones(4), jnp.ones(()), ValueError, "targets"),
        (jnp.ones(4), 1.0, ValueError, "targets"),
        (jnp.ones(4), jnp.ones(4, int), TypeError, "targets"),
        (jnp.ones(4, int), jnp.ones(4), TypeError, "predictions"),
        ([1.0], jnp.ones(1), TypeError, "predictions"),
    ],
)
def test_nothing_is_broadcast_or_cast(predictions, targets, error, words):
    with pytest.raises(error, match=f"losses.squared_error.*`{words}`"):
        losses.squared_error(predictions, targets)
