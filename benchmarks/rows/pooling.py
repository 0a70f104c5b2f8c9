"""Max and average pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rows._peers import FIRST, draw, equinox, flax, haiku, keras, lazily, torch_ways
from benchmarks.suite.jax_side import layer
from benchmarks.suite.row import DLCORE, ONE_RESULT, Enter, Floor, Row
from dlcore import nn

# x, window, stride
SHAPES = {
    "full": (
        ((64, 32, 32, 32), 2, 2),
        ((32, 28, 28, 32), 3, 2),
        ((16, 30, 30, 24), 3, 1),
        ((17, 25, 41, 48), 5, 3),
        ((8, 1024, 64), 4, 4),
    ),
    "quick": (((4, 9, 9, 8), 2, 2), ((3, 9, 10, 5), 3, 2)),
}


def rows(size: str) -> list[Row]:
    return [case(kind, *each) for kind in ("max", "avg") for each in SHAPES[size]]


def case(kind: str, shape: tuple[int, ...], window: int, stride: int) -> Row:
    n = len(shape) - 2
    x = draw(*shape)
    windows, strides = (window,) * n, (stride,) * n

    def ours(x: Any) -> Any:
        pool = nn.max_pool if kind == "max" else nn.avg_pool
        return pool(x, windows, strides=strides)

    def linen() -> Enter:
        pool = getattr(flax(), f"{kind}_pool")
        return layer(lambda x: pool(x, windows, strides=strides), (x,))

    def eqx() -> Enter:
        import jax

        pool = getattr(equinox().nn, f"{kind.title()}Pool{n}d")(window, stride)
        return layer(jax.vmap(pool), (x,), turn=(FIRST[n],), out=FIRST[n])

    def hk() -> Enter:
        pool = getattr(haiku(), f"{kind}_pool")
        return layer(lambda x: pool(x, (*windows, 1), (*strides, 1), "VALID"), (x,))

    def ks() -> Enter:
        title = "MaxPooling" if kind == "max" else "AveragePooling"
        pool = getattr(keras().layers, f"{title}{n}D")(window, stride)
        return layer(lambda x: pool.stateless_call([], [], x)[0], (x,))

    def torch(t: Any) -> Any:
        pool = getattr(t.nn.functional, f"{kind}_pool{n}d")
        return lambda x: pool(x, window, stride)

    outputs = [(size - window) // stride + 1 for size in shape[1:-1]]
    smaller = 4 * shape[0] * int(np.prod(outputs)) * shape[-1]
    return Row(
        name=f"{kind} pool {window}{f' × {window}' * (n - 1)}, stride {stride}",
        shape=f"{shape}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, (x,), turn=(FIRST[n],), out=FIRST[n]), DLCORE: layer(ours, (x,)),
        },
        # x read, y written; dy read, dx written. An average does not read x again; a maximum must know where it was.
        floor=Floor(2 * x.nbytes + 2 * smaller),
        bound=f"{ONE_RESULT}: the taps are read once for the value and once for which of them it was"
        if kind == "max" else "",
    )  # fmt: skip
