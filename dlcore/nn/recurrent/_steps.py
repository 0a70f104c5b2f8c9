"""One step after another: what rnn, gru and lstm share but their equation.

The plain form is a scan over time that carries nothing but the state. Whether the inputs' product x W is taken for all
steps at once, outside of the loop, or step by step inside of it is a matter of shapes: outside, it writes and reads
gates · F numbers a step, inside, D. Gradients included, float32 on two CPU cores, GRU, (batch, time, D, F): outside
takes 1.0 to 1.25 times inside's time at (32, 128, 128, 128), 1.3 to 1.6 at (32, 128, 32, 128) and (128, 32, 32, 256),
but 0.45 to 0.66 at (8, 64, 512, 64) and 0.8 to 0.9 at (32, 64, 256, 128). So it goes outside where D > F.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore._varying import varying
from dlcore.nn.recurrent._params import Weights

__all__ = ["flag", "gate_blocks", "sequence", "state_of", "through_time"]

# One step: (state, x W + b) -> the next state, both tuples whose first array is what is handed out.
Step = Callable[[tuple[Array, ...], Array], tuple[Array, ...]]


def flag(name: str, argument: str, value: Any) -> bool:
    """A Python boolean."""
    if not isinstance(value, bool | np.bool_):
        raise _checks.type_error(name, argument, _checks.describe(value), "True or False", "It must be static.")
    return bool(value)


def sequence(name: str, x: ArrayLike) -> Array:
    """x, (*batch, T, D)."""
    values = _checks.floating(name, "x", x)
    if values.ndim < 2:
        raise _checks.value_error(
            name, "x", _checks.describe(values), "(*batch, time, features)", f"One step is {name}_cell's."
        )
    return values


def state_of(name: str, argument: str, value: Any, x: Array, batch: tuple[int, ...], features: int) -> Array:
    """A state, (*batch, F), in the dtype of `x`."""
    state = _checks.floating(name, argument, value)
    shape = (*batch, features)
    if state.shape != shape:
        raise _checks.value_error(
            name,
            argument,
            f"shape {state.shape}",
            f"{shape}, (*batch, features)",
            "Nothing is broadcast; zeros of this shape start afresh.",
        )
    _checks.same_dtype(name, x, argument, state)
    return state


def gate_blocks(x: Array, gates: int) -> list[Array]:
    """The gates that stand side by side on the last axis."""
    if x.dtype == jnp.float64:
        # Slices, whose transposes are sums: a concatenation of products, as in a split's gradient, may come out wrong
        # in float64 from jaxlib 0.9.2 on CPU. In float32 it does not, and is faster.
        size = x.shape[-1] // gates
        return [lax.slice_in_dim(x, gate * size, (gate + 1) * size, axis=-1) for gate in range(gates)]
    return jnp.split(x, gates, -1)


def through_time(
    name: str,
    weights: Weights,
    affine: Callable[[Array], Array],
    step: Step,
    x: Array,
    initial: tuple[ArrayLike | None, ...],
    *,
    lengths: ArrayLike | None,
    reverse: bool,
    unroll: int,
) -> tuple[Array, tuple[Array, ...]]:
    """All outputs, (*batch, T, F), and the last state.

    Args:
      name: for errors.
      weights: the parameters.
      affine: x W + b, for one step or for many.
      step: one step, from what `affine` gives.
      x: (*batch, T, D).
      initial: the state before the first step; zeros for None.
      lengths: how many steps of each sequence count; all for None.
      reverse: from the last step to the first.
      unroll: how many steps are one turn of the compiled loop.
    """
    flag(name, "reverse", reverse)
    unroll = _checks.integer(name, "unroll", unroll, low=1)
    *batch, count, width = x.shape
    dtype = compute_dtype(x.dtype)
    state = tuple(
        jnp.zeros((*batch, weights.features), dtype)
        if part is None
        else state_of(name, "initial_state", part, x, tuple(batch), weights.features).astype(dtype)
        for part in initial
    )
    values = jnp.moveaxis(x, -2, 0)
    counts = None
    if lengths is not None:
        counts = jnp.moveaxis(_counts(name, lengths, tuple(batch), count), -1, 0)[..., None]
        # What stands past the end may be anything; zeros also keep it out of the kernel's gradient.
        values = jnp.where(counts, values, 0)
    values = values.astype(dtype)
    outside = width > weights.features

    def body(state: tuple[Array, ...], now: tuple[Array, Array | None]) -> tuple[tuple[Array, ...], Array]:
        inputs = now[0] if outside else affine(now[0])
        on = now[1]
        if on is None:
            after = step(state, inputs)
            return after, after[0].astype(x.dtype)
        # A step that does not count is taken from zeros, so that nothing in it overflows, not even in its derivative.
        taken = step(tuple(jnp.where(on, part, 0) for part in state), inputs)
        after = tuple(jnp.where(on, new, old) for new, old in zip(taken, state, strict=True))
        return after, jnp.where(on, after[0], 0).astype(x.dtype)

    inputs = (affine(values) if outside else values, counts)
    state = varying(state, (state, weights, inputs))
    state, ys = lax.scan(body, state, inputs, reverse=bool(reverse), unroll=unroll)
    return jnp.moveaxis(ys, 0, -2), tuple(part.astype(x.dtype) for part in state)


def _counts(name: str, lengths: ArrayLike, batch: tuple[int, ...], count: int) -> Array:
    """Which steps count, (*batch, T)."""
    ends = _checks.integers(name, "lengths", lengths, "They are numbers of steps: lengths.astype(jax.numpy.int32).")
    if ends.shape != batch:
        raise _checks.value_error(
            name,
            "lengths",
            f"shape {ends.shape}",
            f"{batch}, one for each sequence of x",
            "Nothing is broadcast: jax.numpy.full(x.shape[:-2], length) is one length for all.",
        )
    steps = jnp.arange(count, dtype=ends.dtype)
    return steps.reshape((1,) * len(batch) + (count,)) < ends[..., None]
