"""What rnn, gru and lstm share around their equation: arguments, lengths, dtypes, and the loop over time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore.kernels.recurrence import Cell, Kernels, State, plain_recurrence, recurrence
from dlcore.nn.recurrent._params import Weights

__all__ = ["flag", "loop", "sequence", "state_of", "through_time"]

# (reverse, unroll, kernels, state, x, which steps count) -> all outputs and the last state
Run: TypeAlias = Callable[[bool, int, Kernels, State, Array, Array | None], tuple[Array, State]]
# From so many features on the derivative rule pays: see `dlcore.kernels.recurrence`.
WIDE = 12


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


def through_time(
    name: str,
    weights: Weights,
    run: Run,
    x: Array,
    initial: tuple[ArrayLike | None, ...],
    *,
    lengths: ArrayLike | None,
    reverse: bool,
    unroll: int,
) -> tuple[Array, State]:
    """All outputs, (*batch, T, F), and the last state.

    Args:
      name: for errors.
      weights: the parameters.
      run: the loop.
      x: (*batch, T, D).
      initial: the state before the first step; zeros for None.
      lengths: how many steps of each sequence count; all for None.
      reverse: from the last step to the first.
      unroll: how many steps are one turn of the compiled loop.
    """
    flag(name, "reverse", reverse)
    unroll = _checks.integer(name, "unroll", unroll, low=1)
    *batch, count, _ = x.shape
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
    ys, last = run(bool(reverse), unroll, weights.kernels, state, values.astype(dtype), counts)
    ys = ys if counts is None else jnp.where(counts, ys, 0)
    return jnp.moveaxis(ys.astype(x.dtype), 0, -2), tuple(part.astype(x.dtype) for part in last)


def loop(cell: Cell, features: int) -> Run:
    """The loop that is faster for so many features."""
    return partial(recurrence if features >= WIDE else plain_recurrence, cell)


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
