"""Dropout. Masks differ between libraries; what is compared is how much stays, its scale, and the gradient's mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rows._peers import draw, equinox, flax, haiku, keras, lazily, torch_ways
from benchmarks.suite.jax_side import layer
from benchmarks.suite.layout import layout
from benchmarks.suite.row import DLCORE, Enter, Floor, Row
from dlcore import nn

# x, rate
SHAPES = {
    "full": (((1024, 1024), 0.5), ((1024, 1024), 0.1), ((31, 64, 509), 0.3), ((64, 28, 28, 32), 0.25)),
    "quick": (((50, 70), 0.5), ((999,), 0.1)),
}


def rows(size: str) -> list[Row]:
    return [case(*each) for each in SHAPES[size]]


def case(shape: tuple[int, ...], rate: float) -> Row:
    # Away from zero, so that what is dropped can be told.
    x = np.abs(draw(*shape)) + 1
    seed = np.asarray([7], np.uint32)

    def keyed(function: Any) -> Enter:
        def with_key(x: Any, seed: Any) -> Any:
            import jax

            return function(jax.random.key(seed[0]), x)

        return layer(with_key, (x, seed), slopes=1)

    def linen() -> Enter:
        drop = flax().Dropout(rate, deterministic=False)
        return keyed(lambda key, x: drop.apply({}, x, rngs={"dropout": key}))

    def eqx() -> Enter:
        drop = equinox().nn.Dropout(rate)
        return keyed(lambda key, x: drop(x, key=key))

    def hk() -> Enter:
        drop = haiku().dropout
        return keyed(lambda key, x: drop(key, rate, x))

    def ks() -> Enter:
        drop = keras().random.dropout

        def function(x: Any, seed: Any) -> Any:
            import jax.numpy as jnp

            return drop(x, rate, seed=jnp.concatenate([seed, seed]))

        return layer(function, (x, seed), slopes=1)

    def torch(t: Any) -> Any:
        return lambda x, seed: t.nn.functional.dropout(x, rate, training=True)

    def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
        dy = layout((x,), 1, None, None).incoming(shape, x.dtype)
        for y, dx in (found, expected):
            kept = y != 0
            assert abs(kept.mean() - (1 - rate)) < 5 * (rate * (1 - rate) / x.size) ** 0.5, "another rate"
            np.testing.assert_allclose(y, kept * x / np.float32(1 - rate), rtol=1e-6)
            np.testing.assert_allclose(dx, kept * dy / np.float32(1 - rate), rtol=1e-6)

    return Row(
        name=f"dropout, rate {rate}",
        shape=f"{shape}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, (x, seed), slopes=1), DLCORE: keyed(lambda key, x: nn.dropout(key, x, rate=rate)),
        },
        floor=Floor(4 * x.nbytes),
        check=check,
    )  # fmt: skip
