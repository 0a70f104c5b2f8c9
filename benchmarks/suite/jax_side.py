"""Contestants that are functions of JAX arrays: forward and backward in one compiled call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suite.layout import Order, layout
from benchmarks.suite.row import Arrays, Contestant, Enter

__all__ = ["compiled", "layer"]


def layer(
    function: Callable[..., Any],
    arrays: Arrays,
    *,
    slopes: int | None = None,
    turn: Sequence[Order] | None = None,
    out: Order = None,
) -> Enter:
    """`function(*arrays)` and its gradients, contracted with one fixed incoming gradient.

    Args:
      function: arrays to one array.
      arrays: in dlcore's layout; given as arguments, never as constants.
      slopes: how many of them, from the first, take gradients; all of floating dtype by default.
      turn: for each array the order of axes in which this contestant wants it.
      out: the order of axes in which it returns its result, of dlcore's.
    """

    def enter() -> Contestant:
        plan = layout(arrays, slopes, turn, out)
        own = [jnp.asarray(array) for array in plan.own(arrays)]
        shape = jax.eval_shape(function, *own)
        dy = jnp.asarray(plan.incoming(shape.shape, shape.dtype))

        def step(dy: Any, *own: Any) -> Any:
            count = plan.slopes
            y, pull = jax.vjp(lambda *first: function(*first, *own[count:]), *own[:count])
            return y, pull(dy)

        def results(found: Any) -> list[np.ndarray]:
            y, gradients = jax.tree.map(np.asarray, found)
            return plan.results(y, gradients)

        return compiled(step, (dy, *own), results)

    return enter


def compiled(
    step: Callable[..., Any], arguments: tuple[Any, ...], results: Callable[[Any], list[np.ndarray]]
) -> Contestant:
    """Compiles `step` for these arguments."""
    start = time.perf_counter()
    program = jax.jit(step).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    return Contestant(
        run=lambda: jax.block_until_ready(program(*arguments)),
        results=results,
        temporary_bytes=None if memory is None else memory.temp_size_in_bytes,
        compile_seconds=seconds,
    )
