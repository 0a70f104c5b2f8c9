"""A linear layer with its softmax cross-entropy, fused and plain: time, and temporary memory.

python -m benchmarks.linear_softmax

Forward and backward, gradients in the parameters and the features. The plain form is `nn.dense`, then
`losses.softmax_cross_entropy`. Values and gradients are compared before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import race, store
from dlcore import losses, nn

# Examples, features, classes: anchored by the second; the others are odd in every dimension, or small.
SHAPES = ((256, 128, 4_001), (1024, 256, 32_000), (333, 100, 50_257), (4096, 64, 10_000), (2048, 512, 8_192))


def plain(params: Any, x: Any, labels: Any) -> Any:
    return losses.mean(losses.softmax_cross_entropy(nn.dense(params, x), labels))


def fused(params: Any, x: Any, labels: Any) -> Any:
    return losses.mean(losses.linear_softmax_cross_entropy(params, x, labels))


def measure(rows: int, inside: int, classes: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    params = {
        "kernel": jnp.asarray(rng.standard_normal((inside, classes)) / inside**0.5, jnp.float32),
        "bias": jnp.asarray(rng.standard_normal(classes), jnp.float32),
    }
    x = jnp.asarray(rng.standard_normal((rows, inside)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, classes, rows), jnp.int32)
    programs = {
        name: jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, x, labels).compile()
        for name, loss in (("plain", plain), ("dlcore", fused))
    }
    compiled: dict[str, Callable[..., Any]] = dict(programs)
    results = [jax.tree.leaves(run(params, x, labels)) for run in compiled.values()]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(a).max()))
    times = race(compiled, (params, x, labels), rounds=9)
    memory = {}
    for name, program in programs.items():
        analysis = program.memory_analysis()
        assert analysis is not None, "this backend does not tell its memory"
        memory[name] = analysis.temp_size_in_bytes
    row = {
        "shape": [rows, inside, classes],
        "milliseconds": times,
        "temporary_bytes": memory,
        "time_ratio": round(times["plain"]["median"] / times["dlcore"]["median"], 3),
        "memory_ratio": round(memory["plain"] / memory["dlcore"], 1),
    }
    print(row, flush=True)
    return row


def main() -> None:
    store("linear_softmax", {"rows": [measure(*shape) for shape in SHAPES]})


if __name__ == "__main__":
    main()
