"""Initialisers: functions `(key, shape, dtype) -> Array` that draw a parameter's first value.

JAX's own, under one name. All of them read fan-in and fan-out as dlcore lays kernels out: the last axis holds
the outputs, the one before it the inputs, everything before those is the window. A grouped convolution's kernel
`(*window, in // groups, out)` therefore has the fan-in that one output really sees.

Example:
    >>> import jax
    >>> from dlcore.nn import initializers
    >>> initializers.he_normal()(jax.random.key(0), (3, 3, 16, 32), jax.numpy.float32).shape
    (3, 3, 16, 32)
"""

from __future__ import annotations

from typing import Protocol

from jax.nn.initializers import (
    constant,
    delta_orthogonal,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
    zeros,
)

from dlcore._typing import Array, DType, Key

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]


class Initializer(Protocol):
    """Draws a parameter: `(key, shape, dtype) -> Array`."""

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        """Returns an array of `shape` and `dtype` drawn with `key`."""
        ...
