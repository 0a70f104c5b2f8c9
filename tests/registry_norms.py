"""The normalisations of dlcore.nn but batch normalisation, enrolled."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import nn
from tests.enrolment import INF, Bad, Entry, norm_params, norm_state, normal, option, refuses_kinds, replace
from tests.registry_layers import draw_norm_init

EPSILON = (Bad("epsilon", ValueError, option(epsilon=0.0)), Bad("epsilon", TypeError, option(epsilon="small")))
PARAMS = (
    Bad("params", TypeError, replace(0, jnp.ones(4))),
    Bad("params", ValueError, replace(0, {"kernel": jnp.ones(4)})),
    Bad("params['scale']", ValueError, replace(0, {"scale": jnp.ones(3)})),
    Bad("params['scale']", ValueError, replace(0, {"scale": jnp.ones((1, 4))})),
    Bad("params['scale']", TypeError, replace(0, {"scale": jnp.ones(4, int)})),
)


def init(name, *bad):
    return Entry(
        f"nn.{name}",
        getattr(nn, name),
        lambda rng, dtype: (4,),
        dtypes=(),
        bad=(
            Bad("features", ValueError, replace(0, 0)),
            Bad("features", TypeError, replace(0, 2.0)),
            Bad("features", TypeError, replace(0, "four")),
            Bad("dtype", TypeError, option(dtype=int)),
            *bad,
        ),
        draw=draw_norm_init,
    )


def leaves_of(rng, dtype, names, shape):
    return {name: normal(rng, dtype, *shape) for name in names}


def draw_over_axes(*names):
    """Which axes, counted from either end, and which leaves."""

    def draw(d):
        lead, rest = d.lead(), d.shape(1, 3)
        chosen = {-1} | {axis for axis in range(-len(rest), -1) if d.flag()}
        axes = tuple(sorted(chosen - {-1} if len(chosen) > 1 and d.flag() else chosen))
        leaves = d.choose(names, (), *((name,) for name in names))
        options = d.options(epsilon=(1e-3, 0.5))
        if axes != (-1,):
            # In any order; a single one as an int.
            options["axis"] = axes[0] if len(axes) == 1 else d.choose(axes, axes[::-1])

        def make(rng, dtype):
            shape = tuple(rest[axis] for axis in axes)
            return leaves_of(rng, dtype, leaves, shape), normal(rng, dtype, *lead, *rest)

        return {"make": make, "batched": d.batched(1), "options": options}

    return draw


def draw_channel_norm(function, *, least_space, grouped=False):
    def draw(d):
        lead, space, width = d.lead(), d.shape(least_space, 2), d.choose(3, 1, 2)
        groups = d.choose(2, 1, 3) if grouped else 1
        channels = groups * width
        leaves = d.choose(("scale", "offset"), (), ("scale",), ("offset",))
        options = d.options(epsilon=(1e-3, 0.5)) | ({"groups": groups} if grouped else {})

        def make(rng, dtype):
            return leaves_of(rng, dtype, leaves, (channels,)), normal(rng, dtype, *lead, *space, channels)

        def run(params, x, **options):
            # An example alone, which a property maps over, has one axis of the batch less.
            return function(params, x, batch_axes=x.ndim - 1 - len(space), **options)

        return {"function": run, "make": make, "batched": d.batched(1), "options": options}

    return draw


def draw_local_response(d):
    shape = d.lead() + d.shape(1, 2)
    options = {"size": d.choose(3, 2, 1, 4, 5, 9)}
    options |= d.options(alpha=(0.5, 0.0, 4.0), beta=(0.5, 1.0, 2.0, 0.0), k=(2.0, 0.25))
    return {"make": lambda rng, dtype: (normal(rng, dtype, *shape),), "batched": d.batched(0), "options": options}


def folded(rng, dtype, shape=(3, 4), bias=True, leaves=("scale", "offset")):
    """A layer, and the parameters and state of the normalisation after it."""
    out = shape[-1:]
    layer = leaves_of(rng, dtype, ("kernel",), shape) | leaves_of(rng, dtype, ("bias",) if bias else (), out)
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    state = nn.BatchNormState(normal(rng, wide, *out), jnp.asarray(rng.uniform(0.5, 2.0, out), wide))
    return layer, leaves_of(rng, dtype, leaves, out), state


def draw_fold(d):
    shape, bias = d.shape(2, 4), d.choose(True, False)
    leaves = d.choose(("scale", "offset"), (), ("scale",), ("offset",))
    make = lambda rng, dtype: folded(rng, dtype, shape, bias, leaves)
    return {"make": make, "options": d.options(epsilon=(1e-3, 0.5))}


NORMS: tuple[Entry, ...] = (
    init(
        "layer_norm_init", Bad("features", ValueError, replace(0, (4, 0))), Bad("features", TypeError, replace(0, ()))
    ),
    init("rms_norm_init", Bad("features", ValueError, replace(0, (0, 4)))),
    init("group_norm_init", Bad("features", TypeError, replace(0, (4,)))),
    init("instance_norm_init", Bad("features", TypeError, replace(0, (4,)))),
    *(
        Entry(
            f"nn.{name}",
            getattr(nn, name),
            lambda rng, dtype, leaves=leaves: (leaves_of(rng, dtype, leaves, (4,)), normal(rng, dtype, 5, 3, 4)),
            batched=(1,),
            smooth=(0, 1),
            bad=(
                *refuses_kinds(1, "x"),
                *PARAMS,
                *EPSILON,
                Bad("axis", ValueError, option(axis=3)),
                Bad("axis", ValueError, option(axis=-4)),
                Bad("axis", ValueError, option(axis=(-1, 2))),
                Bad("axis", ValueError, replace(1, jnp.float32(1.0))),
                Bad("axis", TypeError, option(axis=())),
                Bad("axis", TypeError, option(axis=1.0)),
                Bad("axis", TypeError, option(axis=None)),
                Bad("axis", TypeError, option(axis=(-1, "last"))),
                Bad("params['scale']", ValueError, option(axis=(-2, -1))),
                *more,
            ),
            draw=draw_over_axes(*leaves),
        )
        for name, leaves, more in (
            (
                "layer_norm",
                ("scale", "offset"),
                (Bad("params['offset']", ValueError, replace(0, {"offset": jnp.ones(3)})),),
            ),
            ("rms_norm", ("scale",), (Bad("params", ValueError, replace(0, {"offset": jnp.ones(4)})),)),
        )
    ),
    Entry(
        "nn.group_norm",
        nn.group_norm,
        lambda rng, dtype: (norm_params(rng, dtype), normal(rng, dtype, 5, 3, 4)),
        options={"groups": 2},
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            *PARAMS,
            *EPSILON,
            Bad("x", ValueError, replace(1, jnp.ones(4))),
            Bad("x", ValueError, option(batch_axes=3)),
            Bad("batch_axes", ValueError, option(batch_axes=-1)),
            Bad("batch_axes", TypeError, option(batch_axes=1.0)),
            Bad("groups", ValueError, option(groups=3)),
            Bad("groups", ValueError, option(groups=0)),
            Bad("groups", ValueError, option(groups=-1)),
            Bad("groups", TypeError, option(groups=2.0)),
        ),
        draw=draw_channel_norm(nn.group_norm, least_space=0, grouped=True),
    ),
    Entry(
        "nn.instance_norm",
        nn.instance_norm,
        lambda rng, dtype: (norm_params(rng, dtype), normal(rng, dtype, 5, 3, 4)),
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            *PARAMS,
            *EPSILON,
            Bad("x", ValueError, replace(1, jnp.ones((5, 4)))),
            Bad("x", ValueError, option(batch_axes=2)),
            Bad("batch_axes", ValueError, option(batch_axes=-1)),
            Bad("batch_axes", TypeError, option(batch_axes=None)),
        ),
        draw=draw_channel_norm(nn.instance_norm, least_space=1),
    ),
    Entry(
        "nn.local_response_norm",
        nn.local_response_norm,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        options={"size": 3, "alpha": 0.5},
        batched=(0,),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("x", ValueError, replace(0, jnp.float32(1.0))),
            Bad("size", ValueError, option(size=0)),
            Bad("size", TypeError, option(size=2.0)),
            Bad("size", TypeError, option(size=None)),
            Bad("alpha", ValueError, option(alpha=-0.5)),
            Bad("alpha", TypeError, option(alpha=jnp.ones(()))),
            Bad("beta", ValueError, option(beta=INF)),
            Bad("beta", TypeError, option(beta="half")),
            Bad("k", ValueError, option(k=0.0)),
            Bad("k", TypeError, option(k=None)),
        ),
        draw=draw_local_response,
    ),
    Entry(
        "nn.fold_batch_norm",
        nn.fold_batch_norm,
        folded,
        smooth=(0, 1),
        bad=(
            Bad("params", TypeError, replace(0, jnp.ones((3, 4)))),
            Bad("params", ValueError, replace(0, {"bias": jnp.ones(4)})),
            Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones((3, 4), int)})),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones(4)})),
            Bad("params['bias']", ValueError, replace(0, {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(3)})),
            Bad(
                "params['bias']", TypeError, replace(0, {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4, jnp.float16)})
            ),
            Bad("bn_params", TypeError, replace(1, None)),
            Bad("bn_params", ValueError, replace(1, {"kernel": jnp.ones(4)})),
            Bad("bn_params['scale']", ValueError, replace(1, {"scale": jnp.ones(3)})),
            Bad("bn_params['offset']", TypeError, replace(1, {"offset": jnp.ones(4, int)})),
            Bad("bn_state", TypeError, replace(2, {})),
            Bad("bn_state", ValueError, replace(2, nn.BatchNormState(jnp.ones(3), jnp.ones(3)))),
            Bad("bn_state", ValueError, replace(2, norm_state()._replace(var=jnp.ones(3)))),
            *EPSILON,
        ),
        draw=draw_fold,
    ),
)
