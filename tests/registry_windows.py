"""Convolution and pooling, enrolled."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import nn
from tests.enrolment import KEY, NO_KEY, Bad, Entry, key_of, normal, option, refuses_kinds, replace


def draw_conv_init(d):
    window, groups = d.shape(1, 3), d.choose(1, 2, 3)
    widths = groups * d.size(most=2), groups * d.size(most=3)
    options = {"groups": groups} | d.options(use_bias=(False,), dtype=(jnp.bfloat16,))
    return {"make": lambda rng, dtype: (key_of(rng), window, *widths), "options": options}


def draw_conv(d):
    lead, (sizes, window, options), groups = d.lead(), d.windows(pooling=False), d.choose(1, 2, 3)
    inside, out = d.choose(2, 1, 3), groups * d.choose(1, 2, 3)
    bias = {"bias": (out,)} if d.choose(True, False) else {}
    kinds = ["zeros", "replicate"]
    margin = (
        max(map(max, options["padding"]))
        if isinstance(options["padding"], tuple)
        else 0
        if options["padding"] == "VALID"
        else 99
    )
    kinds += ["reflect"] * (margin < min(sizes)) + ["circular"] * (margin <= min(sizes))
    mode = d.choose(*kinds)
    options |= ({"groups": groups} if groups > 1 else {}) | ({} if mode == "zeros" else {"padding_mode": mode})

    def make(rng, dtype):
        shapes = {"kernel": (*window, inside, out)} | bias
        params = {name: normal(rng, dtype, *shape) for name, shape in shapes.items()}
        return params, normal(rng, dtype, *lead, *sizes, groups * inside)

    return {"make": make, "options": options, "batched": d.batched(1)}


def draw_pool(**choices):
    def draw(d):
        lead, (sizes, window, options), channels = d.lead(), d.windows(pooling=True), d.size(most=3)
        if d.flag():
            del options["strides"]  # the window's own: smaller or larger, both are seen
            options["padding"] = "VALID" if options["padding"] == "VALID" else "SAME"
            options.pop("dilation")
        window = window[0] if len(window) == 1 and d.flag() else window
        return {
            "make": lambda rng, dtype: (normal(rng, dtype, *lead, *sizes, channels), window),
            "options": options | d.options(**choices),
            "batched": d.batched(0),
        }

    return draw


def draw_global_pool(d):
    shape = d.shape(1, 3)
    axes = tuple(axis for axis in range(-len(shape) - 1, -1) if d.choose(True, False)) or (-2,)
    x = (*d.lead(), *shape, d.size(most=3))
    return {
        "make": lambda rng, dtype: (normal(rng, dtype, *x),),
        "options": {"axes": axes if len(axes) > 1 or d.flag() else axes[0]},
        "batched": d.batched(0),
    }


WINDOWS: tuple[Entry, ...] = (
    Entry(
        "nn.conv_init",
        nn.conv_init,
        lambda rng, dtype: (key_of(rng), (3, 3), 4, 6),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("window", ValueError, replace(1, ())),
            Bad("window", ValueError, replace(1, (0, 3))),
            Bad("window", TypeError, replace(1, (2.5, 3))),
            Bad("in_channels", ValueError, replace(2, 0)),
            Bad("groups", ValueError, option(groups=4)),
        ),
        draw=draw_conv_init,
    ),
    Entry(
        "nn.conv",
        nn.conv,
        lambda rng, dtype: (
            {"kernel": normal(rng, dtype, 3, 3, 2, 4), "bias": normal(rng, dtype, 4)},
            normal(rng, dtype, 2, 5, 6, 2),
        ),
        options={"strides": (2, 1), "padding": ((1, 0), (1, 1))},
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones((2, 5, 6, 3)))),
            Bad("x", ValueError, replace(1, jnp.ones((6, 2)))),
            Bad(
                "x",
                ValueError,
                lambda args, options: (
                    replace(1, jnp.ones((2, 2, 6, 2)))(args, options),
                    options.update(padding="VALID"),
                ),
            ),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones((4, 3))})),
            Bad("padding", ValueError, option(padding="same")),
            Bad("padding", ValueError, option(padding="CAUSAL")),
            Bad("padding", ValueError, option(padding=((1, 1),))),
            Bad("padding", TypeError, option(padding=(1, 1))),
            Bad("padding", ValueError, option(padding=((-1, 0), (0, 0)))),
            Bad("padding", ValueError, option(padding=((9, 0), (0, 0)), padding_mode="reflect")),
            Bad("padding_mode", ValueError, option(padding_mode="mirror")),
            Bad("strides", ValueError, option(strides=0)),
            Bad("strides", ValueError, option(strides=(1, 1, 1))),
            Bad("dilation", TypeError, option(dilation="2")),
            Bad("groups", ValueError, option(groups=3)),
        ),
        draw=draw_conv,
    ),
    Entry(
        "nn.max_pool",
        nn.max_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (2, 3)),
        options={"strides": (2, 1), "padding": "SAME"},
        batched=(0,),
        smooth=(0,),
        bad=(
            Bad("x", TypeError, replace(0, "text")),
            Bad("x", TypeError, replace(0, lambda x: x > 0)),
            Bad("x", ValueError, replace(0, jnp.ones((6, 3)))),
            Bad(
                "x",
                ValueError,
                lambda args, options: (replace(1, (9, 9))(args, options), options.update(padding="VALID")),
            ),
            Bad("window", TypeError, replace(1, 2.0)),
            Bad("window", ValueError, replace(1, (2, 0))),
            Bad("padding", ValueError, option(padding=((2, 0), (0, 0)))),
            Bad("strides", TypeError, option(strides=1.5)),
        ),
        draw=draw_pool(),
    ),
    Entry(
        "nn.avg_pool",
        nn.avg_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (2, 3)),
        options={"strides": (2, 1), "padding": "SAME"},
        batched=(0,),
        smooth=(0,),
        bad=(
            Bad("x", TypeError, replace(0, None)),
            Bad(
                "x",
                ValueError,
                lambda args, options: (replace(1, (9, 9))(args, options), options.update(padding="VALID")),
            ),
            Bad("padding", ValueError, option(padding=((0, 0), (3, 0)))),
            Bad("padding", ValueError, option(padding="FULL")),
        ),
        draw=draw_pool(count_include_padding=(True, False)),
    ),
    Entry(
        "nn.global_avg_pool",
        nn.global_avg_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3),),
        options={"axes": (-3, -2)},
        batched=(0,),
        smooth=(0,),
        bad=(
            Bad("axes", ValueError, option(axes=(1, 2))),
            Bad("axes", ValueError, option(axes=-1)),
            Bad("axes", ValueError, option(axes=(-2, -2))),
            Bad("axes", TypeError, option(axes=())),
            Bad("x", ValueError, replace(0, jnp.ones((2, 0, 6, 3)))),
        ),
        draw=draw_global_pool,
    ),
)
