"""Convolution whose windows lie side by side, as in the patches of a picture: a matrix product.

What the compiler does with the plain form: the gradient in the input is a convolution of dy with gaps, of which all but
one in window × window products are with zero; for patches of 16 × 16 that is eight times the time of all the rest.

The floor is that of the product, with x and y read and written once. The form chosen: x in blocks, the places of a
block beside each other, times the kernel as a matrix; nothing overlaps, so that the gradients are products too, and
JAX derives them: there is no rule here. Its transpose is `dlcore.kernels.few_features.products_back`, with one shift.

Measured by `python -m benchmarks --only convolution`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from dlcore._typing import Array
from dlcore._windows import WindowAxis

__all__ = ["are_apart", "convolve_apart"]


def are_apart(axes: Sequence[WindowAxis]) -> bool:
    """Whether each place is in one window, of more places than one."""
    beside = all(w.size == w.stride and w.dilation == 1 for w in axes)
    return beside and math.prod(w.size for w in axes) > 1


def convolve_apart(x: Array, kernel: Array, axes: Sequence[WindowAxis]) -> Array:
    """y (B, *outputs, F) of x (B, *inputs, C) and the kernel (*window, C, F)."""
    n, (channels, features) = len(axes), kernel.shape[-2:]
    sizes, outputs = [w.size for w in axes], [w.outputs for w in axes]
    margins = [(w.low, w.outputs * w.size - w.low - w.inputs, 0) for w in axes]
    seen = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *margins, (0, 0, 0)])
    blocks = seen.reshape(x.shape[0], *itertools.chain(*zip(outputs, sizes, strict=True)), channels)
    blocks = blocks.transpose(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
    rows = blocks.reshape(x.shape[0] * math.prod(outputs), math.prod(sizes) * channels)
    return (rows @ kernel.reshape(rows.shape[1], features)).reshape(x.shape[0], *outputs, features)
