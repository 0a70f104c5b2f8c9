"""Folding a window's values into one, axis by axis: the common part of all pooling.

What the compiler does with the plain form: `lax.reduce_window` runs a scalar loop over each window on CPU, and
its gradient for max is a select-and-scatter, 10 to 40 times slower than the pooling itself.

The form here: a window is a product of intervals, so the axes are folded one after another, last axis first
(which keeps "first" meaning row-major first). Along an axis, every tap is one strided slice of the padded input
and taps are combined pairwise: k + k slices instead of k · k, all of them vectorised and fused by XLA, with a
gradient made of the slices' own transposes (pads). A long window is built from blocks of 1, 2, 4, … taps, so
that the number of operations grows with log k. Forward mode and Hessians need no rule of their own.

Measured beside `lax.reduce_window` by `python -m benchmarks.pooling`; figures: benchmarks/results/pooling.json.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._typing import Array
from dlcore._windows import WindowAxis

__all__ = ["fold_windows", "window_max", "window_sum"]

# (earlier values, later values, which earlier values hold at least one input) -> their combination
Combine: TypeAlias = Callable[[Array, Array, np.ndarray], Array]

# Up to this many taps are folded one by one; each costs a slice of the output's size.
SHORT = 8


def fold_windows(x: Array, axes: tuple[WindowAxis, ...], *, identity: float | int, combine: Combine) -> Array:
    """Folds the windows of the spatial axes before the last (channel) axis of `x`."""
    first = x.ndim - 1 - len(axes)
    for offset in reversed(range(len(axes))):
        x = _fold_axis(x, first + offset, axes[offset], identity, combine)
    return x


def window_max(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """The maximum of every window; the first maximal element takes the gradient, and NaN is a maximum."""
    inexact = jnp.issubdtype(x.dtype, np.inexact)
    lowest = -np.inf if inexact else int(np.iinfo(x.dtype).min)

    def combine(earlier: Array, later: Array, real: np.ndarray) -> Array:
        # Strictly greater, so that a tie stays with the earlier element and so does its gradient.
        take = later > earlier
        if inexact:
            take |= jnp.isnan(later) & ~jnp.isnan(earlier)
        if not real.all():
            # Padding loses even a tie: an input of −inf after it is the first maximal element.
            take |= jnp.asarray(~real)
        return jnp.where(take, later, earlier)

    return fold_windows(x, axes, identity=lowest, combine=combine)


def window_sum(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """The sum of every window, padding counting as zero."""
    return fold_windows(x, axes, identity=0, combine=lambda earlier, later, real: earlier + later)


def _fold_axis(x: Array, axis: int, w: WindowAxis, identity: float | int, combine: Combine) -> Array:
    span = (w.outputs - 1) * w.stride + 1
    margins = [(0, 0, 0)] * x.ndim
    # A negative high margin crops what no window reads.
    margins[axis] = (w.low, w.used - w.low - w.inputs, 0)
    padded = lax.pad(x, jnp.asarray(identity, x.dtype), margins)
    position = np.arange(w.used) - w.low
    shape = [1] * x.ndim
    shape[axis] = w.used
    real = ((position >= 0) & (position < w.inputs)).reshape(shape)

    Block: TypeAlias = tuple[Array, np.ndarray]

    def join(earlier: Block | None, later: Block) -> Block:
        if earlier is None:
            return later
        return combine(earlier[0], later[0], earlier[1]), earlier[1] | later[1]

    def cut(block: Block, start: int, length: int, stride: int) -> Block:
        stop = start + length
        return lax.slice_in_dim(block[0], start, stop, stride, axis), np.take(
            block[1], np.arange(start, stop, stride), axis
        )

    result: Block | None = None
    block: Block = (padded, real)
    if w.size <= SHORT:
        for tap in range(w.size):
            result = join(result, cut(block, tap * w.dilation, span, w.stride))
    else:
        # blocks[p] holds, at every position, the fold of the 2^p taps that start there.
        blocks = [block]
        while 2 ** len(blocks) <= w.size:
            reach = 2 ** (len(blocks) - 1) * w.dilation
            length = blocks[-1][1].shape[axis] - reach
            blocks.append(join(cut(blocks[-1], 0, length, 1), cut(blocks[-1], reach, length, 1)))
        start = 0
        for power in reversed(range(len(blocks))):
            if w.size & 2**power:
                result = join(result, cut(blocks[power], start * w.dilation, span, w.stride))
                start += 2**power
    assert result is not None
    return result[0]
