"""The functions that draw, and softmax's relatives, enrolled."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import data, nn
from tests.enrolment import (
    KEY,
    NO_KEY,
    Bad,
    Entry,
    classes,
    dense_params,
    key_of,
    normal,
    option,
    refuses_kinds,
    replace,
)

KEYS = Bad("key", ValueError, replace(0, lambda key: jax.random.split(key)))
RATES = (
    Bad("rate", ValueError, option(rate=1.5)),
    Bad("rate", ValueError, option(rate=-0.1)),
    Bad("rate", ValueError, option(rate=float("nan"))),
    Bad("rate", TypeError, option(rate="half")),
    Bad("rate", TypeError, option(rate=None)),
    Bad("rate", TypeError, option(rate=jnp.ones(2))),
    Bad("rate", TypeError, option(rate=jnp.array(1))),
)
AXIS = (
    Bad("axis", ValueError, option(axis=2)),
    Bad("axis", ValueError, option(axis=-3)),
    Bad("axis", TypeError, option(axis=1.0)),
)


def draw_noise(*, axes=False):
    """A rate, both ends among them, as a number or as an array."""

    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        rate = d.choose(0.25, 0.5, 0.0, 1.0, 0.875)
        options = {"rate": jnp.float32(rate) if d.flag() else rate}
        if axes:
            options["broadcast_axes"] = tuple(axis for axis in range(-len(shape), 0) if d.choose(False, False, True))
        return {
            "make": lambda rng, dtype: (key_of(rng), normal(rng, dtype, *shape)),
            "options": options,
            "batched": d.batched(1),
        }

    return draw


def draw_gumbel_softmax(d):
    """Not hard: its gradient is not the derivative of its values; tests/nn/test_gumbel_softmax.py has that."""
    shape = d.lead() + d.shape(1, 2)
    options = d.options(axis=range(-len(shape), len(shape)), temperature=(2.0, 0.5))
    return {
        "make": lambda rng, dtype: (key_of(rng), normal(rng, dtype, *shape)),
        "options": options,
        "batched": d.batched(1),
    }


def draw_sparsemax(d):
    lead, rest = d.lead(), d.shape(1, 2)
    return {
        "make": lambda rng, dtype: (normal(rng, dtype, *lead, *rest),),
        "options": d.options(axis=range(-len(rest), 0)),
        "batched": d.batched(0),
    }


def draw_sampled_softmax(d):
    examples, width, count = (*d.lead(), *d.shape(0, 1)), d.size(), d.size()
    leaves = {"kernel": (width, count)} | ({"bias": (count,)} if d.choose(True, False) else {})
    # One class that is counted twice: a constant, whose derivative is rounding alone.
    hits = d.options(remove_accidental_hits=(False,)) if count > 1 else {}
    sampler = d.options(sampler=("uniform",))

    def make(rng, dtype):
        params = {name: normal(rng, dtype, *shape) for name, shape in leaves.items()}
        labels = jnp.asarray(rng.integers(0, count, examples), jnp.int32)
        return key_of(rng), params, normal(rng, dtype, *examples, width), labels

    options = {"samples": d.choose(3, 1, 2, 16)} | hits | sampler
    return {"make": make, "options": options, "batched": d.batched(2, 3)}


def draw_batches(d):
    count = d.size()
    return {
        "make": lambda rng, dtype: (key_of(rng), count),
        "options": {"batch_size": d.choose(*range(1, count + 1))},
    }


def draw_balanced_batches(d):
    count = d.size()
    options = {"batch_size": count * d.choose(2, 1, 3), "classes": count} | d.options(steps=(1, 5))
    make = lambda rng, dtype: (key_of(rng), jnp.asarray(rng.permutation([*range(count), *[0] * 9]), jnp.int32))
    return {"make": make, "options": options}


RANDOM: tuple[Entry, ...] = (
    Entry(
        "nn.gaussian_dropout",
        nn.gaussian_dropout,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
        options={"rate": 0.3},
        batched=(1,),
        smooth=(1,),
        independent=False,
        bad=(KEY, NO_KEY, KEYS, *refuses_kinds(1, "x"), *RATES),
        draw=draw_noise(),
    ),
    Entry(
        "nn.alpha_dropout",
        nn.alpha_dropout,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
        options={"rate": 0.3},
        batched=(1,),
        smooth=(1,),
        independent=False,
        bad=(
            KEY,
            NO_KEY,
            KEYS,
            *refuses_kinds(1, "x"),
            *RATES,
            Bad("broadcast_axes", ValueError, option(broadcast_axes=(2,))),
            Bad("broadcast_axes", ValueError, option(broadcast_axes=(-3,))),
            Bad("broadcast_axes", TypeError, option(broadcast_axes=1)),
            Bad("broadcast_axes", TypeError, option(broadcast_axes=(0.5,))),
        ),
        draw=draw_noise(axes=True),
    ),
    Entry(
        "nn.drop_path",
        nn.drop_path,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
        options={"rate": 0.3},
        batched=(1,),
        smooth=(1,),
        independent=False,
        bad=(KEY, NO_KEY, KEYS, *refuses_kinds(1, "x"), *RATES, Bad("x", ValueError, replace(1, jnp.float32(1.0)))),
        draw=draw_noise(),
    ),
    Entry(
        "nn.gumbel_softmax",
        nn.gumbel_softmax,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
        options={"temperature": 0.5},
        batched=(1,),
        smooth=(1,),
        # One key draws other noise for one example than for a batch.
        independent=False,
        bad=(
            KEY,
            NO_KEY,
            KEYS,
            *refuses_kinds(1, "x"),
            *AXIS,
            Bad("axis", ValueError, replace(1, jnp.float32(1.0))),
            Bad("temperature", ValueError, option(temperature=0.0)),
            Bad("temperature", ValueError, option(temperature=-1.0)),
            Bad("temperature", TypeError, option(temperature="hot")),
            Bad("temperature", TypeError, option(temperature=jnp.ones(2))),
            Bad("hard", TypeError, option(hard=1)),
            Bad("hard", TypeError, option(hard=None)),
        ),
        draw=draw_gumbel_softmax,
    ),
    Entry(
        "nn.sparsemax",
        nn.sparsemax,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        batched=(0,),
        smooth=(0,),
        bad=(*refuses_kinds(0, "x"), *AXIS, Bad("axis", ValueError, replace(0, jnp.float32(1.0)))),
        draw=draw_sparsemax,
    ),
    Entry(
        "nn.sampled_softmax_loss",
        nn.sampled_softmax_loss,
        lambda rng, dtype: (key_of(rng), dense_params(rng, dtype), normal(rng, dtype, 5, 4), classes(rng, 5) % 3),
        options={"samples": 6},
        batched=(2, 3),
        smooth=(1, 2),
        bad=(
            KEY,
            NO_KEY,
            KEYS,
            *refuses_kinds(2, "features"),
            Bad("features", ValueError, replace(2, jnp.ones((5, 3)))),
            Bad("features", ValueError, replace(2, jnp.float32(1.0))),
            Bad("params", TypeError, replace(1, jnp.ones((4, 3)))),
            Bad("params", ValueError, replace(1, {"bias": jnp.ones(3)})),
            Bad("params['kernel']", ValueError, replace(1, {"kernel": jnp.ones((2, 4, 3))})),
            Bad("params['kernel']", ValueError, replace(1, {"kernel": jnp.ones((4, 0))})),
            Bad("params['kernel']", TypeError, replace(1, {"kernel": jnp.ones((4, 3), jnp.bfloat16)})),
            Bad("params['bias']", ValueError, replace(1, {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(4)})),
            Bad(
                "params['bias']",
                TypeError,
                replace(1, {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3, jnp.float16)}),
            ),
            Bad("labels", ValueError, replace(3, jnp.zeros((5, 1), int))),
            Bad("labels", TypeError, replace(3, jnp.zeros(5))),
            Bad("samples", ValueError, option(samples=0)),
            Bad("samples", TypeError, option(samples=2.0)),
            Bad("sampler", ValueError, option(sampler="zipf")),
            Bad("sampler", ValueError, option(sampler=None)),
            Bad("remove_accidental_hits", TypeError, option(remove_accidental_hits=0)),
        ),
        heavy=True,
        draw=draw_sampled_softmax,
    ),
    Entry(
        "data.batches",
        data.batches,
        lambda rng, dtype: (key_of(rng), 10),
        options={"batch_size": 4},
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            KEYS,
            Bad("count", ValueError, replace(1, 0)),
            Bad("count", TypeError, replace(1, 10.0)),
            Bad("batch_size", ValueError, option(batch_size=0)),
            Bad("batch_size", ValueError, option(batch_size=11)),
            Bad("batch_size", TypeError, option(batch_size=2.0)),
        ),
        draw=draw_batches,
    ),
    Entry(
        "data.balanced_batches",
        data.balanced_batches,
        lambda rng, dtype: (key_of(rng), jnp.asarray(rng.permutation([0, 0, 0, 0, 1, 1, 2]), jnp.int32)),
        options={"batch_size": 6, "classes": 3, "steps": 2},
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            KEYS,
            Bad("labels", TypeError, replace(1, jnp.ones(5))),
            Bad("labels", TypeError, replace(1, [0, 1, 2])),
            Bad("labels", ValueError, replace(1, jnp.zeros((5, 1), int))),
            Bad("labels", ValueError, replace(1, jnp.zeros(0, int))),
            Bad("labels", ValueError, option(classes=6)),
            Bad("classes", ValueError, option(classes=0)),
            Bad("classes", TypeError, option(classes=3.0)),
            Bad("batch_size", ValueError, option(batch_size=0)),
            Bad("batch_size", ValueError, option(batch_size=4)),
            Bad("batch_size", TypeError, option(batch_size=6.0)),
            Bad("steps", ValueError, option(steps=0)),
            Bad("steps", TypeError, option(steps=1.5)),
        ),
        draw=draw_balanced_batches,
    ),
)
