"""Pooling that keeps places, norms, whole or given sizes, and transposed convolution, enrolled."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from dlcore import nn
from tests.enrolment import KEY, NO_KEY, Bad, Entry, key_of, normal, option, refuses_kinds, replace
from tests.registry_windows import draw_conv_init, draw_global_pool, draw_pool


def draw_unpool(d):
    lead, sizes, channels = d.lead(), d.shape(1, 3), d.size(most=3)
    space = tuple(d.choose(*range(1, n + 1)) for n in sizes)
    repeated = d.flag()
    shape = sizes[0] if len(sizes) == 1 and d.flag() else sizes

    def make(rng, dtype):
        return normal(rng, dtype, *lead, *space, channels), places(rng, lead, space, channels, sizes, repeated), shape

    return {"make": make, "batched": d.batched(0, 1)}


def places(rng, lead, space, channels, sizes, repeated):
    """Indices into `sizes`, each once in a channel, or drawn at random."""
    count, room = math.prod(space), math.prod(sizes)
    maps = [
        rng.integers(0, room, count) if repeated else rng.permutation(room)[:count]
        for _ in range(math.prod(lead) * channels)
    ]
    flat = np.stack(maps).reshape(*lead, channels, count)
    return jnp.asarray(np.moveaxis(flat, -2, -1).reshape(*lead, *space, channels), jnp.int32)


def draw_adaptive_pool(d):
    lead, sizes, channels = d.lead(), d.shape(1, 3), d.size(most=3)
    asked = tuple(d.choose(2, 1, 3, None, 5, 8) for _ in sizes)
    given = asked[0] if len(asked) == 1 and asked[0] is not None and d.flag() else asked
    return {
        "make": lambda rng, dtype: (normal(rng, dtype, *lead, *sizes, channels), given),
        "batched": d.batched(0),
    }


def draw_conv_transpose(d):
    lead, count, groups = d.lead(), d.choose(2, 1, 3), d.choose(1, 2, 3)
    most = {1: 5, 2: 3, 3: 2}[count]
    window, strides, dilation, sizes = (
        tuple(d.choose(*values) for _ in range(count))
        for values in ((2, 1, 3), (1, 2, 3), (1, 2, 3)[: 4 - count], (*range(2, most + 1), 1))
    )
    extents = [(k - 1) * s + 1 for k, s in zip(window, dilation, strict=True)]
    kind = d.choose("SAME", "VALID", "SAME_LOWER", "explicit", *(("CAUSAL",) if count == 1 else ()))
    options = {"padding": kind, "strides": strides, "dilation": dilation}
    if kind in ("explicit", "VALID"):
        options["output_padding"] = tuple(d.choose(*range(max(s, e))) for s, e in zip(strides, dilation, strict=True))
    if kind == "explicit":
        pairs = []
        for n, s, e, more in zip(sizes, strides, extents, options["output_padding"], strict=True):
            room = (n - 1) * s + e + more - 1
            low = d.choose(*range(min(room, 2) + 1))
            pairs.append((low, d.choose(*range(min(room - low, 2) + 1))))
        options["padding"] = tuple(pairs)
    inside, out = groups * d.choose(1, 2), d.choose(2, 1)
    bias = {"bias": (groups * out,)} if d.choose(True, False) else {}

    def make(rng, dtype):
        shapes = {"kernel": (*window, out, inside)} | bias
        params = {name: normal(rng, dtype, *shape) for name, shape in shapes.items()}
        return params, normal(rng, dtype, *lead, *sizes, inside)

    return {"make": make, "options": options | ({"groups": groups} if groups > 1 else {}), "batched": d.batched(1)}


NO_NUMBERS = (
    Bad("x", TypeError, replace(0, "text")),
    Bad("x", TypeError, replace(0, lambda x: x > 0)),
    Bad("x", TypeError, replace(0, [1.0, 2.0])),
    Bad("x", TypeError, replace(0, lambda x: x.astype(jnp.complex64))),
)
TOO_SMALL = Bad(
    "x", ValueError, lambda args, options: (replace(1, (9, 9))(args, options), options.update(padding="VALID"))
)
SIZES = (
    *NO_NUMBERS,
    Bad("x", ValueError, replace(0, jnp.ones((6, 3)))),
    Bad("x", ValueError, replace(0, jnp.ones((2, 0, 6, 3)))),
    Bad("output_size", ValueError, replace(1, (2, 0))),
    Bad("output_size", TypeError, replace(1, ())),
    Bad("output_size", TypeError, replace(1, None)),
    Bad("output_size", TypeError, replace(1, "22")),
    Bad("output_size", TypeError, replace(1, (2.0, 2))),
)


def adaptive(name):
    return Entry(
        f"nn.{name}",
        getattr(nn, name),
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (3, 4)),
        batched=(0,),
        smooth=(0,),
        bad=SIZES,
        draw=draw_adaptive_pool,
    )


POOLING: tuple[Entry, ...] = (
    Entry(
        "nn.max_pool_with_indices",
        nn.max_pool_with_indices,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (2, 3)),
        options={"strides": (2, 1), "padding": "SAME"},
        batched=(0,),
        smooth=(0,),
        bad=(
            *NO_NUMBERS,
            TOO_SMALL,
            Bad("x", ValueError, replace(0, jnp.ones((6, 3)))),
            Bad("window", TypeError, replace(1, 2.0)),
            Bad("window", ValueError, replace(1, (2, 0))),
            Bad("padding", ValueError, option(padding=((2, 0), (0, 0)))),
            Bad("padding", ValueError, option(padding="same")),
            Bad("strides", TypeError, option(strides=1.5)),
            Bad("dilation", ValueError, option(dilation=(1, 1, 1))),
        ),
        draw=draw_pool(),
    ),
    Entry(
        "nn.max_unpool",
        nn.max_unpool,
        lambda rng, dtype: (normal(rng, dtype, 2, 2, 3, 3), places(rng, (2,), (2, 3), 3, (5, 6), False), (5, 6)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *NO_NUMBERS,
            Bad("x", ValueError, replace(0, jnp.ones((6, 3)))),
            Bad("indices", ValueError, replace(1, lambda indices: indices[:, :1])),
            Bad("indices", TypeError, replace(1, lambda indices: indices.astype(jnp.float32))),
            Bad("indices", TypeError, replace(1, None)),
            Bad("shape", ValueError, replace(2, (5, 0))),
            Bad("shape", TypeError, replace(2, ())),
            Bad("shape", TypeError, replace(2, 5.0)),
            Bad("shape", TypeError, replace(2, (5.0, 6))),
        ),
        draw=draw_unpool,
    ),
    Entry(
        "nn.lp_pool",
        nn.lp_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (2, 3)),
        options={"strides": (2, 1), "padding": "SAME"},
        batched=(0,),
        smooth=(0,),
        bad=(
            *NO_NUMBERS,
            TOO_SMALL,
            Bad("x", ValueError, replace(0, jnp.ones((6, 3)))),
            Bad("window", TypeError, replace(1, 2.0)),
            Bad("p", ValueError, option(p=0.5)),
            Bad("p", ValueError, option(p=float("nan"))),
            Bad("p", ValueError, option(p=-math.inf)),
            Bad("p", TypeError, option(p="2")),
            Bad("p", TypeError, option(p=True)),
            Bad("padding", ValueError, option(padding="FULL")),
            Bad("strides", ValueError, option(strides=0)),
        ),
        draw=draw_pool(p=(1, 3, math.inf, 4, 2.5)),
    ),
    Entry(
        "nn.global_max_pool",
        nn.global_max_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3),),
        options={"axes": (-3, -2)},
        batched=(0,),
        smooth=(0,),
        bad=(
            *NO_NUMBERS,
            Bad("axes", ValueError, option(axes=(1, 2))),
            Bad("axes", ValueError, option(axes=-1)),
            Bad("axes", ValueError, option(axes=(-2, -2))),
            Bad("axes", ValueError, option(axes=-5)),
            Bad("axes", TypeError, option(axes=())),
            Bad("x", ValueError, replace(0, jnp.ones((2, 0, 6, 3)))),
        ),
        draw=draw_global_pool,
    ),
    adaptive("adaptive_max_pool"),
    adaptive("adaptive_max_pool_with_indices"),
    adaptive("adaptive_avg_pool"),
    Entry(
        "nn.conv_transpose_init",
        nn.conv_transpose_init,
        lambda rng, dtype: (key_of(rng), (3, 3), 4, 6),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("window", ValueError, replace(1, ())),
            Bad("window", ValueError, replace(1, (0, 3))),
            Bad("window", TypeError, replace(1, (2.5, 3))),
            Bad("in_channels", ValueError, replace(2, 0)),
            Bad("out_channels", TypeError, replace(3, 2.0)),
            Bad("groups", ValueError, option(groups=4)),
            Bad("dtype", TypeError, option(dtype=jnp.int32)),
        ),
        draw=draw_conv_init,
    ),
    Entry(
        "nn.conv_transpose",
        nn.conv_transpose,
        lambda rng, dtype: (
            {"kernel": normal(rng, dtype, 3, 2, 4, 2), "bias": normal(rng, dtype, 4)},
            normal(rng, dtype, 2, 3, 4, 2),
        ),
        options={"strides": (2, 1), "padding": ((1, 0), (1, 1)), "output_padding": (1, 0)},
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones((2, 5, 6, 3)))),
            Bad("x", ValueError, replace(1, jnp.ones((6, 2)))),
            Bad("x", ValueError, replace(1, jnp.ones((2, 0, 6, 2)))),
            Bad("x", ValueError, option(padding=((9, 0), (0, 0)))),
            Bad("params", TypeError, replace(0, jnp.ones(3))),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones((4, 3))})),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones((3, 0, 4, 2))})),
            Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones((3, 2, 4, 2), jnp.float16)})),
            Bad("params['bias']", ValueError, replace(0, {"kernel": jnp.ones((3, 2, 4, 2)), "bias": jnp.ones(2)})),
            Bad("padding", ValueError, option(padding="same")),
            Bad("padding", ValueError, option(padding="CAUSAL")),
            Bad("padding", ValueError, option(padding=((1, 1),))),
            Bad("padding", TypeError, option(padding=(1, 1))),
            Bad("padding", ValueError, option(padding=((-1, 0), (0, 0)))),
            Bad("output_padding", ValueError, option(output_padding=2)),
            Bad("output_padding", ValueError, option(output_padding=(0, 1))),
            Bad("output_padding", ValueError, option(output_padding=-1)),
            Bad("output_padding", TypeError, option(output_padding=0.5)),
            Bad("output_padding", ValueError, option(padding="SAME")),
            Bad("strides", ValueError, option(strides=0)),
            Bad("strides", ValueError, option(strides=(1, 1, 1))),
            Bad("dilation", TypeError, option(dilation="2")),
            Bad("groups", ValueError, option(groups=3)),
            Bad("groups", TypeError, option(groups=1.0)),
        ),
        draw=draw_conv_transpose,
    ),
)
