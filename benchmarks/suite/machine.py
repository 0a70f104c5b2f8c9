"""What this machine can do at best: bytes a second through memory, floating operations a second in a product."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.suite.row import Floor

__all__ = ["Machine", "measure_machine"]


class Machine(NamedTuple):
    """Measured rates."""

    bytes_per_second: float
    flops_per_second: float

    def seconds(self, floor: Floor) -> float:
        """The least time: what takes longer of moving and computing, were all else free."""
        return max(floor.bytes / self.bytes_per_second, floor.flops / self.flops_per_second)


def measure_machine(megabytes: int = 256, size: int = 2048) -> Machine:
    """The best of several: one array written over in place, and square products in float32 of three sizes."""
    array = jnp.zeros(megabytes * 2**18, jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    product = jax.jit(lambda a: a @ a)

    def seconds(run: Callable[[], Any]) -> float:
        best = float("inf")
        for _ in range(7):
            start = time.perf_counter()
            jax.block_until_ready(run())
            best = min(best, time.perf_counter() - start)
        return best

    def over() -> Any:
        nonlocal array
        array = add(array)
        return array

    rates = []
    for side in (size // 4, size // 2, size):
        a = jnp.ones((side, side), jnp.float32)
        rates.append(2 * side**3 / seconds(partial(product, a)))
    return Machine(2 * array.nbytes / seconds(over), max(rates))
