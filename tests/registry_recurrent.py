"""The recurrent layers of dlcore.nn, enrolled."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import nn
from tests.enrolment import KEY, NO_KEY, Bad, Entry, key_of, normal, option, refuses_kinds, replace

GATES = {nn.rnn: 1, nn.gru: 3, nn.lstm: 4}
OPTIONS = {nn.rnn: {"activation": ("relu", jnp.arctan)}, nn.gru: {"reset_after": (False, True)}, nn.lstm: {}}


def weights(rng, dtype, gates, d=4, f=3, *, bias=True):
    shapes = {"input_kernel": (d, gates * f), "recurrent_kernel": (f, gates * f)}
    shapes |= {"input_bias": (gates * f,), "recurrent_bias": (gates * f,)} if bias else {}
    # Small enough that a few steps of a rectified layer stay small.
    return {leaf: jnp.asarray(0.5 * rng.standard_normal(shape), dtype) for leaf, shape in shapes.items()}


def lengths_of(rng, lead, steps):
    """Some below 0 and some beyond the end."""
    return jnp.asarray(rng.integers(-1, steps + 2, lead), jnp.int32)


def draw_init(d):
    first, second = d.size(), d.size()
    options = d.options(dtype=(jnp.bfloat16, jnp.float16), use_bias=(False,))
    return {"make": lambda rng, dtype: (key_of(rng), first, second), "options": options}


def cell_of_pair(params, h, c, x):
    return nn.lstm_cell(params, (h, c), x)


# A drawn state goes through tanh, since states are bounded: with 10⁴ in the state and in x, a gate's gradient would sum
# terms of 10⁸ times the error of a derivative. A rectified layer has biases, since x W below the smallest normal number
# is 0 to compiled code, and at the kink. And without batch axes x alone is data, not the parameters: products of 10⁸
# that cancel decide a gate by their rounding.


def drawn_options(d, run, bias):
    options = d.options(**OPTIONS[run])
    return {} if not bias and options.get("activation") == "relu" else options


def draw_cell(cell, run):
    def draw(d):
        lead, rest, width, f = d.lead(), d.shape(0, 1), d.size(), d.size()
        bias, states = d.choose(True, False), 2 if run is nn.lstm else 1

        def function(params, *given, **options):
            return cell(params, *map(jnp.tanh, given[:-1]), given[-1], **options)

        def make(rng, dtype):
            parts = [normal(rng, dtype, *lead, *rest, f) for _ in range(states)]
            return weights(rng, dtype, GATES[run], width, f, bias=bias), *parts, normal(rng, dtype, *lead, *rest, width)

        positions = tuple(range(1, states + 2))
        batched = d.batched(*positions)
        smooth = (0, *positions) if batched else positions
        options = drawn_options(d, run, bias)
        return {"function": function, "make": make, "options": options, "batched": batched, "smooth": smooth}

    return draw


def draw_run(run, *, both=False):
    """A layer through time, or two of them: with or without lengths and a state to start from."""

    def draw(d):
        lead, rest, width, f = d.lead(), d.shape(0, 1), d.size(), d.size(most=4)
        steps = d.choose(3, 1, 4)
        bias, masked, started = d.choose(True, False), d.choose(True, False), d.choose(False, True)
        options = drawn_options(d, run, bias) | d.options(unroll=(2,)) | ({} if both else d.options(reverse=(True,)))
        layers, parts = 2 if both else 1, 2 if run is nn.lstm else 1

        def make(rng, dtype):
            params = [weights(rng, dtype, GATES[run], width, f, bias=bias) for _ in range(layers)]
            arrays = [normal(rng, dtype, *lead, *rest, steps, width)]
            arrays += [normal(rng, dtype, *lead, *rest, f) for _ in range(parts * layers * started)]
            return *params, *arrays, *([lengths_of(rng, lead + rest, steps)] if masked else [])

        def function(*args, **options):
            given = list(args)
            params, x = [given.pop(0) for _ in range(layers)], given.pop(0)
            if masked:
                options["lengths"] = given.pop()
            if started:
                given = [*map(jnp.tanh, given)]
                states = [tuple(given[:parts]), tuple(given[parts:])] if parts == 2 else given
                options["initial_state"] = tuple(states) if both else states[0]
            return nn.bidirectional(run, *params, x, **options) if both else run(*params, x, **options)

        count = 1 + parts * layers * started
        batched = d.batched(*range(layers, layers + count + masked))
        smooth = tuple(range(0 if batched else layers, layers + count))
        return {"function": function, "make": make, "options": options, "batched": batched, "smooth": smooth}

    return draw


def draw_both(d):
    return draw_run(d.choose(nn.gru, nn.rnn, nn.lstm), both=True)(d)


def joined(forward_params, backward_params, x, *, run=nn.gru, **options):
    return nn.bidirectional(run, forward_params, backward_params, x, **options)


def bad_params(gates):
    """What the parameters of four inputs and three features must not be."""

    def broken(**changes):
        return replace(
            0, lambda params: {leaf: value for leaf, value in (params | changes).items() if value is not None}
        )

    return (
        Bad("params", TypeError, replace(0, jnp.ones((4, 3 * gates)))),
        Bad("params", ValueError, broken(kernel=jnp.ones(3))),
        Bad("params", ValueError, broken(recurrent_kernel=None)),
        Bad("params", ValueError, broken(input_bias=None)),
        Bad("params['recurrent_kernel']", ValueError, broken(recurrent_kernel=jnp.ones((3, 3 * gates + 1)))),
        Bad("params['recurrent_kernel']", ValueError, broken(recurrent_kernel=jnp.ones(()))),
        Bad("params['recurrent_kernel']", TypeError, broken(recurrent_kernel="text")),
        Bad("params['input_kernel']", ValueError, broken(input_kernel=jnp.ones((4, gates, 3)))),
        Bad("params['input_kernel']", TypeError, broken(input_kernel=jnp.ones((4, 3 * gates), jnp.bfloat16))),
        Bad("params['recurrent_bias']", ValueError, broken(recurrent_bias=jnp.ones((2, 3 * gates)))),
    )


def bad_state(argument, at):
    """What a state (5, 3) must not be; `at` places the wrong one."""
    return (
        Bad(argument, ValueError, at(jnp.ones((5, 4)))),
        Bad(argument, ValueError, at(jnp.ones((1, 3)))),
        Bad(argument, ValueError, at(jnp.ones(3))),
        Bad(argument, TypeError, at(jnp.ones((5, 3), jnp.int32))),
        Bad(argument, TypeError, at(jnp.ones((5, 3), jnp.bfloat16))),
        Bad(argument, TypeError, at([1.0, 2.0])),
    )


LENGTHS = (
    Bad("lengths", TypeError, option(lengths=jnp.ones(5))),
    Bad("lengths", TypeError, option(lengths=jnp.ones(5, bool))),
    Bad("lengths", TypeError, option(lengths=[1, 2, 3, 3, 2])),
    Bad("lengths", ValueError, option(lengths=jnp.ones((5, 1), jnp.int32))),
    Bad("lengths", ValueError, option(lengths=2)),
)
TURNS = (
    Bad("reverse", TypeError, option(reverse=1)),
    Bad("unroll", ValueError, option(unroll=0)),
    Bad("unroll", TypeError, option(unroll=1.5)),
)
ACTIVATION = (
    Bad("activation", ValueError, option(activation="sigmoid")),
    Bad("activation", ValueError, option(activation=None)),
    Bad("activation", ValueError, option(activation=lambda x: x[..., :1])),
    Bad("activation", TypeError, option(activation=lambda x: x > 0)),
)
RESET = (Bad("reset_after", TypeError, option(reset_after="after")),)


def init_entry(name, *bad):
    return Entry(
        f"nn.{name}_init",
        getattr(nn, f"{name}_init"),
        lambda rng, dtype: (key_of(rng), 4, 3),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("in_features", ValueError, replace(1, 0)),
            Bad("in_features", TypeError, replace(1, 2.5)),
            Bad("features", ValueError, replace(2, -1)),
            Bad("features", TypeError, replace(2, "wide")),
            Bad("dtype", TypeError, option(dtype=jnp.int32)),
            *bad,
        ),
        draw=draw_init,
    )


def run_entry(name, *bad):
    run = getattr(nn, name)
    start = (
        (lambda state: option(initial_state=(state, state))) if run is nn.lstm else lambda h: option(initial_state=h)
    )
    return Entry(
        f"nn.{name}",
        run,
        lambda rng, dtype: (weights(rng, dtype, GATES[run]), normal(rng, dtype, 5, 3, 4)),
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones((5, 3, 7)))),
            Bad("x", ValueError, replace(1, jnp.ones(4))),
            *bad_params(GATES[run]),
            *bad_state("initial_state", start),
            *LENGTHS,
            *TURNS,
            *bad,
        ),
        heavy=True,
        draw=draw_run(run),
    )


def cell_entry(name, *bad):
    run = getattr(nn, name)
    return Entry(
        f"nn.{name}_cell",
        getattr(nn, f"{name}_cell"),
        lambda rng, dtype: (weights(rng, dtype, GATES[run]), normal(rng, dtype, 5, 3), normal(rng, dtype, 5, 4)),
        batched=(1, 2),
        smooth=(0, 1, 2),
        bad=(
            *refuses_kinds(2, "x"),
            Bad("x", ValueError, replace(2, jnp.ones((5, 7)))),
            *bad_params(GATES[run]),
            *bad_state("h", lambda h: replace(1, h)),
            *bad,
        ),
        draw=draw_cell(getattr(nn, f"{name}_cell"), run),
    )


RECURRENT: tuple[Entry, ...] = (
    init_entry("rnn"),
    cell_entry("rnn", *ACTIVATION),
    run_entry("rnn", *ACTIVATION),
    init_entry("gru"),
    cell_entry("gru", *RESET),
    run_entry("gru", *RESET),
    init_entry(
        "lstm",
        Bad("forget_bias", TypeError, option(forget_bias="one")),
        Bad("forget_bias", ValueError, option(forget_bias=float("inf"))),
    ),
    Entry(
        "nn.lstm_cell",
        cell_of_pair,
        lambda rng, dtype: (
            weights(rng, dtype, 4),
            normal(rng, dtype, 5, 3),
            normal(rng, dtype, 5, 3),
            normal(rng, dtype, 5, 4),
        ),
        batched=(1, 2, 3),
        smooth=(0, 1, 2, 3),
        bad=(
            *refuses_kinds(3, "x"),
            Bad("x", ValueError, replace(3, jnp.ones((5, 7)))),
            *bad_params(4),
            *bad_state("state", lambda h: replace(1, h)),
            *bad_state("state", lambda c: replace(2, c)),
        ),
        draw=draw_cell(cell_of_pair, nn.lstm),
    ),
    run_entry(
        "lstm",
        Bad("initial_state", TypeError, option(initial_state=jnp.ones((5, 3)))),
        Bad("initial_state", TypeError, option(initial_state=(jnp.ones((5, 3)),))),
    ),
    Entry(
        "nn.bidirectional",
        joined,
        lambda rng, dtype: (weights(rng, dtype, 3), weights(rng, dtype, 3), normal(rng, dtype, 5, 3, 4)),
        batched=(2,),
        smooth=(0, 1, 2),
        bad=(
            *refuses_kinds(2, "x"),
            Bad("run", TypeError, option(run="gru")),
            Bad("reverse", ValueError, option(reverse=True)),
            Bad("initial_state", TypeError, option(initial_state=jnp.ones((5, 3)))),
            Bad("initial_state", TypeError, option(initial_state=(jnp.ones((5, 3)),))),
        ),
        heavy=True,
        draw=draw_both,
    ),
)
