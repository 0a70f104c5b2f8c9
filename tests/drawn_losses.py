"""How losses are drawn: arguments and options that fit each other, and entries that many losses share."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import losses
from tests.enrolment import (
    Bad,
    Entry,
    classes,
    normal,
    option,
    refuses_kinds,
    replace,
)


def through(change, function, *positions):
    """`function` with `change` on some arguments: drawn numbers in the range that it is made for."""

    def run(*args, **options):
        given = list(args)
        for position in positions:
            if isinstance(given[position], jax.Array) and jnp.issubdtype(given[position].dtype, jnp.floating):
                given[position] = change(given[position])
        return function(*given, **options)

    return run


def signs(rng, *shape):
    return jnp.asarray(rng.choice([-1, 1], shape), jnp.int32)


def shares(rng, dtype, *shape):
    """Numbers in [0, 1] that half precision holds exactly."""
    return jnp.asarray(rng.integers(0, 9, shape) / 8, dtype)


def draw_class_loss(weighted=True, **choices):
    def draw(d):
        examples, count = (*d.lead(), *d.shape(0, 1)), d.size()
        weights = jnp.asarray([0.5, 2.0, 0.0, 1.0, 0.25, 3.0, 1.5][:count])
        return {
            "make": lambda rng, dtype: (
                normal(rng, dtype, *examples, count),
                jnp.asarray(rng.integers(0, count, examples), jnp.int32),
            ),
            "batched": d.batched(0, 1),
            "options": d.options(**{**choices, **({"class_weights": (weights,)} if weighted else {})}),
        }

    return draw


def draw_reduction(function):
    """With `where` and `weights`, none or both; weights of zero among them, but not all."""

    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        given = [name for name in ("where", "weights") if d.flag()]

        def make(rng, dtype):
            options = {
                "where": jnp.asarray(rng.random(shape) < 0.7),
                "weights": jnp.asarray(rng.choice([0.0, 0.5, 1.0, 2.0], shape), dtype),
            }
            return (normal(rng, dtype, *shape), *(options[name] for name in given))

        return {
            "function": lambda values, *options: function(values, **dict(zip(given, options, strict=True))),
            "make": make,
        }

    return draw


def draw_signed(*, data=1, axes=(1, 2), **choices):
    """`data` arrays of one shape, and signs."""

    def draw(d):
        shape = d.lead() + d.shape(*axes)
        return {
            "make": lambda rng, dtype: (*(normal(rng, dtype, *shape) for _ in range(data)), signs(rng, *shape)),
            "batched": d.batched(*range(data + 1)),
            "options": d.options(**choices),
        }

    return draw


def draw_rows(count, labels=None, **choices):
    """`count` arrays (*lead, features), and what `labels(rng, dtype, shape)` makes of that shape."""

    def draw(d):
        shape = (*d.lead(), *d.shape(0, 1), d.size())
        extra = () if labels is None else (labels,)
        return {
            "make": lambda rng, dtype: (
                *(normal(rng, dtype, *shape) for _ in range(count)),
                *(made(rng, dtype, shape) for made in extra),
            ),
            "batched": d.batched(*range(count + len(extra))),
            "options": d.options(**choices),
        }

    return draw


def draw_elements(*makers, always=None, **choices):
    """An array of one shape by each of `makers(rng, dtype, *shape)`, and options that are always given."""

    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        return {
            "make": lambda rng, dtype: tuple(maker(rng, dtype, *shape) for maker in makers),
            "batched": d.batched(*range(len(makers))),
            "options": (always or {}) | d.options(**choices),
        }

    return draw


def regression(name, function=None, options=None, drawn=None, degree=1, **bad_options):
    """A loss of each element, smooth in predictions and targets."""
    return Entry(
        f"losses.{name}",
        function or getattr(losses, name),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 5, 4)),
        options=options or {},
        batched=(0, 1),
        smooth=(0, 1),
        degree=degree,
        bad=(
            *refuses_kinds(0, "predictions"),
            *refuses_kinds(1, "targets"),
            Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
            *(Bad(argument, error, option(**{argument: value})) for argument, (value, error) in bad_options.items()),
        ),
        draw=draw_elements(normal, normal, always=options, **(drawn or {})),
    )


def signed(name, **drawn):
    """A margin loss of each score."""
    return Entry(
        f"losses.{name}",
        getattr(losses, name),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), signs(rng, 5, 4)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "scores"),
            Bad("signs", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("signs", ValueError, replace(1, jnp.zeros((5, 4), int))),
            Bad("signs", TypeError, replace(1, jnp.ones((5, 4), bool))),
        ),
        draw=draw_signed(**drawn),
    )


def of_classes(name, source, options=None, drawn=None, weighted=True, ignoring=True, **bad_options):
    """A loss of scores and integer labels."""
    choices = (drawn or {}) | ({"ignore_label": (-1, 0)} if ignoring else {})
    return Entry(
        f"losses.{name}",
        getattr(losses, name),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), classes(rng, 5)),
        options=options or {},
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, source),
            Bad("labels", ValueError, replace(1, jnp.zeros((5, 1), int))),
            Bad("labels", TypeError, replace(1, jnp.zeros(5))),
            Bad(source, ValueError, replace(0, jnp.ones((5, 0)))),
            *([Bad("class_weights", ValueError, option(class_weights=jnp.ones(5)))] if weighted else []),
            *([Bad("ignore_label", TypeError, option(ignore_label=0.5))] if ignoring else []),
            *(Bad(argument, error, option(**{argument: value})) for argument, (value, error) in bad_options.items()),
        ),
        draw=draw_class_loss(weighted, **choices),
    )


def draw_head(d):
    """A linear layer, features and labels; chunks that divide the classes and such that do not."""
    # Two classes or more: of one alone all derivatives are 0, but for rounding.
    examples, inside, count = (*d.lead(), *d.shape(0, 1)), d.size(most=4), 1 + d.size(most=6)
    bias = d.flag()

    def make(rng, dtype):
        params = {"kernel": normal(rng, dtype, inside, count)} | ({"bias": normal(rng, dtype, count)} if bias else {})
        return params, normal(rng, dtype, *examples, inside), jnp.asarray(rng.integers(0, count, examples), jnp.int32)

    weights = jnp.asarray([0.5, 2.0, 0.0, 1.0, 0.25, 3.0, 1.5][:count])
    choices = {"label_smoothing": (0.125, 1.0), "class_weights": (weights,), "ignore_label": (-1, 0)}
    return {
        "make": make,
        "batched": d.batched(1, 2),
        "options": {"chunk": d.choose(2, 1, 3, 7), **d.options(**choices)},
    }


def draw_overlap(**choices):
    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        return {
            "make": lambda rng, dtype: (normal(rng, dtype, *shape), shares(rng, dtype, *shape)),
            "batched": d.batched(0, 1),
            "options": {"axis": -1, "epsilon": 0.125, **d.options(**choices)},
        }

    return draw


def draw_circle(d):
    count, width = d.size(most=4) + 1, d.size(most=3) + 1
    return {
        "make": lambda rng, dtype: (
            normal(rng, dtype, count, width),
            jnp.asarray(rng.integers(0, 2, count), jnp.int32),
        ),
        "options": {"gamma": 2.0, **d.options(margin=(0.25, 0.5))},
        "batched": (0, 1),
    }


def alignments(rng, dtype, batch=2, frames=4, labels=2, count=3):
    return (
        normal(rng, dtype, batch, frames, count),
        jnp.zeros((batch, frames)).at[0, -1].set(1),
        jnp.asarray(rng.integers(1, count, (batch, labels)), jnp.int32),
        jnp.zeros((batch, labels)).at[-1, -1].set(1),
    )


def draw_alignments(d):
    batch, labels, count = d.choose(2, 1, 3), d.choose(1, 2), d.choose(3, 2)
    frames = 2 * labels + d.choose(1, 2)
    return {"make": lambda rng, dtype: alignments(rng, dtype, batch, frames, labels, count)}


tame = jnp.tanh
