"""WaveNet generation, with cached activations and without, over the number of layers.

Without a cache, each new token takes a run of the network over its whole receptive field, which doubles with each layer
of a stack: `naive` does so in a compiled scan over tokens. With the cache, a token costs what its layers cost.

python -m benchmarks.wavenet_generation
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.timing import store
from dlcore import nn
from dlcore.nn.wavenet.config import Conditions
from dlcore.nn.wavenet.generation import draw
from dlcore.nn.wavenet.network import network

# Stacks and layers of each. The cached form is also measured where the naive one would take too long.
DEPTHS = ((1, 2), (1, 4), (1, 6), (1, 8), (1, 10), (1, 12), (2, 10), (3, 10))
NAIVE_UP_TO = 12
BATCHES = (1, 128)
ROUNDS = 7


@partial(jax.jit, static_argnames=("config", "length"))
def naive(key: Any, params: Any, config: nn.WaveNetConfig, length: int, prompt: Any) -> Any:
    """Tokens (B, length), each from a run of the whole network over one receptive field."""

    def step(window: Any, index: Any) -> tuple[Any, Any]:
        logits, _ = network(params, nn.embedding(params["embedding"], window), config, Conditions())
        token = draw(jax.random.fold_in(key, index), logits[:, -1], 1.0)
        return jnp.concatenate([window[:, 1:], token[:, None]], axis=-1), token

    return lax.scan(step, prompt, jnp.arange(length, dtype=jnp.int32))[1].T


def microseconds(run: Any, length: int) -> float:
    """The median time of one step, after one call that compiles."""
    jax.block_until_ready(run())
    series = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(run())
        series.append((time.perf_counter() - start) / length)
    return float(np.round(1e6 * np.median(series), 2))


def measure(stacks: int, layers: int, batch: int) -> dict[str, Any]:
    config = nn.WaveNetConfig(stacks=stacks, layers_per_stack=layers)
    reach = nn.receptive_field(config)
    params = nn.wavenet_init(jax.random.key(0), config)
    prompt = jax.random.randint(jax.random.key(1), (batch, reach), 0, config.classes, jnp.int32)
    key = jax.random.key(2)
    length = max(64, 4096 // batch)
    cached = jax.jit(nn.wavenet_generate, static_argnames=("config", "length"))
    row: dict[str, Any] = {"stacks": stacks, "layers": stacks * layers, "receptive_field": reach, "batch": batch}
    few = max(8, 4096 // reach)
    if batch == 1 and stacks * layers <= NAIVE_UP_TO:
        # Behind a prompt of one receptive field, both read the same tokens.
        both = naive(key, params, config, 8, prompt), cached(key, params, config, 8, prompt=prompt)
        assert (both[0] == both[1]).all()
        row["naive"] = microseconds(lambda: naive(key, params, config, few, prompt), few)
    # One token of the prompt, so that nothing but steps is measured.
    last = prompt[:, -1:]
    row["cached"] = microseconds(lambda: cached(key, params, config, length, prompt=last), length)
    row["cached_samples_per_second"] = round(1e6 * batch / row["cached"])
    if "naive" in row:
        row["ratio"] = round(row["naive"] / row["cached"], 2)
    print(row, flush=True)
    return row


def exponent(x: list[float], y: list[float]) -> float:
    """The slope of log y over log x."""
    return float(np.round(np.polyfit(np.log(x), np.log(y), 1)[0], 3))


def main() -> None:
    rows = [measure(stacks, layers, batch) for batch in BATCHES for stacks, layers in DEPTHS]
    one = [row for row in rows if row["batch"] == 1]
    # A step has a part that no layer adds to; the growth is that of the deeper half.
    deep = [row for row in one if row["layers"] >= 6]
    slow = [row for row in deep if "naive" in row]
    exponents = {
        "cached, time a sample over layers": exponent([r["layers"] for r in deep], [r["cached"] for r in deep]),
        "cached, time a sample over the receptive field, one stack": exponent(
            [r["receptive_field"] for r in slow], [r["cached"] for r in slow]
        ),
        "naive, time a sample over layers times the receptive field, one stack": exponent(
            [r["layers"] * r["receptive_field"] for r in slow], [r["naive"] for r in slow]
        ),
        "naive, time a sample over the receptive field, one stack": exponent(
            [r["receptive_field"] for r in slow], [r["naive"] for r in slow]
        ),
    }
    config = nn.WaveNetConfig()._asdict() | {"stacks": "as in the rows", "layers_per_stack": "as in the rows"}
    store("wavenet_generation", {"config": config, "microseconds_a_step": rows, "exponents": exponents})


if __name__ == "__main__":
    main()
