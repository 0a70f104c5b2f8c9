"""Convolution, forward and backward, alone and inside a compiled loop: dlcore's form beside `lax`' own.

    python -m benchmarks.convolution

Inside a loop (`lax.scan`, as in a compiled epoch) XLA's CPU backend runs the gradients that JAX derives for
`lax.conv_general_dilated` as scalar loops; dlcore/kernels/convolution.py says why.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import race, store
from dlcore._windows import resolve_windows
from dlcore.kernels.convolution import plain_convolve
from dlcore.kernels.grouped_convolution import convolve

# (batch, height, width, channels in), window, channels out
CASES = (((32, 8, 8, 32), (3, 3), 64), ((32, 14, 14, 32), (3, 3), 32), ((64, 28, 28, 3), (5, 5), 16))
STEPS = 4


def measure(shape: tuple[int, ...], window: tuple[int, ...], features: int) -> dict[str, Any]:
    axes = resolve_windows("benchmark", shape[1:3], window, 1, "SAME", 1, limit="none")
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (*window, shape[-1], features)) / 10

    def gradients(convolution: Any, x: Any, kernel: Any) -> Any:
        return jax.grad(lambda x, kernel: (convolution(x, kernel, axes) ** 2).sum(), argnums=(0, 1))(x, kernel)

    def alone(convolution: Any) -> Any:
        return jax.jit(lambda x, kernel: gradients(convolution, x, kernel))

    def loop(convolution: Any) -> Any:
        def step(kernel: Any, x: Any) -> Any:
            dx, dkernel = gradients(convolution, x, kernel)
            return kernel - 1e-6 * dkernel, dx.sum()

        return jax.jit(lambda x, kernel: lax.scan(step, kernel, jnp.stack([x] * STEPS)))

    places = {"alone": (alone, 1), "in a loop": (loop, STEPS)}
    rivals = {
        f"{name}, {place}": make(convolution)
        for place, (make, _) in places.items()
        for name, convolution in (("lax", plain_convolve), ("dlcore", convolve))
    }
    for place in places:
        ours, theirs = (jax.tree.leaves(rivals[f"{name}, {place}"](x, kernel)) for name in ("dlcore", "lax"))
        for a, b in zip(ours, theirs, strict=True):
            assert jnp.allclose(a, b, rtol=1e-3, atol=1e-3 * jnp.abs(b).max())
    times = race(rivals, (x, kernel), rounds=7)
    per_step = {
        name: {part: round(value / places[name.partition(", ")[2]][1], 3) for part, value in spread.items()}
        for name, spread in times.items()
    }
    ratios = {
        place: round(times[f"lax, {place}"]["median"] / times[f"dlcore, {place}"]["median"], 2) for place in places
    }
    return {"x": shape, "window": window, "features": features, "milliseconds a step": per_step, "ratio": ratios}


def main() -> None:
    store("convolution", [measure(*case) for case in CASES])


if __name__ == "__main__":
    main()
