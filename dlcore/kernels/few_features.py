"""Convolution from many channels to a few, as at the end of a decoder: the product first, then the windows.

What the compiler does with the plain form: a product of patches, each channel copied once for every tap, with a kernel
of one to four columns, of which its routine for products takes four at a time: 6 to 40 GFLOP/s where 150 are had.

The floor is x once. The form chosen: one product of x, as it lies, with all taps of the kernel side by side; then each
output is the sum of what its taps' places have for it. With a stride, as transposed convolution has, tap
j = m · stride + r adds to place r of the block of outputs that is m further, so that it is a sum over few shifts of
whole blocks; of windows that lie side by side there is one shift, whatever the features. One to four times as fast,
while the product is at most twice as large as x.

Measured by `python -m benchmarks --only convolution`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from dlcore._precision import compute_dtype
from dlcore._typing import Array
from dlcore._windows import WindowAxis

__all__ = ["are_few", "few_features", "products_back"]

# Columns that XLA's routine for products on CPU takes at once; and up to so many taps are written out.
COLUMNS, TAPS = 4, 64


def are_few(channels: int, features: int, axes: Sequence[WindowAxis]) -> bool:
    """Whether a map from `channels` to `features` is one that this file is for; forward it must have stride 1."""
    taps = math.prod(-(-w.size // w.stride) * w.stride for w in axes)
    small = features <= COLUMNS and 1 < taps <= TAPS and features * taps <= 2 * channels
    return small and all(w.dilation == 1 and w.low < w.size for w in axes)


def few_features(x: Array, kernel: Array, axes: Sequence[WindowAxis]) -> Array:
    """y (B, *outputs, F) of x (B, *inputs, C) and the kernel (*window, C, F), with stride 1.

    y[b, p, f] = Σ_{j, c} W[j, c, f] · x[b, p + j − low, c]
    """
    n = len(axes)
    # The windows that an input belongs to, taken backwards.
    back = [WindowAxis(w.outputs, w.inputs, w.size, 1, 1, w.size - 1 - w.low, w.size - 1 - w.high) for w in axes]
    return products_back(lax.rev(kernel, tuple(range(n))).swapaxes(n, n + 1), x, back)


def products_back(kernel: Array, dy: Array, axes: Sequence[WindowAxis]) -> Array:
    """dx (B, *inputs, C) of dy (B, *outputs, F) and the kernel (*window, C, F), with any stride.

    dx[b, q, c] = Σ_{j, f} W[j, c, f] · dy[b, (q + low − j) / stride, f]
    """
    n, channels = len(axes), kernel.shape[-2]
    shifts = [-(-w.size // w.stride) for w in axes]
    steps = [w.stride for w in axes]
    # (shifts, places of a block, C, F): a block that is not full has zeros.
    more = [(0, m * w.stride - w.size, 0) for m, w in zip(shifts, axes, strict=True)]
    taps = lax.pad(kernel, jnp.zeros((), kernel.dtype), [*more, (0, 0, 0), (0, 0, 0)])
    taps = taps.reshape(*itertools.chain(*zip(shifts, steps, strict=True)), *kernel.shape[-2:])
    taps = taps.transpose(*range(0, 2 * n, 2), *range(1, 2 * n, 2), 2 * n, 2 * n + 1)
    width = math.prod(steps) * channels
    columns = taps.reshape(math.prod(shifts) * width, dy.shape[-1])
    rows = dy.reshape(math.prod(dy.shape[:-1]), dy.shape[-1])
    # One dtype up to the end: half precision is summed in float32.
    product = lax.dot_general(rows, columns, (((1,), (1,)), ((), ())), preferred_element_type=compute_dtype(dy.dtype))
    product = product.reshape(*dy.shape[:-1], math.prod(shifts) * width)
    # Block q of the outputs takes from shift m what stands at q − m.
    blocks = [-(-(w.low + w.inputs) // w.stride) for w in axes]
    margins = [(m - 1, q - w.outputs, 0) for m, q, w in zip(shifts, blocks, axes, strict=True)]
    padded = lax.pad(product, jnp.zeros((), product.dtype), [(0, 0, 0), *margins, (0, 0, 0)])
    total: Array | None = None
    for number, shift in enumerate(itertools.product(*map(range, shifts))):
        part = padded[..., number * width : (number + 1) * width]
        for axis, (m, count, q) in enumerate(zip(shift, shifts, blocks, strict=True), 1):
            part = lax.slice_in_dim(part, count - 1 - m, count - 1 - m + q, axis=axis)
        total = part if total is None else total + part
    assert total is not None
    # (B, *blocks, *places, C) to (B, block, place, block, place, C).
    apart = total.reshape(dy.shape[0], *blocks, *steps, channels)
    order = itertools.chain(*((1 + axis, 1 + n + axis) for axis in range(n)))
    whole = apart.transpose(0, *order, 2 * n + 1)
    whole = whole.reshape(dy.shape[0], *(q * step for q, step in zip(blocks, steps, strict=True)), channels)
    for axis, w in enumerate(axes, 1):
        whole = lax.slice_in_dim(whole, w.low, w.low + w.inputs, axis=axis)
    return whole.astype(dy.dtype)
