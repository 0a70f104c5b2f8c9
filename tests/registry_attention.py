"""Attention and what goes with it, enrolled."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import nn
from tests.enrolment import INF, KEY, NO_KEY, Bad, Entry, key_of, normal, option, refuses_kinds, replace


def draw_scores(d, lead, heads, time, keys):
    """A bias or mask, or both: axes of the scores' size or of size 1, but for the batch."""
    shape = (heads, time, keys)
    given = d.choose((), ("mask",), ("bias",), ("bias", "mask"))
    shapes = {name: (*lead, *(n if d.choose(True, False) else 1 for n in shape)) for name in given}
    if "bias" in shapes:
        # One for all keys changes nothing: its gradient is rounding around 0, which no difference quotient resolves.
        shapes["bias"] = (*shapes["bias"][:-1], keys)

    def make(rng, dtype):
        made = {
            "bias": lambda shape: normal(rng, dtype, *shape),
            "mask": lambda shape: jnp.asarray(rng.random(shape) < 0.7),
        }
        return tuple(made[name](shape) for name, shape in shapes.items())

    return given, make


def draw_attention(d):
    lead, time, keys, width, out = d.lead(), d.size(most=5), d.size(most=5), d.size(most=4), d.size(most=4)
    heads, group = d.choose(2, 1, 3), d.choose(1, 2, 3)
    given, extras = draw_scores(d, lead, heads * group, time, keys)
    options = d.options(causal=(True,), scale=(0.5, -1.0, 0.0), softcap=(2.0, 0.25))

    def make(rng, dtype):
        return (
            normal(rng, dtype, *lead, time, heads * group, width),
            normal(rng, dtype, *lead, keys, heads, width),
            normal(rng, dtype, *lead, keys, heads, out),
            *extras(rng, dtype),
        )

    def function(q, k, v, *extras, **options):
        return nn.dot_product_attention(q, k, v, **dict(zip(given, extras, strict=True)), **options)

    return {
        "function": function,
        "make": make,
        "options": options,
        "batched": d.batched(*range(3 + len(given))),
        "smooth": (0, 1, 2, 3) if "bias" in given else (0, 1, 2),
    }


def projections(rng, dtype, shapes, biases=("query", "key", "value", "out")):
    return {
        part: {"kernel": normal(rng, dtype, *shape) / 2}
        | ({"bias": normal(rng, dtype, shape[1])} if part in biases else {})
        for part, shape in shapes.items()
    }


def draw_multi_head(d):
    lead, time, width = d.lead(), d.size(most=4), d.size(most=4)
    heads, group, each, out = d.choose(2, 1), d.choose(1, 2), d.choose(2, 4), d.size(most=4)
    # A bias of the keys adds as much to all scores of a query, and changes nothing: its gradient is rounding around 0.
    crossed, biases = d.flag(), d.choose(("query", "value", "out"), ())
    keys, other, own = (d.size(most=4), d.size(most=4), d.size(most=3)) if crossed else (time, width, each)
    options = {"heads": heads * group} | ({"key_heads": heads} if group > 1 else {})
    options |= d.options(causal=(True,), scale=(0.5,), softcap=(2.0,))
    if not crossed:
        options |= d.options(positions=(jnp.arange(time),), base=(100.0,), interleaved=(True,))
    given, extras = draw_scores(d, lead, heads * group, time, keys)
    given = (("context",) if crossed else ()) + given

    def make(rng, dtype):
        shapes = {
            "query": (width, heads * group * each),
            "key": (other, heads * each),
            "value": (other, heads * own),
            "out": (heads * group * own, out),
        }
        params = projections(rng, dtype, shapes, biases)
        context = (normal(rng, dtype, *lead, keys, other),) if crossed else ()
        return (params, normal(rng, dtype, *lead, time, width), *context, *extras(rng, dtype))

    def function(params, x, *extras, **options):
        return nn.multi_head_attention(params, x, **dict(zip(given, extras, strict=True)), **options)

    return {
        "function": function,
        "make": make,
        "options": options,
        "batched": d.batched(*range(1, 2 + len(given))),
        "smooth": (0, 1, *(2 + place for place, name in enumerate(given) if name != "mask")),
    }


def draw_multi_head_init(d):
    heads = d.choose(2, 1, 4)
    options = {"heads": heads} | d.options(
        key_heads=(1, heads), head_features=(3,), context_features=(5,), out_features=(1,), use_bias=(False,),
        dtype=(jnp.bfloat16,),
    )  # fmt: skip
    features = heads * d.size(most=3)
    return {"make": lambda rng, dtype: (key_of(rng), features), "options": options}


def draw_rotary(d):
    lead, time, heads, width = d.lead(), d.size(), d.size(most=3), 2 * d.choose(2, 1, 3, 4)
    kind = d.choose("one for each", "shared", "floating")
    shape = (time,) if kind == "shared" else (*lead, time)
    options = d.options(base=(100.0, 1.0, 500_000.0), interleaved=(True,))

    def make(rng, dtype):
        # Half precision is not enough for a position.
        wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
        drawn = 4 * normal(rng, wide, *shape) if kind == "floating" else None
        places = jnp.asarray(rng.integers(-100, 100, shape), jnp.int32) if drawn is None else drawn
        return normal(rng, dtype, *lead, time, heads, width), places

    return {
        "make": make,
        "options": options,
        "batched": d.batched(0) if kind == "shared" else d.batched(0, 1),
        "smooth": (0, 1) if kind == "floating" else (0,),
    }


def attention_params(rng, dtype):
    return projections(rng, dtype, {"query": (6, 8), "key": (6, 4), "value": (6, 4), "out": (8, 5)})


def without(*path):
    """An edit: params that lack a leaf, or a whole map."""

    def change(args, options):
        if len(path) == 1:
            args[0] = {name: leaf for name, leaf in args[0].items() if name != path[0]}
        else:
            args[0] = args[0] | {path[0]: {name: leaf for name, leaf in args[0][path[0]].items() if name != path[1]}}

    return change


def leaf(part, name, value):
    """An edit: another leaf in the params."""

    def change(args, options):
        args[0] = args[0] | {part: args[0][part] | {name: value(args[0][part][name])}}

    return change


ATTENTION: tuple[Entry, ...] = (
    Entry(
        "nn.dot_product_attention",
        nn.dot_product_attention,
        lambda rng, dtype: (
            normal(rng, dtype, 2, 3, 4, 5),
            normal(rng, dtype, 2, 6, 2, 5),
            normal(rng, dtype, 2, 6, 2, 3),
        ),
        batched=(0, 1, 2),
        smooth=(0, 1, 2),
        # What a query gets back multiplies values and keys.
        degree=2,
        bad=(
            *refuses_kinds(0, "q"),
            *refuses_kinds(1, "k"),
            *refuses_kinds(2, "v"),
            Bad("q", ValueError, replace(0, jnp.ones((3, 4)))),
            Bad("k", TypeError, replace(1, jnp.ones((2, 6, 2, 5), jnp.bfloat16))),
            Bad("k", ValueError, replace(1, jnp.ones((2, 6, 2, 4)))),
            Bad("k", ValueError, replace(1, jnp.ones((1, 6, 2, 5)))),
            Bad("k", ValueError, replace(1, jnp.ones((6, 2, 5)))),
            Bad("k", ValueError, replace(1, jnp.ones((2, 6, 3, 5)))),
            Bad("k", ValueError, replace(1, jnp.ones((2, 6, 0, 5)))),
            Bad("v", ValueError, replace(2, jnp.ones((2, 6, 1, 3)))),
            Bad("v", ValueError, replace(2, jnp.ones((2, 5, 2, 3)))),
            Bad("bias", TypeError, option(bias=jnp.ones((2, 4, 3, 6), int))),
            Bad("bias", TypeError, option(bias=jnp.ones((2, 4, 3, 6), jnp.bfloat16))),
            Bad("bias", ValueError, option(bias=jnp.ones((2, 6)))),
            Bad("bias", ValueError, option(bias=jnp.ones((1, 2, 4, 3, 6)))),
            Bad("bias", ValueError, option(bias=jnp.ones((2, 2, 3, 6)))),
            Bad("mask", TypeError, option(mask=jnp.ones((2, 4, 3, 6)))),
            Bad("mask", ValueError, option(mask=jnp.ones((2, 6), bool))),
            Bad("mask", ValueError, option(mask=jnp.ones((2, 1, 6, 3), bool))),
            Bad("causal", TypeError, option(causal=1)),
            Bad("scale", ValueError, option(scale=INF)),
            Bad("scale", TypeError, option(scale=jnp.ones(4))),
            Bad("softcap", ValueError, option(softcap=0.0)),
            Bad("softcap", TypeError, option(softcap="soft")),
        ),
        heavy=True,
        draw=draw_attention,
    ),
    Entry(
        "nn.multi_head_attention_init",
        nn.multi_head_attention_init,
        lambda rng, dtype: (key_of(rng), 8),
        options={"heads": 4},
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("features", ValueError, replace(1, 0)),
            Bad("features", TypeError, replace(1, 8.0)),
            Bad("heads", ValueError, option(heads=0)),
            Bad("heads", ValueError, option(heads=3)),
            Bad("heads", TypeError, option(heads=2.0)),
            Bad("key_heads", ValueError, option(key_heads=3)),
            Bad("key_heads", TypeError, option(key_heads="one")),
            Bad("head_features", ValueError, option(head_features=0)),
            Bad("context_features", ValueError, option(context_features=-1)),
            Bad("out_features", TypeError, option(out_features=2.5)),
            Bad("dtype", TypeError, option(dtype=jnp.int32)),
        ),
        draw=draw_multi_head_init,
    ),
    Entry(
        "nn.multi_head_attention",
        nn.multi_head_attention,
        lambda rng, dtype: (attention_params(rng, dtype), normal(rng, dtype, 2, 3, 6)),
        options={"heads": 4, "key_heads": 2},
        batched=(1,),
        smooth=(0, 1),
        # What the queries' kernel gets multiplies the input, the values and the keys.
        degree=3,
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones(6))),
            Bad("x", ValueError, replace(1, jnp.ones((2, 3, 5)))),
            Bad("params", TypeError, replace(0, jnp.ones((6, 8)))),
            Bad("params", ValueError, without("out")),
            Bad("params['key']", ValueError, without("key", "kernel")),
            Bad("params['value']", ValueError, lambda args, options: args[0].update(value=jnp.ones((6, 4)))),
            Bad("params['query']['kernel']", ValueError, leaf("query", "kernel", lambda x: x.reshape(6, 4, 2))),
            Bad("params['key']['kernel']", TypeError, leaf("key", "kernel", lambda x: x.astype(jnp.bfloat16))),
            Bad("params['out']['kernel']", ValueError, leaf("out", "kernel", lambda x: x[:7])),
            Bad("params['value']['bias']", ValueError, leaf("value", "bias", lambda x: x[:1])),
            Bad("params['out']['bias']", TypeError, leaf("out", "bias", lambda x: x.astype(jnp.float16))),
            Bad("heads", ValueError, option(heads=6)),
            Bad("heads", TypeError, option(heads=4.0)),
            Bad("key_heads", ValueError, option(key_heads=3)),
            Bad("key_heads", ValueError, option(key_heads=None)),
            Bad("key_heads", ValueError, option(key_heads=1)),
            Bad("context", TypeError, option(context=jnp.ones((2, 4, 6), int))),
            Bad("context", TypeError, option(context=jnp.ones((2, 4, 6), jnp.float16))),
            Bad("context", ValueError, option(context=jnp.ones((4, 6)))),
            Bad("context", ValueError, option(context=jnp.ones((2, 4, 5)))),
            Bad("positions", ValueError, option(context=jnp.ones((2, 4, 6)), positions=jnp.arange(3))),
            Bad("positions", ValueError, option(positions=jnp.arange(4))),
            Bad("base", ValueError, option(positions=jnp.arange(3), base=0.5)),
            Bad("interleaved", TypeError, option(positions=jnp.arange(3), interleaved=None)),
            Bad("bias", ValueError, option(bias=jnp.ones((2, 2, 3, 3)))),
            Bad("mask", TypeError, option(mask=jnp.ones((2, 1, 3, 3)))),
            Bad("causal", TypeError, option(causal="yes")),
            Bad("scale", TypeError, option(scale="large")),
            Bad("softcap", ValueError, option(softcap=-1.0)),
        ),
        heavy=True,
        draw=draw_multi_head,
    ),
    Entry(
        "nn.rotary_embedding",
        nn.rotary_embedding,
        lambda rng, dtype: (normal(rng, dtype, 2, 3, 2, 4), jnp.asarray(rng.integers(0, 100, (2, 3)), jnp.int32)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("x", ValueError, replace(0, jnp.ones((2, 3, 2, 3)))),
            Bad("x", ValueError, replace(0, jnp.ones((2, 4)))),
            Bad("positions", TypeError, replace(1, jnp.ones((2, 3), jnp.bfloat16))),
            Bad("positions", TypeError, replace(1, jnp.ones((2, 3), jnp.float16))),
            Bad("positions", TypeError, replace(1, jnp.ones((2, 3), bool))),
            Bad("positions", TypeError, replace(1, [0, 1, 2])),
            Bad("positions", ValueError, replace(1, jnp.arange(2))),
            Bad("positions", ValueError, replace(1, jnp.zeros((3, 3), int))),
            Bad("positions", ValueError, replace(1, jnp.zeros((2, 1), int))),
            Bad("positions", ValueError, replace(1, 0)),
            Bad("base", ValueError, option(base=0.5)),
            Bad("base", TypeError, option(base=jnp.ones(()))),
            Bad("interleaved", TypeError, option(interleaved=1)),
        ),
        draw=draw_rotary,
    ),
)
