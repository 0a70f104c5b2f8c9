"""WaveNet generation, with cached activations and without, over the number of layers.

Without a cache, each new token takes a run of the network over its whole receptive field, which doubles with each layer
of a stack: `naive` does so in a compiled scan over tokens. With the cache, a token costs what its layers cost.

python -m benchmarks.wavenet_generation
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.timing import race, store
from dlcore import nn
from dlcore.nn.wavenet.config import Conditions
from dlcore.nn.wavenet.generation import draw
from dlcore.nn.wavenet.network import network

# Stacks and layers of each. The cached form is also measured where the naive one would take too long.
DEPTHS = ((1, 2), (1, 4), (1, 6), (1, 8), (1, 10), (1, 12), (2, 10), (3, 10))
NAIVE_UP_TO = 12
BATCHES = (1, 128)


@partial(jax.jit, static_argnames=("config", "length"))
def naive(key: Any, params: Any, config: nn.WaveNetConfig, length: int, prompt: Any) -> Any:
    """Tokens (B, length), each from a run of the whole network over one receptive field."""

    def step(window: Any, index: Any) -> tuple[Any, Any]:
        logits, _ = network(params, nn.embedding(params["embedding"], window), config, Conditions())
        token = draw(jax.random.fold_in(key, index), logits[:, -1], 1.0)
        return jnp.concatenate([window[:, 1:], token[:, None]], axis=-1), token

    return lax.scan(step, prompt, jnp.arange(length, dtype=jnp.int32))[1].T


def measure(stacks: int, layers: int, batch: int) -> dict[str, Any]:
    config = nn.WaveNetConfig(stacks=stacks, layers_per_stack=layers)
    reach = nn.receptive_field(config)
    params = nn.wavenet_init(jax.random.key(0), config)
    prompt = jax.random.randint(jax.random.key(1), (batch, reach), 0, config.classes, jnp.int32)
    key = jax.random.key(2)
    generate = jax.jit(nn.wavenet_generate, static_argnames=("config", "length"))
    # One token of the prompt, so that nothing but steps is measured.
    last = prompt[:, -1:]
    lengths = {"cached": max(64, 4096 // batch)}
    rivals: dict[str, Callable[[], Any]] = {
        "cached": lambda: generate(key, params, config, lengths["cached"], prompt=last)
    }
    if batch == 1 and stacks * layers <= NAIVE_UP_TO:
        # Behind a prompt of one receptive field, both read the same tokens.
        both = naive(key, params, config, 8, prompt), generate(key, params, config, 8, prompt=prompt)
        assert (both[0] == both[1]).all()
        lengths["naive"] = max(8, 4096 // reach)
        rivals["naive"] = lambda: naive(key, params, config, lengths["naive"], prompt)
    times = race(rivals, ())
    row: dict[str, Any] = {"stacks": stacks, "layers": stacks * layers, "receptive_field": reach, "batch": batch}
    row["microseconds_a_step"] = {
        name: {part: round(1e3 * value / lengths[name], 2) for part, value in series.items()}
        for name, series in times.items()
    }
    medians = {name: series["median"] for name, series in row["microseconds_a_step"].items()}
    row["cached_samples_per_second"] = round(1e6 * batch / medians["cached"])
    if "naive" in medians:
        row["ratio"] = round(medians["naive"] / medians["cached"], 2)
    print(row, flush=True)
    return row


def exponent(x: list[float], y: list[float]) -> float:
    """The slope of log y over log x."""
    return float(np.round(np.polyfit(np.log(x), np.log(y), 1)[0], 3))


def main() -> None:
    rows = [measure(stacks, layers, batch) for batch in BATCHES for stacks, layers in DEPTHS]
    # A step has a part that no layer adds to; the growth is that of the deeper half.
    deep = [row for row in rows if row["batch"] == 1 and row["layers"] >= 6]
    slow = [row for row in deep if "ratio" in row]

    def growth(form: str, chosen: list[dict[str, Any]], *over: str) -> float:
        times = [row["microseconds_a_step"][form]["median"] for row in chosen]
        return exponent([math.prod(row[name] for name in over) for row in chosen], times)

    exponents = {
        "cached, over layers": growth("cached", deep, "layers"),
        "cached, over the receptive field of one stack": growth("cached", slow, "receptive_field"),
        "naive, over the receptive field of one stack": growth("naive", slow, "receptive_field"),
        "naive, over layers times the receptive field of one stack": growth("naive", slow, "layers", "receptive_field"),
    }
    store("wavenet_generation", {"config": nn.WaveNetConfig()._asdict(), "rows": rows, "exponents": exponents})


if __name__ == "__main__":
    main()
