from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore._tree import paths
from tests.tolerance import FLOATS, assert_close

INF = np.inf


def draw(rng, shape, dtype="float32"):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def random_like(rng, tree):
    return jax.tree.map(lambda leaf: draw(rng, leaf.shape, leaf.dtype) / 2, tree)


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def head_by_head(params, x, z, *, heads, key_heads=None, allowed=True, scale=None):
    """Matrices of one head at a time, in float64."""
    m = key_heads or heads
    wide = lambda a: np.asarray(a).astype(np.float64)
    x, z, p = wide(x), wide(z), jax.tree.map(wide, params)
    mapped = {
        part: source @ p[part]["kernel"] + p[part].get("bias", 0)
        for part, source in (("query", x), ("key", z), ("value", z))
    }
    d, e = mapped["key"].shape[-1] // m, mapped["value"].shape[-1] // m
    y = 0
    for head in range(heads):
        g = head // (heads // m)
        q = mapped["query"][..., head * d : head * d + d]
        k, v = mapped["key"][..., g * d : g * d + d], mapped["value"][..., g * e : g * e + e]
        scores = (d**-0.5 if scale is None else scale) * q @ np.swapaxes(k, -1, -2)
        scores = np.where(allowed, scores, -INF)
        y = y + softmax(scores) @ v @ p["out"]["kernel"][head * e : head * e + e]
    return y + p["out"].get("bias", 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_self_attention_is_the_sum_of_its_heads(rng, key, dtype, x64):
    params = random_like(rng, nn.multi_head_attention_init(key, 6, heads=3, dtype=dtype))
    x = draw(rng, (2, 4, 6), dtype)
    y = jax.jit(partial(nn.multi_head_attention, heads=3))(params, x)
    assert y.dtype == dtype
    # q, k, v and the heads are each rounded to the dtype on their way.
    assert_close(y, head_by_head(params, x, x, heads=3), length=36, scale=4)


def test_attention_to_a_context_of_another_width_and_length(rng, key):
    options = {"heads": 4, "key_heads": 2}
    params = nn.multi_head_attention_init(key, 6, head_features=3, context_features=5, out_features=7, **options)
    params = random_like(rng, params)
    x, z = draw(rng, (2, 4, 6)), draw(rng, (2, 3, 5))
    mask = jnp.asarray([[True, True, False], [False, True, True]])[:, None, None, :]
    y = jax.jit(partial(nn.multi_head_attention, scale=0.4, **options))(params, x, context=z, mask=mask)
    wanted = head_by_head(params, x, z, allowed=np.asarray(mask)[:, 0], scale=0.4, **options)
    assert_close(y, wanted, length=36, scale=4)


def test_values_may_be_wider_than_keys(rng):
    widths = {"query": (6, 4), "key": (6, 4), "value": (6, 10), "out": (10, 6)}
    params = {part: {"kernel": draw(rng, shape) / 2} for part, shape in widths.items()}
    x = draw(rng, (3, 6))
    assert_close(nn.multi_head_attention(params, x, heads=2), head_by_head(params, x, x, heads=2), length=36, scale=4)


def test_options_reach_the_attention_between_the_maps(rng, key):
    params, x = random_like(rng, nn.multi_head_attention_init(key, 4, heads=2)), draw(rng, (2, 3, 4))
    split = lambda part: nn.dense(params[part], x).reshape(2, 3, 2, 2)
    options = {
        "bias": draw(rng, (1, 2, 3, 3)), "mask": jnp.asarray(rng.random((2, 1, 1, 3)) < 0.7), "causal": True,
        "scale": 2.0, "softcap": 0.5,
    }  # fmt: skip
    y = nn.dot_product_attention(split("query"), split("key"), split("value"), **options)
    wanted = nn.dense(params["out"], y.reshape(2, 3, 4))
    assert_close(nn.multi_head_attention(params, x, heads=2, **options), wanted, length=16)


def test_positions_turn_queries_and_keys_but_not_values(rng, key):
    params, x = random_like(rng, nn.multi_head_attention_init(key, 8, heads=2)), draw(rng, (2, 3, 8))
    positions, options = jnp.asarray(rng.integers(0, 9, (2, 3)), jnp.int32), {"base": 100.0, "interleaved": True}
    split = lambda part: nn.dense(params[part], x).reshape(2, 3, 2, 4)
    turn = lambda part: nn.rotary_embedding(split(part), positions, **options)
    y = nn.dot_product_attention(turn("query"), turn("key"), split("value"))
    wanted = nn.dense(params["out"], y.reshape(2, 3, 8))
    assert_close(nn.multi_head_attention(params, x, heads=2, positions=positions, **options), wanted, length=36)


def test_without_positions_steps_have_no_order(rng, key):
    params, x = random_like(rng, nn.multi_head_attention_init(key, 8, heads=2)), draw(rng, (5, 8))
    order = rng.permutation(5)
    y = nn.multi_head_attention(params, x, heads=2)
    assert_close(nn.multi_head_attention(params, x[order], heads=2), y[order], length=16)
    turned = partial(nn.multi_head_attention, params, heads=2, positions=jnp.arange(5))
    assert np.abs(turned(x[::-1]) - turned(x)[::-1]).max() > 0.01
    # Only differences of positions count.
    shifted = nn.multi_head_attention(params, x, heads=2, positions=jnp.arange(5) + 100)
    assert_close(shifted, turned(x), length=36)


def test_a_query_that_may_look_nowhere_gives_the_bias_of_the_last_map(rng, key):
    params, x = random_like(rng, nn.multi_head_attention_init(key, 4, heads=2)), draw(rng, (3, 4))
    mask = jnp.asarray([True, False, True]).reshape(1, 3, 1)
    y = nn.multi_head_attention(params, x.at[1].set(np.nan), heads=2, mask=mask & mask.reshape(1, 1, 3))
    np.testing.assert_array_equal(y[1], params["out"]["bias"])
    assert np.isfinite(y).all()


def test_the_parameters_are_four_dense_layers_drawn_apart(key):
    params = nn.multi_head_attention_init(key, 200, heads=4, key_heads=2, context_features=300, out_features=7)
    assert {path: leaf.shape for path, leaf in paths(params).items()} == {
        "query/kernel": (200, 200), "query/bias": (200,), "key/kernel": (300, 100), "key/bias": (100,),
        "value/kernel": (300, 100), "value/bias": (100,), "out/kernel": (200, 7), "out/bias": (7,),
    }  # fmt: skip
    assert not np.array_equal(params["key"]["kernel"], params["value"]["kernel"])
    assert jnp.std(params["query"]["kernel"]) == pytest.approx(200**-0.5, rel=0.05)
    assert jnp.std(params["key"]["kernel"]) == pytest.approx(300**-0.5, rel=0.05)
    assert not any(params[part]["bias"].any() for part in params)
    bare = nn.multi_head_attention_init(jax.random.clone(key), 8, heads=2, use_bias=False, dtype=jnp.bfloat16)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(bare)} == {"bfloat16"}
    assert not any(path.endswith("bias") for path in paths(bare))


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)])
def test_empty_batches_and_sequences_are_kept(key, shape):
    params = nn.multi_head_attention_init(key, 4, heads=2)
    assert nn.multi_head_attention(params, jnp.ones(shape), heads=2, causal=True).shape == shape


def test_an_empty_context_gives_the_bias_of_the_last_map(rng, key):
    params = random_like(rng, nn.multi_head_attention_init(key, 4, heads=2))
    y = nn.multi_head_attention(params, jnp.ones((3, 4)), heads=2, context=jnp.ones((0, 4)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(params["out"]["bias"], (3, 4)))
