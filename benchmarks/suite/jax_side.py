"""Contestants that are functions of JAX arrays: forward and backward in one compiled call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suite.row import Arrays, Contestant, Enter

__all__ = ["compiled", "incoming", "layer"]


def layer(
    function: Callable[..., Any],
    arrays: Arrays,
    *,
    slopes: int | None = None,
    turn: Sequence[Sequence[int] | None] | None = None,
    out: Sequence[int] | None = None,
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
        count = sum(np.issubdtype(a.dtype, np.floating) for a in arrays) if slopes is None else slopes
        orders = list(turn or [None] * len(arrays))
        own = [jnp.asarray(_turned(a, order)) for a, order in zip(arrays, orders, strict=True)]
        shape = jax.eval_shape(function, *own)
        # In dlcore's layout, so that all contestants get the same one.
        plain = tuple(np.argsort(out)) if out is not None else range(len(shape.shape))
        canonical = tuple(shape.shape[axis] for axis in plain)
        dy = jnp.asarray(_turned(incoming(canonical, shape.dtype), out))

        def step(dy: Any, *own: Any) -> Any:
            y, pull = jax.vjp(lambda *first: function(*first, *own[count:]), *own[:count])
            return y, pull(dy)

        def results(found: Any) -> list[np.ndarray]:
            y, gradients = found
            back = [None if order is None else np.argsort(order) for order in orders]
            return [_turned(y, plain), *(_turned(g, b) for g, b in zip(gradients, back, strict=False))]

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


def incoming(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The gradient that comes in, the same for all."""
    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


def _turned(array: Any, order: Any) -> np.ndarray:
    array = np.asarray(array)
    return array if order is None else np.ascontiguousarray(array.transpose(order))
