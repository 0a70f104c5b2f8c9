"""Depthwise convolution: every channel has windows of its own, and none is a matrix product.

What the compiler does with the plain form: a convolution with as many groups as channels is a scalar loop, and its
kernel's gradient a product of all channels with all, of which the diagonal is kept: 30 to 60 times the time of the
memory it needs.

The floor is bytes: x, y, dy and dx once, and x and dy again. The form chosen: for every tap one slice of the padded
input times one number a channel, all of them in one fused sum; where the stride is 1, the last spatial axis and the
channels are one long axis of memory. The gradient in the input is `dlcore.kernels.spread`'s, weighted. That in the
kernel is one sum of products a tap; compilers that fuse products into a sum over leading axes run it element by
element, so that rows are put into a few stacks first, which are added as wholes, and as much is left as XLA's CPU
backend sums apart, by a library: eight times as fast for (8, 14, 14, 128).

Measured by `python -m benchmarks --only convolution`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import jax.numpy as jnp
from jax import lax

from dlcore._precision import compute_dtype
from dlcore._rows import blocks
from dlcore._typing import Array
from dlcore._windows import WindowAxis
from dlcore.backprop import _taps
from dlcore.kernels.spread import spread

__all__ = ["depthwise", "depthwise_input_gradient", "depthwise_kernel_gradient", "is_depthwise"]

# Up to so many taps are written out, and so many outputs a channel.
TAPS, OUTPUTS = 64, 4


def is_depthwise(kernel: Array, groups: int) -> bool:
    """Whether a kernel (*window, 1, F) is one that this file is for."""
    *window, inside, features = kernel.shape
    return inside == 1 and groups > 1 and math.prod(window) <= TAPS and features // groups <= OUTPUTS


def depthwise(x: Array, kernel: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """y (B, *outputs, C · M) of x (B, *inputs, C) and the kernel (*window, 1, C · M).

    y[…, p, c · M + m] = Σ_j W[j, 0, c · M + m] · x[…, p · stride + j · dilation − low, c]
    """
    channels, kept = x.shape[-1], x.dtype
    x, kernel = _wide(x), _wide(kernel)
    outputs = (x.shape[0], *(w.outputs for w in axes))
    whole = []
    for m in range(kernel.shape[-1] // channels):
        own = kernel[..., 0, m :: kernel.shape[-1] // channels]
        total: Array | None = None
        for tap, part in _parts(x, axes):
            factor = own[tap]
            if part.shape[-1] != channels:
                factor = jnp.tile(factor, axes[-1].outputs)
            term = part * factor.reshape((1,) * (part.ndim - 1) + (-1,))
            total = term if total is None else total + term
        assert total is not None
        whole.append(total.reshape(*outputs, channels))
    return _interleaved(whole).astype(kept)


def depthwise_input_gradient(kernel: Array, dy: Array, axes: tuple[WindowAxis, ...], channels: int) -> Array:
    """dx (B, *inputs, C) of dy (B, *outputs, C · M)."""
    each, kept = kernel.shape[-1] // channels, dy.dtype
    kernel, dy = _wide(kernel), _wide(dy)
    total: Array | None = None
    for m in range(each):
        own, error = kernel[..., m::each], dy[..., m::each] if each > 1 else dy
        if all(w.stride == 1 for w in axes):
            # The windows that read the output which an input has gone into, taken backwards.
            back = tuple(WindowAxis(w.outputs, w.inputs, w.size, 1, w.dilation, w.extent - 1 - w.low, 0) for w in axes)
            term = depthwise(error, lax.rev(own, tuple(range(len(axes)))), back)
        else:
            term = spread(error, axes, weights=own[..., 0, :])
        total = term if total is None else total + term
    assert total is not None
    return total.astype(kept)


def depthwise_kernel_gradient(x: Array, dy: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """dW (*window, 1, C · M)."""
    channels, kept = x.shape[-1], dy.dtype
    x, dy = _wide(x), _wide(dy)
    each = dy.shape[-1] // channels
    if not dy.size:
        return jnp.zeros((*(w.size for w in axes), 1, dy.shape[-1]), kept)
    whole = []
    for m in range(each):
        error = dy[..., m::each] if each > 1 else dy
        sums = [_sum_of_products(part, error.reshape(part.shape)) for _, part in _parts(x, axes)]
        # (taps, outputs · C) where the last spatial axis lies in one with the channels.
        stacked = jnp.stack(sums).reshape(len(sums), -1, channels).sum(1)
        whole.append(stacked.reshape(*(w.size for w in axes), 1, channels))
    return _interleaved(whole).astype(kept)


def _sum_of_products(a: Array, b: Array) -> Array:
    """Σ a · b over all axes but the last."""
    # Not `column_sum`: its rest, a sum of its own, costs more here than a last stack that is filled up.
    stacks = blocks(a.size)
    # Few examples are taken row by row.
    lead = a.shape[0] if a.shape[0] >= stacks or a.ndim == 2 else a.shape[0] * a.shape[1]
    a, b = (part.reshape(lead, -1, part.shape[-1]) for part in (a, b))
    height = -(-lead // stacks)
    total: Array | None = None
    for start in range(0, lead, height):
        term = a[start : start + height] * b[start : start + height]
        lacking = height - term.shape[0]
        if lacking:
            term = lax.pad(term, jnp.zeros((), term.dtype), ((0, lacking, 0), (0, 0, 0), (0, 0, 0)))
        total = term if total is None else total + term
    assert total is not None
    return total.reshape(-1, total.shape[-1]).sum(0)


def _wide(x: Array) -> Array:
    """Half precision is summed in float32."""
    return x.astype(compute_dtype(x.dtype))


def _parts(x: Array, axes: tuple[WindowAxis, ...]) -> Iterator[tuple[tuple[int, ...], Array]]:
    """For each tap what it reads: (B, *outputs, C), or (B, *outputs before the last, last output · C)."""
    padded = _taps.pad(x, axes, 0)
    last, channels = axes[-1], x.shape[-1]
    if last.stride != 1:
        for tap in _taps.each(axes):
            yield tap, _taps.read(padded, axes, tap)
        return
    # One axis of places and channels is read as places that are `channels` apart.
    merged = padded.reshape(*padded.shape[:-2], padded.shape[-2] * channels, 1)
    lanes = (*axes[:-1], last._replace(outputs=last.outputs * channels, dilation=last.dilation * channels))
    for tap in _taps.each(axes):
        yield tap, _taps.read(merged, lanes, tap)[..., 0]


def _interleaved(parts: list[Array]) -> Array:
    """M arrays (…, C) as (…, C · M), the channel's own M side by side."""
    if len(parts) == 1:
        return parts[0]
    return jnp.stack(parts, -1).reshape(*parts[0].shape[:-1], -1)
