import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses
from tests.tolerance import FLOATS, assert_close

RUBBISH = [np.nan, np.inf, -np.inf, 3e38]
pair = jax.jit(losses.sum_and_weight)


@jax.jit
def mean(values, **options):
    """The mean and its gradient."""
    return jax.value_and_grad(lambda values: losses.mean(values, **options))(values)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4)])
def test_the_mean_is_the_weighted_sum_over_the_sum_of_weights(rng, dtype, shape, x64):
    values = jnp.asarray(rng.standard_normal(shape), dtype)
    weights = jnp.asarray(rng.uniform(0.5, 2, shape), dtype)
    wide, w = np.asarray(values).astype(np.float64), np.asarray(weights).astype(np.float64)
    for options, v in (({}, np.ones(shape)), ({"weights": weights}, w)):
        found, gradient = mean(values, **options)
        assert found.dtype == gradient.dtype == dtype
        assert_close(found, (wide * v).sum() / v.sum(), scale=3)
        assert_close(gradient, v / v.sum())
        total, weight = pair(values, **options)
        assert total.dtype == weight.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
        assert_close(total, (wide * v).sum(), length=max(1, v.size), scale=6)
        assert_close(weight, v.sum(), length=max(1, v.size))


@pytest.mark.parametrize("rubbish", [np.nan, -np.inf])
@pytest.mark.parametrize("way", ["where", "weights", "both"])
def test_weight_zero_is_as_good_as_a_removed_row(rng, rubbish, way):
    kept = rng.random((9, 5)) < 0.5
    kept[0, 0], kept[-1, -1] = True, False
    w = rng.uniform(0.5, 2, (9, 5)) if way != "where" else np.ones((9, 5))
    clean = rng.standard_normal((9, 5))
    values = jnp.asarray(np.where(kept, clean, rubbish), jnp.float32)
    options = {}
    if way != "weights":
        options["where"] = jnp.asarray(kept)
    if way == "weights":
        options["weights"] = jnp.asarray(np.where(kept, w, 0), jnp.float32)
    if way == "both":  # what `where` leaves out may have any weight
        options["weights"] = jnp.asarray(np.where(kept, w, rubbish), jnp.float32)
    found, gradient = mean(values, **options)
    assert_close(found, (clean * w)[kept].sum() / w[kept].sum(), length=45, scale=3)
    assert_close(gradient, np.where(kept, w, 0) / w[kept].sum(), length=45)
    assert not np.asarray(gradient)[~kept].any()
    total, weight = pair(values, **options)
    assert_close(total, (clean * w)[kept].sum(), length=45, scale=6)
    assert_close(weight, w[kept].sum(), length=45)


@pytest.mark.parametrize("value", [1.0, *RUBBISH])
def test_with_everything_left_out_the_mean_and_its_gradient_are_zero(value):
    values = jnp.full((3, 2), value)
    for options in ({"where": jnp.zeros((3, 2), bool)}, {"weights": jnp.zeros((3, 2))}):
        found, gradient = mean(values, **options)
        assert found == 0
        assert not gradient.any()
        assert [float(part) for part in pair(values, **options)] == [0, 0]


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_the_mean_of_nothing_is_zero(shape):
    found, gradient = mean(jnp.zeros(shape))
    assert found == 0
    assert gradient.shape == shape


@pytest.mark.parametrize("rubbish", [np.nan, np.inf])
def test_what_counts_and_is_not_finite_shows(rubbish):
    assert not np.isfinite(mean(jnp.array([1.0, rubbish]))[0])
    assert not np.isfinite(mean(jnp.array([1.0, rubbish]), weights=jnp.array([1.0, 1e-30]))[0])


def test_micro_batches_of_different_weight_give_the_mean_of_the_whole(rng):
    values, weights = jnp.asarray(rng.standard_normal(10), jnp.float32), jnp.asarray(rng.uniform(0, 2, 10), jnp.float32)
    where = jnp.asarray(rng.random(10) < 0.6).at[0].set(True)
    parts = [slice(0, 1), slice(1, 3), slice(3, 10)]
    pairs = [pair(values[p], where=where[p], weights=weights[p]) for p in parts]
    whole, _ = mean(values, where=where, weights=weights)
    assert_close(sum(s for s, _ in pairs) / sum(w for _, w in pairs), whole, length=10, scale=2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(dtype):
    n = 40_001
    values = jnp.full(n, 10.0, dtype)  # the sum is beyond float16, and 1 is lost beside 256 in bfloat16
    for options in ({}, {"weights": jnp.ones(n, dtype)}, {"where": jnp.ones(n, bool)}):
        found, gradient = mean(values, **options)
        assert found.dtype == dtype
        assert found == 10
        assert_close(gradient, np.full(n, 1 / n))


def test_the_gradient_in_the_weights_is_that_of_a_quotient(rng):
    values, weights = rng.standard_normal((2, 6)) + np.array([[0.0], [3.0]])
    slope = jax.grad(lambda w: losses.mean(jnp.asarray(values, jnp.float32), weights=w))(
        jnp.asarray(weights, jnp.float32)
    )
    m = (values * weights).sum() / weights.sum()
    assert_close(slope, (values - m) / weights.sum(), length=6)


def test_vmap_and_forward_mode_agree_with_a_loop(rng):
    values = jnp.asarray(rng.standard_normal((3, 4)), jnp.float32)
    where = jnp.array([[True, False, True, True], [False] * 4, [True] * 4])
    means = jax.vmap(lambda v, w: losses.mean(v, where=w))(values, where)
    wide = np.asarray(values, np.float64)
    assert_close(means, [wide[0, [0, 2, 3]].mean(), 0, wide[2].mean()], length=4, scale=3)
    tangent = jax.jvp(lambda v: losses.mean(v, where=where[0]), (values[0],), (jnp.array([3.0, 5.0, 6.0, 9.0]),))[1]
    assert_close(tangent, 6.0)


@pytest.mark.parametrize("name", ["mean", "sum_and_weight"])
@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        (jnp.ones(3, int), {}, TypeError, "values"),
        ([1.0], {}, TypeError, "values"),
        (jnp.ones(3), {"where": jnp.ones((3, 1), bool)}, ValueError, "where"),
        (jnp.ones((3, 2)), {"where": jnp.ones((3, 1), bool)}, ValueError, "where"),
        (jnp.ones(3), {"where": jnp.ones(3)}, TypeError, "where"),
        (jnp.ones(3), {"where": True}, ValueError, "where"),
        (jnp.ones(3), {"weights": jnp.ones(())}, ValueError, "weights"),
        (jnp.ones((3, 1)), {"weights": jnp.ones(3)}, ValueError, "weights"),
        (jnp.ones(3), {"weights": jnp.ones(3, int)}, TypeError, "weights"),
        (jnp.ones(3), {"weights": jnp.ones(3, bool)}, TypeError, "weights"),
    ],
)
def test_nothing_is_broadcast_or_cast(name, values, options, error, words):
    with pytest.raises(error, match=f"losses.{name}.*`{words}`"):
        getattr(losses, name)(values, **options)
