import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan
STATIC = ("causal", "scale", "softcap")


def loops(q, k, v, dy, *, bias=None, mask=None, causal=False, scale=None, softcap=None):
    """y, dq, dk, dv and dbias by the formulas, one query of one head at a time, in float64; one batch axis."""
    q, k, v, dy = (np.asarray(x).astype(np.float64) for x in (q, k, v, dy))
    (b, t, n, d), (s, m) = q.shape, k.shape[1:3]
    factor = d**-0.5 if scale is None else scale
    bias = np.broadcast_to(np.zeros(()) if bias is None else np.asarray(bias).astype(np.float64), (b, n, t, s))
    mask = np.broadcast_to(np.ones((), bool) if mask is None else mask, (b, n, t, s))
    y, dq, dk, dv = np.zeros((b, t, n, v.shape[-1])), np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    dbias = np.zeros((b, n, t, s))
    for i, h, j in itertools.product(range(b), range(n), range(t)):
        g = h // (n // m)
        keys = [c for c in range(s) if mask[i, h, j, c] and (c <= j or not causal) and bias[i, h, j, c] > -INF]
        if not keys:
            continue
        raw = np.array([factor * q[i, j, h] @ k[i, c, g] for c in keys])
        squeezed = raw if softcap is None else softcap * np.tanh(raw / softcap)
        slope = 1 if softcap is None else 1 - np.tanh(raw / softcap) ** 2
        e = squeezed + bias[i, h, j, keys]
        e = np.exp(e - e.max())
        p = e / e.sum()
        dp = v[i, keys, g] @ dy[i, j, h]
        da = p * (dp - p @ dp)
        y[i, j, h] = p @ v[i, keys, g]
        dbias[i, h, j, keys] = da
        dq[i, j, h] = factor * (slope * da) @ k[i, keys, g]
        dk[i, keys, g] += factor * np.outer(slope * da, q[i, j, h])
        dv[i, keys, g] += np.outer(p, dy[i, j, h])
    return y, dq, dk, dv, dbias


@partial(jax.jit, static_argnames=STATIC)
def both(q, k, v, dy, *, bias=None, mask=None, **options):
    """Values and gradients."""

    def run(q, k, v, bias):
        return nn.dot_product_attention(q, k, v, bias=bias, mask=mask, **options)

    y, pull = jax.vjp(run, q, k, v, bias)
    return (y, *pull(dy))


def draw(rng, shape, dtype="float32"):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def sequences(rng, b=2, t=3, s=4, n=4, m=2, d=3, e=5, dtype="float32"):
    """q, k, v, and dy."""
    return [draw(rng, shape, dtype) for shape in ((b, t, n, d), (b, s, m, d), (b, s, m, e), (b, t, n, e))]


def check(found, expected, *, length=32):
    y, dq, dk, dv, dbias = expected
    for got, wanted in zip(found[:4], (y, dq, dk, dv), strict=True):
        assert_close(got, wanted, length=length, scale=max(1.0, np.abs(wanted).max(initial=0)))
    if found[4] is not None:
        shared = tuple(axis for axis, n in enumerate(found[4].shape) if n == 1)
        assert_close(found[4], dbias.sum(shared, keepdims=True), length=length, scale=4)


@pytest.mark.parametrize(
    ("sizes", "extras", "options"),
    [
        ({}, {}, {}),
        ({}, {"bias": (2, 1, 3, 1)}, {}),
        ({"n": 2}, {"bias": (2, 2, 3, 4)}, {"scale": 0.3}),
        ({"n": 6, "s": 5}, {"mask": (2, 6, 3, 5), "bias": (1, 6, 1, 5)}, {"softcap": 1.5}),
        ({"m": 1, "t": 5}, {"mask": (2, 1, 1, 4), "bias": (1, 1, 5, 4)}, {"causal": True}),
        ({"s": 6}, {"mask": (1, 4, 3, 1), "bias": (2, 1, 1, 6)}, {"causal": True, "softcap": 0.5}),
    ],
)
def test_values_and_gradients_are_those_of_loops_over_queries(rng, sizes, extras, options):
    data = sequences(rng, **sizes)
    if "bias" in extras:
        options["bias"] = draw(rng, extras["bias"])
    if "mask" in extras:
        options["mask"] = jnp.asarray(rng.random(extras["mask"]) < 0.6)
    check(both(*data, **options), loops(*data, **options))


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    data = sequences(rng, dtype=dtype)
    options = {"bias": draw(rng, (1, 4, 1, 4), dtype), "causal": True}
    found = both(*data, **options)
    assert {part.dtype.name for part in found} == {dtype}
    check(found, loops(*data, **options), length=4)


def test_half_precision_is_not_summed_in_half_precision(rng):
    # 4,096 equal keys: a sum of ones in bfloat16 would stop at 256.
    v = jnp.ones((1, 4096, 1, 1), jnp.bfloat16)
    y = nn.dot_product_attention(jnp.zeros((1, 1, 1, 2), jnp.bfloat16), jnp.zeros((1, 4096, 1, 2), jnp.bfloat16), v)
    assert y.tolist() == [[[[1.0]]]]


def test_a_bias_of_more_digits_than_the_data_keeps_them(rng):
    q, k, v, _ = sequences(rng, d=1, dtype="bfloat16")
    # 256 + 1 is 256 in bfloat16.
    bias = jnp.asarray([256.0, 257.0, -INF, -INF]).reshape(1, 1, 1, 4)
    y = nn.dot_product_attention(0 * q, k, v, bias=bias)
    share = 1 / (1 + np.e)
    wide = np.repeat(np.asarray(v).astype(np.float64), 2, axis=2)
    wanted = share * wide[:, :1] + (1 - share) * wide[:, 1:2]
    assert_close(y, np.broadcast_to(wanted, y.shape), dtype="bfloat16")


# ---- who sees what


def test_what_comes_later_has_no_influence_at_all(rng):
    q, k, v, _ = sequences(rng, t=4, s=6)
    run = lambda k, v: nn.dot_product_attention(q, k, v, causal=True)
    for argument in (0, 1):
        jacobian = jax.jit(jax.jacobian(run, argnums=argument))(k, v)
        reached = np.asarray(jacobian != 0).any(axis=(0, 2, 3, 4, 6, 7))  # (T, S)
        # The first query has one key: how well it fits is of no consequence.
        wanted = np.tri(4, 6, dtype=bool)
        wanted[0, 0] = argument == 1
        np.testing.assert_array_equal(reached, wanted)


def test_a_minus_infinite_bias_is_a_mask(rng):
    data = sequences(rng)
    mask = rng.random((2, 4, 3, 4)) < 0.6
    mask[0, 0, 0] = False
    bias = jnp.asarray(np.where(mask, 0, -INF), jnp.float32)
    for one, other in zip(both(*data, bias=bias)[:4], both(*data, mask=jnp.asarray(mask))[:4], strict=True):
        assert_close(one, other, length=8)
    assert np.isfinite(both(*data, bias=bias)[4]).all()


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("rubbish", [NAN, INF, -INF, 3e38])
def test_what_nobody_sees_may_hold_anything(rng, rubbish, softcap):
    q, k, v, dy = sequences(rng)
    seen = np.array([[True, False, True, False], [True, True, False, False]])
    looks = np.array([[True, True, False], [False, True, True]])
    mask = jnp.asarray(looks[:, None, :, None] & seen[:, None, None, :])
    options = {"mask": mask, "causal": False, "softcap": softcap}
    clean = both(q, k, v, dy, **options)
    hide = lambda x, kept: jnp.where(jnp.asarray(kept)[:, :, None, None], x, rubbish)
    # The bias as well, where the mask leaves it out.
    bias = jnp.where(jnp.broadcast_to(mask, (2, 4, 3, 4)), 0.0, rubbish)
    dirty = both(hide(q, looks), hide(k, seen), hide(v, seen), dy, bias=bias, **options)
    for one, other in zip(dirty[:4], clean[:4], strict=True):
        assert_close(one, other, length=8)
    y, dq, dk, dv, dbias = dirty
    assert not np.asarray(y)[~looks].any()
    assert not np.asarray(dq)[~looks].any()
    assert not np.asarray(dk)[~seen].any()
    assert not np.asarray(dv)[~seen].any()
    assert not np.asarray(dbias)[~np.broadcast_to(mask, (2, 4, 3, 4))].any()


def test_keys_behind_the_last_query_may_hold_anything_where_causal(rng):
    q, k, v, dy = sequences(rng, t=2, s=5)
    clean = both(q, k, v, dy, causal=True)
    dirty = both(q, k.at[:, 2:].set(NAN), v.at[:, 2:].set(INF), dy, causal=True)
    for one, other in zip(dirty[:4], clean[:4], strict=True):
        assert_close(one, other, length=8)


def test_a_key_is_cleaned_only_where_no_head_of_its_group_sees_it(rng):
    q, k, v, dy = sequences(rng, s=2)
    mask = np.ones((2, 4, 3, 2), bool)
    mask[:, :3, :, 1] = False  # head 3, of the second group, still looks at key 1
    found = both(q, k, v, dy, mask=jnp.asarray(mask))
    check(found, loops(q, k, v, dy, mask=mask))
    y = both(q, k, v.at[:, 1].set(NAN), dy, mask=jnp.asarray(mask))[0]
    assert np.isnan(y[:, :, 3]).all()
    assert_close(y[:, :, :2], found[0][:, :, :2], length=8)


def test_nan_reaches_its_own_example_and_group_of_heads_only(rng):
    q, k, v, dy = sequences(rng)
    clean = both(q, k, v, dy)
    for place in range(3):
        data = [q, k, v]
        data[place] = data[place].at[1, 0, 1].set(NAN)
        found = both(*data, dy)
        np.testing.assert_array_equal(np.asarray(found[0])[0], np.asarray(clean[0])[0])
        own = slice(1, 2) if place == 0 else slice(2, 4)
        others = [head for head in range(4) if head not in range(*own.indices(4))]
        np.testing.assert_array_equal(np.asarray(found[0])[1][:, others], np.asarray(clean[0])[1][:, others])
        assert np.isnan(np.asarray(found[0])[1, 0, own]).any()


# ---- options and sizes


def test_shared_key_heads_are_heads_repeated_in_place(rng):
    q, k, v, _ = sequences(rng, n=6, m=3)
    repeated = [jnp.repeat(part, 2, axis=2) for part in (k, v)]
    assert_close(nn.dot_product_attention(q, k, v), nn.dot_product_attention(q, *repeated), length=8)


def test_the_softcap_bounds_scores_but_neither_bias_nor_mask():
    q, k = jnp.full((1, 1, 1), 100.0), jnp.array([1.0, -1.0, 0.0]).reshape(3, 1, 1)
    v = jnp.eye(3).reshape(3, 1, 3)
    run = partial(nn.dot_product_attention, q, k, v, scale=1.0, softcap=1.0)
    weights = lambda scores: np.exp(scores) / np.exp(scores).sum()
    assert_close(run().ravel(), weights([1, -1, 0]))
    assert_close(run(bias=jnp.array([[[0.0, 50.0, 0.0]]])).ravel(), [0, 1, 0])
    assert_close(run(mask=jnp.array([[[True, False, True]]])).ravel(), [*weights([1, 0])[:1], 0, weights([1, 0])[1]])


def test_the_scale_may_be_traced_and_has_a_gradient(rng, x64):
    q, k, v, dy = sequences(rng, dtype="float64")
    mask = jnp.asarray(np.tri(3, 4, dtype=bool))[None, None]
    value = lambda scale: (nn.dot_product_attention(q, k, v, scale=scale, mask=mask) * dy).sum()
    slope = jax.jit(jax.grad(value))(jnp.array(0.7))
    differences = [(loops(q, k, v, dy, scale=0.7 + h, mask=mask)[0] * np.asarray(dy)).sum() for h in (-1e-6, 1e-6)]
    assert abs(slope - (differences[1] - differences[0]) / 2e-6) < 1e-8
    assert jax.vmap(value)(jnp.array([0.1, 0.7])).shape == (2,)


@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_batch_axes_are_free(rng, lead):
    q, k, v = (draw(rng, (*lead, *shape)) for shape in ((3, 2, 4), (5, 2, 4), (5, 2, 3)))
    bias, mask = draw(rng, (*lead, 2, 3, 5)), jnp.asarray(rng.random((*(1 for _ in lead), 1, 1, 5)) < 0.7)
    y = nn.dot_product_attention(q, k, v, bias=bias, mask=mask)
    flat = [np.asarray(x).reshape(-1, *x.shape[len(lead) :]) for x in (q, k, v, bias)]
    wanted = loops(
        *flat[:3], np.zeros((len(flat[0]), 3, 2, 3)), bias=flat[3], mask=np.asarray(mask).reshape(1, 1, 1, 5)
    )
    assert_close(y, wanted[0].reshape(y.shape), length=8)


@pytest.mark.parametrize(
    ("sizes", "causal"),
    [
        ({"s": 0}, False), ({"s": 0}, True), ({"t": 0}, True), ({"b": 0}, False), ({"d": 0}, False), ({"e": 0}, False),
        ({"s": 1, "t": 1, "n": 1, "m": 1}, True),
    ],
)  # fmt: skip
def test_empty_axes_give_zeros_or_nothing(rng, sizes, causal):
    data = sequences(rng, **sizes)
    scores = (data[0].shape[0], data[0].shape[2], data[0].shape[1], data[1].shape[1])
    options = {"causal": causal, "scale": 1.0, "mask": jnp.ones(scores, bool), "bias": jnp.zeros(scores)}
    check(both(*data, **options), loops(*data, **options))


def test_scores_and_values_of_any_size_do_not_overflow(rng):
    q, k = (jnp.asarray(x, jnp.float32).reshape(-1, 1, 1) for x in ([3e19, -3e19], [1e19, -1e19, 5e18]))
    v = jnp.full((3, 1, 1), 3e38)
    y, pull = jax.vjp(nn.dot_product_attention, q, k, v)
    assert_close(y, np.full((2, 1, 1), 3e38))
    assert all(np.isfinite(part).all() for part in pull(jnp.ones_like(y)))


def test_compiled_code_subtracts_the_maximum_that_it_found(rng):
    # A score of 10¹⁷ is rounded by up to 10⁹; were it rounded elsewhere otherwise, its exponential would be inf or 0.
    q, k, v, dy = sequences(rng, n=2, d=3)
    y, dq, dk, dv, _ = both(3e8 * q, 3e8 * k, v, dy)
    wanted = loops(3e8 * q, 3e8 * k, v, dy)
    assert_close(y, wanted[0], length=8)
    assert_close(dv, wanted[3], length=8)
    assert np.isfinite(dq).all()
    assert np.isfinite(dk).all()


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_bias_and_mask_broadcast_by_numpys_rules(rng, axes):
    # Four heads and three queries for two examples: an axis that is missing is not taken for another one.
    q, k, v, dy = sequences(rng)
    shape = (2, 4, 3, 4)[4 - axes :]
    bias, mask = draw(rng, shape), jnp.asarray(rng.random(shape) < 0.7)
    y, *gradients = both(q, k, v, dy, bias=bias, mask=mask)
    *wanted, dbias = loops(q, k, v, dy, bias=bias, mask=mask)
    summed = dbias.sum(tuple(range(4 - axes)))
    for got, want in zip((y, *gradients), (*wanted, summed), strict=True):
        assert_close(got, want, scale=1, length=8)


def test_an_infinite_bias_takes_all_the_weight(rng):
    q, k, v, dy = sequences(rng, n=2)
    bias = jnp.zeros((1, 1, 1, 4)).at[..., 2].set(INF)
    y, *gradients = both(q, k, v, dy, bias=bias)
    assert_close(y, jnp.broadcast_to(v[:, 2:3], y.shape))
    assert all(np.isfinite(part).all() for part in gradients)


def test_a_hessian_exists_under_a_mask_and_a_softcap(rng):
    q, k, v, _ = sequences(rng, b=1, t=2, s=3, n=1, m=1, d=2, e=1)
    mask = jnp.asarray([[True, False, True], [False] * 3])[None, None]
    value = lambda k: nn.dot_product_attention(q, k, v, mask=mask, softcap=2.0).sum()
    hessian = np.asarray(jax.jit(jax.hessian(value))(k)).reshape(6, 6)
    assert np.isfinite(hessian).all()
    assert_close(hessian, hessian.T, dtype="float32", scale=1)
    assert hessian.any()
    assert not hessian[2:4].any()
