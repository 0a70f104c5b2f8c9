"""Derivatives from values alone, against closed forms in NumPy."""

import numpy as np
import pytest

from dlcore.gradcheck.differences import derivative, ladder, remainder_order

EPSILON = float(np.finfo(np.float64).eps)
STEPS = ladder(EPSILON)


def along(f, x, v):
    """Values at x + h v for every step h and its negative, as columns."""
    with np.errstate(all="ignore"):
        ahead = np.array([np.atleast_1d(f(x + h * v)) for h in STEPS], float)
        behind = np.array([np.atleast_1d(f(x - h * v)) for h in STEPS], float)
    return ahead, np.atleast_1d(np.asarray(f(x), float)), behind


def found(f, x, v=1.0):
    ahead, here, behind = along(f, x, v)
    return derivative(STEPS, ahead, here, behind, rounding=EPSILON, size=np.abs(here), scale=np.abs(here))


# name: function, point, step, derivative, how well it must be resolved (relative)
SMOOTH = {
    "sine": (np.sin, 0.7, 1.0, np.cos(0.7), 1e-11),
    "sine far out": (np.sin, 1e6, 1e6, 1e6 * np.cos(1e6), 1e-7),
    "sine near zero": (np.sin, 1e-6, 1e-6, 1e-6 * np.cos(1e-6), 1e-11),
    "fast sine": (lambda x: np.sin(1e6 * x), 1.0, 1.0, 1e6 * np.cos(1e6), 1e-6),
    "exponential": (np.exp, 1.0, 1.0, np.e, 1e-11),
    "logarithm, step of its own size": (np.log, 1e-6, 1e-6, 1.0, 1e-10),
    "logarithm, steps far beyond its pole": (np.log, 1e-6, 1.0, 1e6, 1e-6),
    "pole": (lambda x: 1 / x, 1e-3, 1.0, -1e6, 1e-9),
    "square": (np.square, 1e6, 1e6, 2e12, 1e-12),
    "an offset outside": (lambda x: np.sin(x) + 1e6, 1.0, 1.0, np.cos(1), 1e-6),
    "an offset that cancels inside": (lambda x: (x + 1e6) - 1e6, 1.0, 1.0, 1.0, 1e-8),
    "a fine structure on a coarse one": (lambda x: x + 1e-6 * np.sin(x / 1e-6), 1.0, 1.0, 1 + np.cos(1e6), 1e-6),
    "a whole number of periods in a step": (
        lambda x: np.sin(16 * np.pi * x), 0.125, 1.0, 16 * np.pi * np.cos(2 * np.pi), 1e-10,
    ),
    "underflow": (lambda x: np.exp(-x), 700.0, 1.0, -np.exp(-700.0), 1e-6),
    "a kink a millionth away": (lambda x: np.maximum(x, 0), 1e-6, 1.0, 1.0, 1e-9),
    "second derivative jumps": (lambda x: np.where(abs(x) < 1, x * x / 2, abs(x) - 0.5), 1.0, 1.0, 1.0, 1e-10),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_are_resolved_and_the_error_is_honest(name):
    f, x, v, expected, resolution = SMOOTH[name]
    result = found(f, x, v)
    assert not result.kink[0]
    assert result.error[0] <= resolution * abs(expected)
    # "3 errors" is what the comparison allows for.
    assert abs((result.low + result.high)[0] / 2 - expected) <= 4 * result.error[0] + 1e-14 * abs(expected)


@pytest.mark.parametrize("f", [lambda x: 0 * x + 3, lambda x: x**2, np.cosh, lambda x: np.tanh(x + 40)])
def test_a_derivative_of_zero_is_found_to_be_zero(f):
    result = found(f, 0.0)
    assert result.low[0] <= 0 <= result.high[0]
    assert result.error[0] < 1e-13


@pytest.mark.parametrize(
    ("f", "low", "high"),
    [
        (lambda x: np.maximum(x, 0), 0, 1),
        (np.abs, -1, 1),
        (lambda x: np.minimum(3 * x, -2 * x), -2, 3),
        (lambda x: np.where(x > 0, np.sin(x), np.expm1(-2 * x)), -2, 1),
        (lambda x: np.maximum(x - 1e-13, 0), 0, 1),  # a kink that no step can tell from one at the point
    ],
)
def test_at_a_kink_the_interval_reaches_from_one_side_to_the_other(f, low, high):
    result = found(f, 0.0)
    assert result.kink[0]
    assert result.low[0] == pytest.approx(low, abs=1e-9)
    assert result.high[0] == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize(
    "f", [np.sqrt, lambda x: np.sign(x) * np.sqrt(np.abs(x)), np.sign, lambda x: np.sin(1 / x) if x else 0.0]
)
def test_what_has_no_derivative_is_not_resolved(f):
    result = found(f, 0.0)
    assert np.isinf(result.error[0])
    assert (result.low[0], result.high[0]) == (-np.inf, np.inf)
    assert result.size[0] == 0


def test_one_side_is_enough_where_the_other_is_outside_the_domain_or_jumps():
    assert found(lambda x: np.where(x >= 0, np.expm1(x), np.nan), 0.0).low[0] == pytest.approx(1, abs=1e-9)
    assert found(lambda x: np.where(x > 0, 5.0, 2 * x), 0.0).high[0] == pytest.approx(2, abs=1e-9)


def test_the_error_covers_the_truth_for_random_functions_at_random_scales(rng):
    """Sums of sines with offsets and sizes over many orders of magnitude: at least 19 of 20 within the estimate itself,
    and none beyond the margin that the comparison grants."""
    beyond = []
    for _ in range(400):
        x, size, offset = rng.standard_normal(5), 10 ** rng.uniform(-4, 1), 10 ** rng.uniform(-1, 9)
        v, u = np.abs(x) * rng.uniform(0.5, 1.5, 5) * rng.choice([-1, 1], 5), rng.standard_normal(5)
        f = lambda x, size=size, offset=offset: size * np.sin(x) + offset
        ahead, here, behind = along(f, x, v)
        total = np.abs(u) @ np.abs(here)
        result = derivative(
            STEPS, (ahead @ u)[:, None], np.array([here @ u]), (behind @ u)[:, None],
            rounding=EPSILON, size=np.array([total]), scale=np.array([total]),
        )  # fmt: skip
        truth = float((size * np.cos(x) * v) @ u)
        beyond.append(max(result.low[0] - truth, truth - result.high[0], 0.0) / result.error[0])
    assert np.mean(np.asarray(beyond) > 0) <= 0.08
    assert max(beyond) < 2.0


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_narrower_precision_is_resolved_as_far_as_it_reaches(dtype):
    epsilon = float(np.finfo(dtype).eps)
    steps = ladder(epsilon)
    f = lambda x: np.sin(np.asarray(x, dtype)).astype(float)
    ahead, behind = (np.array([[f(0.7 + sign * h)] for h in steps]) for sign in (1, -1))
    result = derivative(steps, ahead, f([0.7]), behind, rounding=epsilon, size=f([0.7]), scale=f([0.7]))
    assert result.error[0] < 3 * epsilon**0.5
    assert abs((result.low + result.high)[0] / 2 - np.cos(0.7)) < 4 * result.error[0]


def test_the_remainder_is_of_second_order_for_a_right_slope_and_of_first_for_a_wrong_one():
    ahead, here, _ = along(np.exp, 0.3, 1.0)
    noise, weight = np.array([EPSILON]), np.ones(1)
    order = lambda slope: remainder_order(STEPS, ahead, here, np.array([slope]), noise, weight)
    assert order(np.exp(0.3)) == pytest.approx(2, abs=0.05)
    assert order(np.exp(0.3) * 1.001) == pytest.approx(1, abs=0.1)
    linear, start, _ = along(lambda x: 3 * x, 0.0, 1.0)
    assert np.isnan(remainder_order(STEPS, linear, start, np.array([3.0]), noise, weight))


def test_the_ladder_falls_by_one_ratio_from_a_large_step_to_where_no_digit_is_left():
    assert STEPS[0] == 0.4
    np.testing.assert_allclose(STEPS[1:] / STEPS[:-1], 0.4)
    assert EPSILON**0.65 < STEPS[-1] <= EPSILON**0.6
