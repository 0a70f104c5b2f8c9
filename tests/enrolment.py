"""What an entry of tests/registry.py says, and the arguments and mistakes that many entries share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import nn
from tests.draws import Draws


@dataclass(frozen=True)
class Bad:
    """Arguments that must be refused: `change(args, options)` edits them; the message names `argument`."""

    argument: str
    error: type[Exception]
    change: Callable[[list[Any], dict[str, Any]], None]


@dataclass(frozen=True, repr=False)
class Entry:
    name: str
    function: Callable[..., Any]
    # (rng, dtype) -> positional arguments
    make: Callable[[np.random.Generator, Any], tuple[Any, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    # positions of the arguments with a leading batch axis; the result's first leaf has it too
    batched: tuple[int, ...] = ()
    # positions of the arguments to differentiate
    smooth: tuple[int, ...] = ()
    # dtypes that it keeps; () where the result has a dtype of its own
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    # how many of the data one term of a gradient multiplies: where they are large, its rounding grows so
    degree: int = 1
    # whether a whole batch may be empty
    empty: bool = True
    # examples are independent of each other, so that vmap equals the batched call
    independent: bool = True
    # whether a vector of zeros has another value than one nearby
    jumps_at_zero: bool = False
    # whether it has a forward mode; reverse mode alone is differentiated twice
    forward: bool = True
    # each case compiles for many seconds: its properties count as slow tests, of which a sample runs by default
    heavy: bool = False
    bad: tuple[Bad, ...] = ()
    # what changes in another case of the same function: shapes, batch axes, windows, option values
    draw: Callable[[Draws], dict[str, Any]] | None = None

    def __repr__(self) -> str:
        """The call, with shapes for arrays: what a failing property prints."""
        args = self.make(np.random.default_rng(0), jnp.float32)
        named = [*map(_describe, args), *(f"{name}={_describe(value)}" for name, value in self.options.items())]
        return f"{self.name}({', '.join(named)}), batched={self.batched}"

    def _repr_pretty_(self, printer, cycle) -> None:
        """What Hypothesis prints."""
        printer.text(repr(self))


def _describe(value: Any) -> str:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"{type(value).__name__}({', '.join(map(_describe, value))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"'{name}': {_describe(leaf)}" for name, leaf in value.items()) + "}"
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, jax.Array) else repr(value)


def normal(rng, dtype, *shape):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def replace(position, value):
    """An edit: another positional argument."""

    def change(args, options):
        args[position] = value(args[position]) if callable(value) else value

    return change


def option(**values):
    """An edit: other options."""
    return lambda args, options: options.update(values)


KEY = Bad("key", TypeError, replace(0, lambda key: jax.random.key_data(key)))
NO_KEY = Bad("key", ValueError, replace(0, None))


def refuses_kinds(position, argument):
    return (
        Bad(argument, TypeError, replace(position, lambda x: x.astype(jnp.int32))),
        Bad(argument, TypeError, replace(position, "text")),
        Bad(argument, TypeError, replace(position, [1.0, 2.0])),
        Bad(argument, TypeError, replace(position, lambda x: x.astype(jnp.complex64))),
    )


def activation(name, options=None, drawn=None, **bad_options):
    """A function of each element. `drawn`: values of its options to be tried, `{name: values}`."""
    function = getattr(nn, name)
    bad = tuple(Bad(argument, error, option(**{argument: value})) for argument, (value, error) in bad_options.items())

    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        return {
            "make": lambda rng, dtype: (normal(rng, dtype, *shape),),
            "batched": d.batched(0),
            "options": (options or {}) | d.options(**(drawn or {})),
        }

    return Entry(
        f"nn.{name}",
        function,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        options=options or {},
        batched=(0,),
        smooth=(0,),
        bad=(*refuses_kinds(0, "x"), *bad),
        draw=draw,
    )


def draw_pair(d):
    shape = d.lead() + d.shape(1, 2)
    make = lambda rng, dtype: (normal(rng, dtype, *shape), normal(rng, dtype, *shape))
    return {"make": make, "batched": d.batched(0, 1)}


def key_of(rng):
    return jax.random.key(int(rng.integers(2**31)))


def dense_params(rng, dtype):
    return {"kernel": normal(rng, dtype, 4, 3), "bias": normal(rng, dtype, 3)}


def norm_params(rng, dtype):
    return {"scale": normal(rng, dtype, 4), "offset": normal(rng, dtype, 4)}


def norm_state():
    return nn.BatchNormState(jnp.full(4, 0.5), jnp.full(4, 2.0))


def classes(rng, *shape):
    return jnp.asarray(rng.integers(0, 4, shape), jnp.int32)


INF = float("inf")
