"""The layers of dlcore.nn that have no windows, enrolled."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from dlcore import nn
from tests.enrolment import (
    INF,
    KEY,
    NO_KEY,
    Bad,
    Entry,
    dense_params,
    key_of,
    norm_params,
    norm_state,
    normal,
    option,
    refuses_kinds,
    replace,
)


def draw_sizes():
    """Whether an initialiser's float dtype, too, is another one."""

    def draw(d):
        first, second = d.size(), d.size()
        options = d.options(dtype=(jnp.bfloat16, jnp.float16))
        return {"make": lambda rng, dtype: (key_of(rng), first, second), "options": options}

    return draw


def draw_dense(d):
    lead, rest, width, out = d.lead(), d.shape(0, 1), d.size(), d.size()
    bias = {"bias": (out,)} if d.choose(True, False) else {}

    def make(rng, dtype):
        params = {name: normal(rng, dtype, *shape) for name, shape in ({"kernel": (width, out)} | bias).items()}
        return params, normal(rng, dtype, *lead, *rest, width)

    return {"make": make, "batched": d.batched(1)}


def draw_embedding(d):
    lead, rest, rows, width = d.lead(), d.shape(0, 1), d.size(), d.size()

    def make(rng, dtype):
        return {"kernel": normal(rng, dtype, rows, width)}, jnp.asarray(rng.integers(0, rows, lead + rest), jnp.int32)

    return {"make": make, "batched": d.batched(1)}


def draw_norm_init(d):
    width, options = d.size(), d.options(dtype=(jnp.bfloat16, jnp.float16))
    return {"make": lambda rng, dtype: (width,), "options": options}


def draw_batch_norm(d):
    """The shape of x, and its parameters: both, one, or none."""
    width = d.size()
    leaves = d.choose(("scale", "offset"), (), ("scale",), ("offset",))

    def params(rng, dtype):
        return {name: normal(rng, dtype, width) for name in leaves}

    def state(rng, dtype):
        # float32 at least: running averages need the digits.
        wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
        return nn.BatchNormState(normal(rng, wide, width), jnp.asarray(rng.uniform(0.5, 2.0, width), wide))

    return (*d.lead(), *d.shape(0, 2), width), params, state


def draw_batch_norm_train(d):
    shape, params, state = draw_batch_norm(d)
    if math.prod(shape[:-1]) < 2:
        shape = (*shape[:-1], 3, shape[-1])
    masked, options = d.flag(), d.options(decay=(0.5, 0.0, 1.0), epsilon=(1e-3,))

    def make(rng, dtype):
        args = (params(rng, dtype), state(rng, dtype), normal(rng, dtype, *shape))
        return (*args, jnp.asarray(rng.random(shape[:-1]) < 0.8)) if masked else args

    def function(params, state, x, where=None, **options):
        return nn.batch_norm_train(params, state, x, where=where, **options)

    batched = d.batched(2, 3) if masked else d.batched(2)
    return {"function": function, "make": make, "options": options, "batched": batched}


def draw_batch_norm_eval(d):
    shape, params, state = draw_batch_norm(d)
    make = lambda rng, dtype: (params(rng, dtype), state(rng, dtype), normal(rng, dtype, *shape))
    return {"make": make, "options": d.options(epsilon=(1e-3,)), "batched": d.batched(2)}


def draw_dropout(d):
    shape = d.lead() + d.shape(1, 2)
    axes = tuple(axis for axis in range(-len(shape), 0) if d.choose(False, False, True))
    return {
        "make": lambda rng, dtype: (key_of(rng), normal(rng, dtype, *shape)),
        "options": {"rate": d.choose(0.25, 0.5, 0.0, 1.0, 0.875), "broadcast_axes": axes},
        "batched": d.batched(1),
    }


def draw_softmax(function):
    def draw(d):
        lead, rest = d.lead(), d.shape(1, 2)
        axis, masked = d.choose(*range(-1, -len(rest) - 1, -1)), d.flag()
        options = d.options(temperature=(2.0, 0.25)) | ({} if axis == -1 else {"axis": axis})

        def make(rng, dtype):
            x = normal(rng, dtype, *lead, *rest)
            return (x, jnp.asarray(rng.random(x.shape) < 0.7)) if masked else (x,)

        def run(x, where=None, **options):
            y = function(x, where=where, **options)
            # What is left out is 0 or −inf, as tests/nn/test_softmax.py says; the latter has no difference quotient.
            return y if where is None else jnp.where(where, y, 0)

        return {
            "function": run,
            "make": make,
            "options": options,
            "batched": d.batched(0, 1) if masked else d.batched(0),
        }

    return draw


LAYERS: tuple[Entry, ...] = (
    Entry(
        "nn.dense_init",
        nn.dense_init,
        lambda rng, dtype: (key_of(rng), 4, 3),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("in_features", ValueError, replace(1, 0)),
            Bad("out_features", TypeError, replace(2, 2.5)),
            Bad("dtype", TypeError, option(dtype=jnp.int32)),
        ),
        draw=draw_sizes(),
    ),
    Entry(
        "nn.dense",
        nn.dense,
        lambda rng, dtype: (dense_params(rng, dtype), normal(rng, dtype, 5, 4)),
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones((5, 7)))),
            Bad("params", TypeError, replace(0, jnp.ones((4, 3)))),
            Bad("params", ValueError, replace(0, {"weight": jnp.ones((4, 3))})),
            Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones((4, 3), jnp.bfloat16)})),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones((1, 4, 3))})),
            Bad("params['bias']", ValueError, replace(0, {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(4)})),
        ),
        draw=draw_dense,
    ),
    Entry(
        "nn.embedding_init",
        nn.embedding_init,
        lambda rng, dtype: (key_of(rng), 6, 3),
        dtypes=(),
        bad=(KEY, NO_KEY, Bad("vocabulary", ValueError, replace(1, 0)), Bad("features", ValueError, replace(2, -1))),
        draw=draw_sizes(),
    ),
    Entry(
        "nn.embedding",
        nn.embedding,
        lambda rng, dtype: ({"kernel": normal(rng, dtype, 6, 3)}, jnp.asarray(rng.integers(0, 6, 5), jnp.int32)),
        batched=(1,),
        smooth=(0,),
        bad=(
            Bad("ids", TypeError, replace(1, jnp.ones(5))),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones(6)})),
            Bad("params", ValueError, replace(0, {})),
        ),
        draw=draw_embedding,
    ),
    Entry(
        "nn.batch_norm_init",
        nn.batch_norm_init,
        lambda rng, dtype: (4,),
        dtypes=(),
        bad=(Bad("features", ValueError, replace(0, 0)), Bad("dtype", TypeError, option(dtype=int))),
        draw=draw_norm_init,
    ),
    Entry(
        "nn.batch_norm_train",
        nn.batch_norm_train,
        lambda rng, dtype: (norm_params(rng, dtype), norm_state(), normal(rng, dtype, 5, 3, 4)),
        batched=(2,),
        smooth=(0, 2),
        independent=False,
        bad=(
            *refuses_kinds(2, "x"),
            Bad("x", ValueError, replace(2, jnp.ones((5, 3)))),
            Bad("x", ValueError, replace(2, jnp.ones((1, 4)))),
            Bad("state", TypeError, replace(1, {})),
            Bad("params['scale']", ValueError, replace(0, {"scale": jnp.ones(3)})),
            Bad("params", ValueError, replace(0, {"kernel": jnp.ones(4)})),
            Bad("decay", ValueError, option(decay=1.5)),
            Bad("epsilon", ValueError, option(epsilon=0.0)),
            Bad("where", TypeError, option(where=jnp.ones((5, 3)))),
            Bad("where", ValueError, option(where=jnp.ones((3, 5), bool))),
        ),
        draw=draw_batch_norm_train,
    ),
    Entry(
        "nn.batch_norm_eval",
        nn.batch_norm_eval,
        lambda rng, dtype: (norm_params(rng, dtype), norm_state(), normal(rng, dtype, 5, 3, 4)),
        batched=(2,),
        smooth=(0, 2),
        bad=(
            *refuses_kinds(2, "x"),
            Bad("x", ValueError, replace(2, jnp.ones((5, 3)))),
            Bad("state", TypeError, replace(1, None)),
            Bad("epsilon", ValueError, option(epsilon=-1.0)),
        ),
        draw=draw_batch_norm_eval,
    ),
    Entry(
        "nn.dropout",
        nn.dropout,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
        options={"rate": 0.3},
        batched=(1,),
        smooth=(1,),
        independent=False,
        bad=(
            KEY,
            NO_KEY,
            *refuses_kinds(1, "x"),
            Bad("key", ValueError, replace(0, lambda key: jax.random.split(key))),
            Bad("rate", ValueError, option(rate=1.5)),
            Bad("rate", ValueError, option(rate=-0.1)),
            Bad("rate", TypeError, option(rate="half")),
            Bad("rate", TypeError, option(rate=jnp.ones(2))),
            Bad("broadcast_axes", ValueError, option(broadcast_axes=(2,))),
        ),
        draw=draw_dropout,
    ),
    Entry(
        "nn.softmax",
        nn.softmax,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        batched=(0,),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("axis", ValueError, option(axis=2)),
            Bad("axis", ValueError, replace(0, jnp.float32(1.0))),
            Bad("temperature", ValueError, option(temperature=0.0)),
            Bad("where", TypeError, option(where=jnp.ones((5, 4)))),
            Bad("where", ValueError, option(where=jnp.ones(4, bool))),
        ),
        draw=draw_softmax(nn.softmax),
    ),
    Entry(
        "nn.log_softmax",
        nn.log_softmax,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        options={"temperature": 2.0},
        batched=(0,),
        smooth=(0,),
        bad=(*refuses_kinds(0, "x"), Bad("temperature", ValueError, option(temperature=INF))),
        draw=draw_softmax(nn.log_softmax),
    ),
)
