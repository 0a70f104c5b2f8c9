"""Convolution: dense, grouped and depthwise, and transposed."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rows._peers import FIRST, draw, equinox, flax, haiku, keras, lazily, torch_ways, transformed
from benchmarks.suite.jax_side import layer
from benchmarks.suite.row import DLCORE, ONE_RESULT, Enter, Floor, Row
from dlcore import nn

# x, window, features, groups, stride
SHAPES = {
    "full": (
        ((32, 28, 28, 32), 3, 64, 1, 1),
        ((16, 28, 28, 64), 3, 3, 1, 1),
        ((8, 112, 112, 3), 16, 128, 1, 16),
        ((32, 28, 28, 32), 3, 32, 4, 1),
        ((16, 14, 14, 128), 3, 128, 32, 1),
        ((16, 28, 28, 48), 3, 96, 3, 2),
        ((64, 32, 32, 32), 3, 32, 32, 1),
        ((16, 29, 29, 96), 5, 96, 96, 2),
        ((16, 1000, 64), 7, 64, 64, 1),
    ),
    "quick": (((2, 6, 7, 8), 3, 8, 1, 1), ((2, 6, 7, 8), 3, 8, 2, 1), ((3, 6, 7, 4), 3, 4, 4, 2)),
}
# x, window, features, stride
TRANSPOSED = {
    "full": (
        ((32, 14, 14, 64), 4, 32, 2),
        ((16, 250, 64), 8, 32, 4),
        ((16, 28, 28, 24), 3, 24, 2),
        ((16, 28, 28, 64), 2, 32, 2),
    ),
    "quick": (((2, 5, 4, 6), 4, 4, 2), ((2, 9, 5), 3, 4, 2)),
}
# Kernels from (*window, in, out) to (out, in, *window).
OUT_FIRST = {1: (2, 1, 0), 2: (3, 2, 0, 1)}
FORWARD = {1: (1, 2, 0), 2: (2, 3, 0, 1)}

# Of (32, 28, 28, 32) → 64.
DENSE = (
    "Eigen's products reach 170 GFLOP/s forward and 86 in the kernel's gradient, a product with few rows; PyTorch's "
    "oneDNN 214 and 193"
)


def rows(size: str) -> list[Row]:
    return [*(case(*each) for each in SHAPES[size]), *(transposed_case(*each) for each in TRANSPOSED[size])]


def case(shape: tuple[int, ...], k: int, features: int, groups: int, stride: int) -> Row:
    n, channels = len(shape) - 2, shape[-1]
    # Patches need no margin.
    window, half = (k,) * n, k // 2 if stride < k else 0
    x = draw(*shape)
    kernel = draw(*window, channels // groups, features, seed=1) / np.float32(k**n)
    margin = ((half, half),) * n

    def linen() -> Enter:
        conv = flax().Conv(features, window, stride, margin, feature_group_count=groups, use_bias=False)
        return layer(lambda x, kernel: conv.apply({"params": {"kernel": kernel}}, x), (x, kernel))

    def eqx() -> Enter:
        import jax

        make = getattr(equinox().nn, f"Conv{n}d")
        conv = make(channels, features, k, stride, half, groups=groups, use_bias=False, key=jax.random.key(0))

        def function(x: Any, kernel: Any) -> Any:
            return jax.vmap(equinox().tree_at(lambda conv: conv.weight, conv, kernel))(x)

        return layer(function, (x, kernel), turn=(FIRST[n], OUT_FIRST[n]), out=FIRST[n])

    def hk() -> Enter:
        make = getattr(haiku(), f"Conv{n}D")
        conv = transformed(
            lambda x: make(features, k, stride, padding=margin, feature_group_count=groups, with_bias=False)(x)
        )
        return layer(lambda x, kernel: conv.apply({f"conv{n}_d": {"w": kernel}}, x), (x, kernel))

    def ks() -> Enter:
        make = getattr(keras().layers, f"Conv{n}D")
        pad = keras().ops.pad
        conv = make(features, k, stride, "valid", groups=groups, use_bias=False)
        conv.build((shape[0], *(size + 2 * half for size in shape[1:-1]), channels))

        def function(x: Any, kernel: Any) -> Any:
            return conv.stateless_call([kernel], [], pad(x, ((0, 0), *margin, (0, 0))))[0]

        return layer(function, (x, kernel))

    def torch(t: Any) -> Any:
        conv = getattr(t.nn.functional, f"conv{n}d")
        return lambda x, kernel: conv(x, kernel, stride=stride, padding=half, groups=groups)

    def ours(x: Any, kernel: Any) -> Any:
        return nn.conv({"kernel": kernel}, x, strides=stride, padding=margin, groups=groups)

    outputs = [(size + 2 * half - k) // stride + 1 for size in shape[1:-1]]
    y_bytes = 4 * shape[0] * int(np.prod(outputs)) * features
    kind = "dense" if groups == 1 else "depthwise" if groups == channels else f"{groups} groups"
    return Row(
        name=f"convolution {k}{f' × {k}' * (n - 1)}, {kind}, stride {stride}",
        shape=f"{shape} → {features}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, (x, kernel), turn=(FIRST[n], OUT_FIRST[n]), out=FIRST[n]),
            DLCORE: layer(ours, (x, kernel)),
        },
        # Three products, and x, y, dx and dy once, x and dy again.
        floor=Floor(3 * x.nbytes + 3 * y_bytes, 3 * 2 * y_bytes / 4 * k**n * channels / groups),
        bound=(
            f"{ONE_RESULT}: the kernel's gradient is a pass over x and dy for each of its places"
            if groups == channels
            else DENSE
            if groups == 1
            else "each group is one of Eigen's convolutions, with few channels; its kernel's gradient has few rows"
        ),
    )  # fmt: skip


def transposed_case(shape: tuple[int, ...], k: int, features: int, stride: int) -> Row:
    n, channels = len(shape) - 2, shape[-1]
    window = (k,) * n
    x = draw(*shape)
    # dlcore's kernel is the forward convolution's, (*window, F, C).
    kernel = draw(*window, features, channels, seed=2) / np.float32(k**n)
    flip = tuple(range(n))

    def linen() -> Enter:
        conv = flax().ConvTranspose(features, window, (stride,) * n, "VALID", use_bias=False, transpose_kernel=True)
        return layer(lambda x, kernel: conv.apply({"params": {"kernel": kernel}}, x), (x, kernel))

    def eqx() -> Enter:
        import jax
        import jax.numpy as jnp

        make = getattr(equinox().nn, f"ConvTranspose{n}d")
        conv = make(channels, features, k, stride, use_bias=False, key=jax.random.key(0))

        def function(x: Any, kernel: Any) -> Any:
            weight = jnp.flip(kernel, tuple(axis + 2 for axis in flip))
            return jax.vmap(equinox().tree_at(lambda conv: conv.weight, conv, weight))(x)

        return layer(function, (x, kernel), turn=(FIRST[n], FORWARD[n]), out=FIRST[n])

    def hk() -> Enter:
        import jax.numpy as jnp

        make = getattr(haiku(), f"Conv{n}DTranspose")
        conv = transformed(lambda x: make(features, k, stride, padding="VALID", with_bias=False)(x))
        return layer(
            lambda x, kernel: conv.apply({f"conv{n}_d_transpose": {"w": jnp.flip(kernel, flip)}}, x), (x, kernel)
        )

    def ks() -> Enter:
        conv = getattr(keras().layers, f"Conv{n}DTranspose")(features, k, stride, "valid", use_bias=False)
        conv.build(shape)
        return layer(lambda x, kernel: conv.stateless_call([kernel], [], x)[0], (x, kernel))

    def torch(t: Any) -> Any:
        conv = getattr(t.nn.functional, f"conv_transpose{n}d")
        return lambda x, kernel: conv(x, kernel, stride=stride)

    def ours(x: Any, kernel: Any) -> Any:
        return nn.conv_transpose({"kernel": kernel}, x, strides=stride, padding="VALID")

    outputs = [(size - 1) * stride + k for size in shape[1:-1]]
    y_bytes = 4 * shape[0] * int(np.prod(outputs)) * features
    return Row(
        name=f"transposed convolution {k}{f' × {k}' * (n - 1)}, stride {stride}",
        shape=f"{shape} → {features}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, (x, kernel), turn=(FIRST[n], (n + 1, n, *flip)), out=FIRST[n]),
            DLCORE: layer(ours, (x, kernel)),
        },
        floor=Floor(3 * x.nbytes + 3 * y_bytes, 3 * 2 * x.size * k**n * features),
        bound="the kernel's gradient reads its input with gaps, half of the time; the rest is dense, as above",
    )  # fmt: skip
