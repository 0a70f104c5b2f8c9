"""Max pooling, forward and backward: dlcore's form beside `lax.reduce_window`, which Flax, Haiku and Equinox call.

python -m benchmarks.pooling
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import race, store
from dlcore import nn

CASES = (
    ((64, 32, 32, 32), (2, 2), (2, 2)),
    ((32, 28, 28, 32), (3, 3), (2, 2)),
    ((32, 28, 28, 32), (3, 3), (1, 1)),
    ((8, 1024, 64), (16,), (1,)),
)


def measure(shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]) -> dict[str, Any]:
    x = jax.random.normal(jax.random.key(0), shape)
    weights = jax.random.normal(jax.random.key(1), nn.max_pool(x, window, strides=strides).shape)

    def reduce_window(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), "VALID")

    def dlcore(x: Any) -> Any:
        return nn.max_pool(x, window, strides=strides)

    def gradient(pool: Any) -> Any:
        return jax.jit(jax.value_and_grad(lambda x: (pool(x) * weights).sum()))

    rivals = {"reduce_window": gradient(reduce_window), "dlcore": gradient(dlcore)}
    (value, slope), (value_too, slope_too) = (rival(x) for rival in rivals.values())
    assert jnp.allclose(value, value_too, rtol=1e-3)
    assert jnp.allclose(slope, slope_too, rtol=1e-5, atol=1e-5)
    times = race(rivals, (x,))
    ratio = round(times["reduce_window"]["median"] / times["dlcore"]["median"], 2)
    return {"x": shape, "window": window, "strides": strides, "milliseconds": times, "ratio": ratio}


def main() -> None:
    store("pooling", [measure(*case) for case in CASES])


if __name__ == "__main__":
    main()
