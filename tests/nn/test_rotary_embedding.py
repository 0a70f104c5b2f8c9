import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore.nn.rotary_embedding import rotate
from tests.tolerance import FLOATS, assert_close

rotary = jax.jit(nn.rotary_embedding, static_argnames=("base", "interleaved"))


def oracle(x, positions, *, base=1e4, interleaved=False):
    """One pair after another, in float64; `positions` has the batch and time of x."""
    x, positions = np.asarray(x).astype(np.float64), np.asarray(positions).astype(np.float64)
    d = x.shape[-1]
    y = np.zeros(x.shape)
    for i in range(d // 2):
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, d // 2 + i)
        angle = (positions * base ** (-2 * i / d))[..., None]
        y[..., a] = x[..., a] * np.cos(angle) - x[..., b] * np.sin(angle)
        y[..., b] = x[..., a] * np.sin(angle) + x[..., b] * np.cos(angle)
    return y


def draw(rng, shape, dtype="float32"):
    return jnp.asarray(rng.standard_normal(shape), dtype)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pairs_turn_by_their_angles_in_every_dtype(rng, dtype, interleaved, x64):
    x, positions = draw(rng, (2, 5, 3, 6), dtype), jnp.asarray(rng.integers(-50, 50, (2, 5)), jnp.int32)
    options = {"base": 100.0, "interleaved": interleaved}
    y = rotary(x, positions, **options)
    assert y.dtype == dtype
    # The angle's own rounding is relative to a turn.
    assert_close(y, oracle(x, positions, **options), length=16, scale=4)


@pytest.mark.parametrize("largest", [10**4, 10**6, 2**24])
@pytest.mark.parametrize("base", [1e4, 1.0, 5e5])
def test_angles_are_right_in_float32_at_positions_of_millions(rng, largest, base):
    whole = np.concatenate([rng.integers(-largest, largest, 98), [largest, -largest]]).astype(np.int32)
    x = draw(rng, (100, 1, 16))
    assert_close(rotary(x, jnp.asarray(whole), base=base), oracle(x, whole, base=base), scale=1)
    between = (whole / 3).astype(np.float32)
    assert_close(rotary(x, jnp.asarray(between), base=base), oracle(x, between, base=base), scale=1)


def test_the_first_pair_at_the_largest_integer_turns_exactly():
    # 2³¹ − 1 radians, less whole turns, by arithmetic of 20 digits
    angle = (2**31 - 1) % (2 * np.longdouble("3.14159265358979323846264338327950288"))
    x = jnp.array([1.0, 0.0]).reshape(1, 1, 2)
    y = rotary(x, jnp.array([2**31 - 1]))
    assert_close(y.ravel(), [float(np.cos(angle)), float(np.sin(angle))], length=4)


@pytest.mark.parametrize("position", [2.0**31, -1e30, np.inf, np.nan])
def test_a_position_too_large_for_its_angle_gives_nan(position):
    y = rotary(jnp.ones((2, 1, 4)), jnp.array([position, 1.0]))
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


def test_positions_of_every_integer_dtype_mean_the_same(rng, x64):
    x = draw(rng, (4, 1, 6))
    wanted = oracle(x, [0, 1, 100, 127])
    for dtype in ("int8", "uint8", "int16", "int32", "uint32", "int64", "float32", "float64"):
        y = rotary(x, jnp.asarray([0, 1, 100, 127], dtype))
        assert y.dtype == jnp.float32
        assert_close(y, wanted, scale=2)


def test_positions_are_one_for_each_step_or_one_for_the_batch(rng):
    x, positions = draw(rng, (2, 3, 5, 1, 4)), rng.integers(0, 9, (2, 3, 5))
    for shared in (positions[0, 0], positions[:1], positions[:, :1], positions):
        y = rotary(x, jnp.asarray(shared))
        assert_close(y, oracle(x, np.broadcast_to(shared, (2, 3, 5))), scale=2)


def test_a_query_and_a_key_meet_by_the_difference_of_their_positions(rng):
    q, k = draw(rng, (2, 1, 1, 1, 8))
    at = lambda x, position: rotary(x, jnp.array([position]))
    products = [float((at(q, 7 + shift) * at(k, 3 + shift)).sum()) for shift in (0, 5, 1_000_000)]
    assert_close(products, [products[0]] * 3, dtype="float32", scale=8)


def test_position_zero_changes_nothing_and_no_position_changes_a_length(rng):
    x = draw(rng, (4, 2, 6))
    np.testing.assert_array_equal(rotary(x, jnp.zeros(4, int)), x)
    assert_close((rotary(x, jnp.arange(4)) ** 2).sum(-1), np.asarray(x**2).sum(-1), length=6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_gradient_turns_back_and_positions_have_one(rng, interleaved):
    x, dy, positions = draw(rng, (3, 1, 4)), draw(rng, (3, 1, 4)), jnp.array([-2.5, 0.25, 7.0])
    run = lambda x, p: nn.rotary_embedding(x, p, base=100.0, interleaved=interleaved)
    _, pull = jax.vjp(run, x, positions)
    dx, dp = jax.jit(pull)(dy)
    assert_close(dx, oracle(dy, -positions, base=100.0, interleaved=interleaved), length=4)
    at = lambda h: oracle(x, np.asarray(positions, np.float64) + h, base=100.0, interleaved=interleaved)
    slope = ((at(1e-5) - at(-1e-5)) / 2e-5 * np.asarray(dy)).sum((1, 2))
    np.testing.assert_allclose(dp, slope, rtol=1e-5, atol=1e-5)


def test_the_two_layouts_are_one_with_features_reordered(rng):
    x, order = draw(rng, (3, 2, 6)), np.array([0, 3, 1, 4, 2, 5])
    y = rotary(x, jnp.arange(3))
    np.testing.assert_array_equal(rotary(x[..., order], jnp.arange(3), interleaved=True), y[..., order])


def test_the_turn_takes_any_cosines_and_sines(rng):
    x, cos, sin = draw(rng, (2, 3, 4, 6)), draw(rng, (2, 3, 3)), draw(rng, (2, 3, 3))
    first, second = x[..., :3], x[..., 3:]
    c, s = cos[:, :, None], sin[:, :, None]
    assert_close(rotate(x, cos, sin, interleaved=False)[..., :3], np.asarray(first * c - second * s), scale=4)
    assert_close(rotate(x, cos, sin, interleaved=False)[..., 3:], np.asarray(first * s + second * c), scale=4)


@pytest.mark.parametrize("shape", [(0, 3, 1, 4), (2, 0, 1, 4), (2, 3, 0, 4), (2, 3, 1, 0)])
def test_empty_axes_are_kept(shape):
    assert nn.rotary_embedding(jnp.ones(shape), jnp.arange(shape[1])).shape == shape
