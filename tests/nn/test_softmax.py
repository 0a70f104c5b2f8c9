from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan


def oracle(x, dy, *, axis=-1, temperature=1.0, where=True):
    """Softmax, its logarithm and both gradients for finite slices with something left, in float64."""
    scores = np.where(where, np.asarray(x).astype(np.float64) / temperature, -INF)
    e = np.exp(scores - scores.max(axis, keepdims=True))
    total = e.sum(axis, keepdims=True)
    y = e / total
    log_y = scores - scores.max(axis, keepdims=True) - np.log(total)
    dy = np.where(where, np.asarray(dy).astype(np.float64), 0)
    dx = y * (dy - (dy * y).sum(axis, keepdims=True)) / temperature
    dlog = np.where(where, dy - y * dy.sum(axis, keepdims=True), 0) / temperature
    return (y, dx), (log_y, dlog)


@partial(jax.jit, static_argnames=("axis", "temperature"))
def both(x, dy, **options):
    """Values and gradients of softmax and of its logarithm."""
    pulled = []
    for function in (nn.softmax, nn.log_softmax):
        y, pull = jax.vjp(lambda x, f=function: f(x, **options), x)
        pulled.append((y, pull(dy)[0]))
    return pulled


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5,), {}),
        ((2, 7), {"temperature": 0.5}),
        ((4, 3), {"axis": 0}),
        ((2, 5, 3), {"axis": -2, "temperature": 30.0}),
        ((0, 4), {}),
        ((3, 1), {}),
    ],
)
def test_values_and_gradients_are_the_closed_forms(rng, shape, options):
    check(rng, "float32", shape, options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    check(rng, dtype, (4, 5), {"axis": 0, "temperature": 0.5})


def check(rng, dtype, shape, options):
    x, dy = (jnp.asarray(scale * rng.standard_normal(shape), dtype) for scale in (3, 1))
    for (found, grad), (y, dx) in zip(both(x, dy, **options), oracle(x, dy, **options), strict=True):
        assert found.dtype == grad.dtype == dtype
        assert_close(found, y, length=shape[-1], scale=10)
        assert_close(grad, dx, length=shape[-1], scale=4)


@pytest.mark.parametrize("mask_shape", [(4, 6), (1, 6), (4, 1)])
def test_where_leaves_entries_out_whatever_they_hold(rng, mask_shape):
    where = rng.random(mask_shape) < 0.6
    where[0, 0] = False
    if mask_shape != (4, 1):
        where[:, 1] = True
    else:
        where[1:] = True
    whole = np.broadcast_to(where, (4, 6))
    clean, dy = rng.standard_normal((2, 4, 6)).astype(np.float32)
    rows = whole.any(-1)
    dy *= whole  # what a left-out logarithm would pull is tested below
    for rubbish in (NAN, INF, -INF, 1e30):
        x = jnp.asarray(np.where(whole, clean, rubbish), jnp.float32)
        wanted = oracle(clean[rows], dy[rows], where=whole[rows])
        results = jax.tree.map(np.asarray, both(x, jnp.asarray(dy), where=jnp.asarray(where)))
        for (found, grad), (y, dx), left_out in zip(results, wanted, (0, -INF), strict=True):
            assert_close(found[rows], y, length=6)
            assert_close(grad[rows], dx, length=6)
            assert (found[rows][~whole[rows]] == left_out).all()
            # A slice with nothing left: zeros, and zero gradients.
            assert not found[~rows].any()
            assert not grad[~whole].any()


def test_a_left_out_logarithm_is_a_constant_so_its_tangent_is_zero():
    run = lambda x: nn.log_softmax(x, where=jnp.array([True, True, False]))
    x, t = jnp.array([[0.0, 0.0, 5.0], [1.0, 3.0, 7.0]])
    y, tangent = jax.jit(lambda x, t: jax.jvp(run, (x,), (t,)))(x, t)
    assert_close(y, [-np.log(2), -np.log(2), -INF])
    assert_close(tangent, [-1, 1, 0])


@pytest.mark.parametrize(
    ("x", "y", "log_y"),
    [
        ([0, INF, 0], [0, 1, 0], [-INF, 0, -INF]),
        ([INF, 0, INF], [0.5, 0, 0.5], [-np.log(2), -INF, -np.log(2)]),
        ([INF, -INF, 0], [1, 0, 0], [0, -INF, -INF]),
        ([-INF, 0, 0], [0, 0.5, 0.5], [-INF, -np.log(2), -np.log(2)]),
        ([-INF, -INF, 3], [0, 0, 1], [-INF, -INF, 0]),
        ([1e30, -1e30, 0], [1, 0, 0], [0, -2e30, -1e30]),
        ([1e30, 1e30, 1e30], [1 / 3] * 3, [-np.log(3)] * 3),
        ([0, 0, 0], [1 / 3] * 3, [-np.log(3)] * 3),
    ],
)
def test_every_input_with_a_limit_has_it_and_no_gradient_is_nan(x, y, log_y):
    x, dy = jnp.asarray(x, jnp.float32), jnp.array([1.0, 2.0, 4.0])
    (found, dx), (log_found, log_dx) = both(x, dy)
    assert_close(found, y)
    assert_close(log_found, log_y)
    assert np.isfinite(log_dx).all()
    if np.isposinf(x).any():
        assert np.isfinite(dx).all()
    else:
        assert_close(dx, np.asarray(y) * (np.asarray(dy) - (np.asarray(dy) * y).sum()), scale=4)


def test_nothing_but_minus_infinity_gives_zeros_and_zero_gradients():
    (found, dx), _ = both(jnp.full((2, 3), -INF), jnp.array([[1.0, 2.0, 4.0]] * 2))
    assert not found.any()
    assert not dx.any()


def test_nan_reaches_its_own_slice_only():
    x = jnp.array([[0.0, NAN, 0.0], [0.0, 0.0, 0.0]])
    for y, dx in both(x, jnp.ones((2, 3))):
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()
        assert np.isfinite(dx[1]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_classes_are_summed_in_float32(rng, dtype):
    x = jnp.asarray(rng.standard_normal((3, 32_771)), dtype)
    dy = jnp.asarray(rng.standard_normal((3, 32_771)), dtype)
    (y, _), (log_y, dlog) = oracle(x, dy)
    # The result's own rounding is all that half precision adds: no square root of the length.
    length = 32_771 if dtype == "float32" else 1
    smallest = float(jnp.finfo(dtype).smallest_subnormal) / float(jnp.finfo(dtype).eps)  # below float16's normal range
    (probabilities, _), (found, grad) = both(x, dy)
    assert_close(probabilities, y, length=length, scale=max(y.max(), smallest))
    assert_close(found, log_y, length=length)
    assert_close(grad, dlog, length=length)


def test_a_constant_slice_is_uniform_and_probabilities_sum_to_one(rng):
    softmax = jax.jit(nn.softmax)
    assert_close(softmax(jnp.full((2, 32_771), -7.5)), np.full((2, 32_771), 1 / 32_771), length=32_771)
    x = jnp.asarray(10 * rng.standard_normal((50, 33)), jnp.float32)
    assert_close(softmax(x).sum(-1), np.ones(50), length=33)


def test_temperature_may_be_traced_and_mapped_over(rng):
    x = rng.standard_normal((5,)).astype(np.float32)
    temperatures = jnp.array([0.1, 1.0, 25.0])
    for place, function in enumerate((nn.softmax, nn.log_softmax)):
        y = jax.jit(jax.vmap(lambda t, f=function: f(jnp.asarray(x), temperature=t)))(temperatures)
        for lane, t in enumerate(np.asarray(temperatures, np.float64)):
            assert_close(y[lane], oracle(x, x, temperature=t)[place][0], scale=50)


def test_the_gradient_in_the_temperature_is_the_closed_form_and_ignores_what_where_leaves_out(rng):
    x = rng.standard_normal(4)
    y = np.exp(x / 0.7) / np.exp(x / 0.7).sum()
    want = y * ((x * y).sum() - x) / 0.7**2
    jacobian = jax.jit(jax.jacobian(lambda t, x, where: nn.softmax(x, temperature=t, where=where)))
    for rubbish in (0.0, INF, NAN):
        found = jacobian(jnp.array(0.7), jnp.asarray([*x, rubbish], jnp.float32), jnp.arange(5) < 4)
        assert_close(found, [*want, 0], length=4)


def test_an_entry_of_minus_infinity_leaves_the_gradient_in_the_temperature_finite():
    jacobian = jax.jit(jax.jacobian(lambda t: nn.softmax(jnp.array([0.0, 1.0, -INF]), temperature=t)))
    slope = np.exp(1) / (1 + np.exp(1)) ** 2
    assert_close(jacobian(jnp.array(1.0)), [slope, -slope, 0])


def test_a_tiny_temperature_picks_the_largest():
    x = jnp.array([2e10, 1e10, -3e10])
    softmax = jax.jit(lambda x: nn.softmax(x, temperature=1e-30))
    assert softmax(x).tolist() == [1, 0, 0]
    assert softmax(-x).tolist() == [0, 0, 1]


def test_the_hessian_of_log_sum_exp_is_that_of_a_softmax(rng):
    x = rng.standard_normal(4)
    p = np.exp(x) / np.exp(x).sum()
    hessian = jax.jit(jax.hessian(lambda x: -nn.log_softmax(x)[0]))(jnp.asarray(x, jnp.float32))
    assert_close(hessian, np.diag(p) - np.outer(p, p), length=4)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("x", "options", "error", "words"),
    [
        (jnp.ones(3, int), {}, TypeError, "x"),
        (jnp.ones(()), {}, ValueError, "axis"),
        (jnp.ones((2, 3)), {"axis": 2}, ValueError, "axis"),
        (jnp.ones((2, 3)), {"axis": -3}, ValueError, "axis"),
        (jnp.ones((2, 3)), {"temperature": 0.0}, ValueError, "temperature"),
        (jnp.ones((2, 3)), {"temperature": -1.0}, ValueError, "temperature"),
        (jnp.ones((2, 3)), {"temperature": jnp.ones(2)}, TypeError, "temperature"),
        (jnp.ones((2, 3)), {"where": jnp.ones((2, 3))}, TypeError, "where"),
        (jnp.ones((2, 3)), {"where": jnp.ones(3, bool)}, ValueError, "where"),
        (jnp.ones((2, 3)), {"where": jnp.ones((2, 2), bool)}, ValueError, "where"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, x, options, error, words):
    with pytest.raises(error, match=f"nn.{name}.*{words}"):
        getattr(nn, name)(x, **options)
