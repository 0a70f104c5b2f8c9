"""Folding a window's values into one, axis by axis: the common part of all pooling.

What the compiler does with the plain form: `lax.reduce_window` runs a scalar loop over each window on CPU, and
its gradient for max is a select-and-scatter, 10 to 40 times slower than the pooling itself.

The form here: a window is a product of intervals, so the axes are folded one after another, last axis first
(which keeps "first" meaning row-major first). Along an axis, every tap is one strided slice of the padded input
and taps are combined pairwise: k + k slices instead of k · k, all of them vectorised and fused by XLA, with a
gradient made of the slices' own transposes (pads). A long window is built from blocks of 1, 2, 4, … taps, so
that the number of operations grows with log k. Forward mode and Hessians need no rule of their own.

Maxima and sums of short windows have a rule all the same: the transposes of strided slices are pads with gaps, slow
loops; `dlcore.kernels.spread` is the gradient without gaps, which needs no more of a maximum than the number of the tap
that won, one byte. Few taps are read at once then, with nothing stored between the axes.

Measured by `python -m benchmarks --only pooling`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._typing import Array
from dlcore._varying import transposed
from dlcore._windows import WindowAxis
from dlcore.backprop import _taps
from dlcore.kernels.spread import spread

__all__ = ["absolute", "fold_windows", "ranked", "window_argmax", "window_max", "window_norm", "window_sum"]

# (earlier values, later values, which earlier values hold at least one input) -> their combination
Combine: TypeAlias = Callable[[Array, Array, np.ndarray], Array]
# Several arrays that are folded together, and how.
Arrays: TypeAlias = tuple[Array, ...]
CombineAll: TypeAlias = Callable[[Arrays, Arrays, np.ndarray], Arrays]

# Up to this many taps are folded one by one; each costs a slice of the output's size.
SHORT = 8
# Up to this many taps of several axes are read at once, and their gradient is a rule's.
FEW = 32


def fold_windows(x: Array, axes: tuple[WindowAxis, ...], *, identity: float | int, combine: Combine) -> Array:
    """Folds the windows of the spatial axes before the last (channel) axis of `x`."""
    return _fold((x,), axes, (identity,), lambda earlier, later, real: (combine(earlier[0], later[0], real),))[0]


def window_max(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """The maximum of every window; the first maximal element takes the gradient, and NaN is a maximum."""
    return _by_groups(x, axes, _max, _folded_max)


def _folded_max(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    def combine(earlier: Array, later: Array, real: np.ndarray) -> Array:
        return jnp.where(_later_is_larger(earlier, later, real), later, earlier)

    return fold_windows(x, axes, identity=_lowest(x), combine=combine)


# custom_jvp: see the top of the file. It saves the number of the first maximal tap, one byte an output.
@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    return fold_windows(x, axes, identity=-np.inf, combine=lambda earlier, later, _: jnp.maximum(earlier, later))


@_max.defjvp
def _max_jvp(axes: tuple[WindowAxis, ...], primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    y, index = _taps.first_maximum(primals[0], axes)
    # Defined as a transpose, so that reverse mode, which transposes it again, runs `spread` itself.
    return y, transposed(lambda dy: spread(dy, axes, index), y, tangents[0])


def _by_groups(
    x: Array, axes: tuple[WindowAxis, ...], ruled: Callable[..., Array], folded: Callable[..., Array]
) -> Array:
    """All axes at once where they have few taps together; else one by one, the last first, long ones without rule."""
    if not jnp.issubdtype(x.dtype, np.inexact):
        return folded(x, axes)
    if math.prod(w.size for w in axes) <= FEW and all(w.size <= SHORT for w in axes):
        return ruled(x, axes)
    first = x.ndim - 1 - len(axes)
    for offset in reversed(range(len(axes))):
        w, axis = axes[offset], first + offset
        # What stands behind the axis takes the place of the channels.
        y = (ruled if w.size <= SHORT else folded)(x.reshape(*x.shape[: axis + 1], -1), (w,))
        x = y.reshape(*x.shape[:axis], w.outputs, *x.shape[axis + 1 :])
    return x


def window_argmax(x: Array, axes: tuple[WindowAxis, ...]) -> tuple[Array, Array]:
    """`window_max`, and which input that is: its index into the flattened spatial axes, int32."""
    sizes = [w.inputs for w in axes]
    places = lax.iota(jnp.int32, math.prod(sizes)).reshape((1,) * (x.ndim - 1 - len(axes)) + (*sizes, 1))
    ranks = ranked(x)

    def combine(earlier: Arrays, later: Arrays, real: np.ndarray) -> Arrays:
        take = _later_is_larger(earlier[2], later[2], real)
        return tuple(jnp.where(take, two, one) for one, two in zip(earlier, later, strict=True))

    y, index, _ = _fold((x, places, ranks), axes, (_lowest(x), 0, _lowest(ranks)), combine)
    return y, jnp.broadcast_to(index, y.shape)


def ranked(x: Array) -> Array:
    """Integers in the order of `x`, NaN above all and −0 beside 0; constants to the gradient.

    Compiled code takes subnormal numbers for 0 when it compares floats, and then another of them is the first maximum;
    it compares integers exactly.
    """
    if not jnp.issubdtype(x.dtype, np.inexact):
        return x
    integer = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    largest = int(np.iinfo(integer).max)
    x = lax.stop_gradient(x)
    bits = lax.bitcast_convert_type(x, integer)
    size = bits & largest
    return jnp.where(jnp.isnan(x), largest, jnp.where(bits < 0, -size, size))


def window_sum(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """The sum of every window, padding counting as zero."""
    return _by_groups(x, axes, _sum, _folded_sum)


def _folded_sum(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    return fold_windows(x, axes, identity=0, combine=lambda earlier, later, real: earlier + later)


# custom_jvp: see the top of the file. It saves nothing.
@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _sum(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    padded = _taps.pad(x, axes, 0)
    return _taps.total(_taps.read(padded, axes, tap) for tap in _taps.each(axes))


@_sum.defjvp
def _sum_jvp(axes: tuple[WindowAxis, ...], primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    y = _sum(primals[0], axes)
    return y, transposed(lambda dy: spread(dy, axes), y, tangents[0])


def window_norm(x: Array, axes: tuple[WindowAxis, ...], p: float) -> Array:
    """(Σ |x|^p)^(1/p) of every window, p finite and at least 1, padding counting as zero; its gradient at 0 is 0.

    A norm of norms is the norm of all: two taps are combined after the larger has been divided out, so that neither
    large nor tiny numbers overflow or vanish.
    """
    if p == 1:
        return window_sum(absolute(x), axes)
    # A window of one tap is not combined with anything, and keeps its sign.
    return absolute(fold_windows(x, axes, identity=0, combine=lambda earlier, later, real: _norm(earlier, later, p)))


def absolute(x: Array) -> Array:
    """|x| with derivative 0 at 0, where that of `jnp.abs` is 1."""
    return x * jnp.sign(x)


# custom_jvp: the derivative of the scaled form would pass through 0 / 0 and be rounded in every branch. It saves both
# taps and their norm.
@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _norm(a: Array, b: Array, p: float) -> Array:
    """(|a|^p + |b|^p)^(1/p); below the smallest normal number, which compilers may take for zero, the larger."""
    a, b = jnp.abs(a), jnp.abs(b)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    plain = (large >= jnp.finfo(large.dtype).tiny) & (large < np.inf)
    ratio = jnp.where(plain, small, 0) / jnp.where(plain, large, 1)
    root = jnp.sqrt(1 + ratio * ratio) if p == 2 else (1 + ratio**p) ** (1 / p)
    return large * root


def _norm_jvp(p: float, primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    a, b = primals
    norm = _norm(a, b, p)
    return norm, _norm_slope(a, norm, p) * tangents[0] + _norm_slope(b, norm, p) * tangents[1]


_norm.defjvp(_norm_jvp)


def _norm_slope(a: Array, norm: Array, p: float) -> Array:
    """∂ norm / ∂a = sign(a) · (|a| / norm)^(p − 1): 0 at the zero window, and a share of one or none at infinity."""
    plain = (norm >= jnp.finfo(norm.dtype).tiny) & (norm < np.inf)
    ratio = jnp.where(plain, a, 0) / jnp.where(plain, norm, 1)
    if p != 2:
        # Written so that the second derivative at a = 0 is right where it is finite, and never NaN.
        size = jnp.abs(jnp.where(ratio == 0, 1, ratio))
        ratio = ratio * size ** (p - 2)
    slope = jnp.where(norm == np.inf, jnp.where(jnp.abs(a) == np.inf, jnp.sign(a), 0), ratio)
    return jnp.where(jnp.isnan(norm), norm, slope)


def _lowest(x: Array) -> float | int:
    return -np.inf if jnp.issubdtype(x.dtype, np.inexact) else int(np.iinfo(x.dtype).min)


def _later_is_larger(earlier: Array, later: Array, real: np.ndarray) -> Array:
    # Strictly greater, so that a tie stays with the earlier element and so does its gradient.
    take = later > earlier
    if jnp.issubdtype(earlier.dtype, np.inexact):
        take |= jnp.isnan(later) & ~jnp.isnan(earlier)
    if not real.all():
        # Padding loses even a tie: an input of −inf after it is the first maximal element.
        take |= jnp.asarray(~real)
    return take


def _fold(xs: Arrays, axes: tuple[WindowAxis, ...], identities: tuple[Any, ...], combine: CombineAll) -> Arrays:
    first = xs[0].ndim - 1 - len(axes)
    for offset in reversed(range(len(axes))):
        xs = _fold_axis(xs, first + offset, axes[offset], identities, combine)
    return xs


def _fold_axis(xs: Arrays, axis: int, w: WindowAxis, identities: tuple[Any, ...], combine: CombineAll) -> Arrays:
    span = (w.outputs - 1) * w.stride + 1
    margins = [(0, 0, 0)] * xs[0].ndim
    # A negative high margin crops what no window reads.
    margins[axis] = (w.low, w.used - w.low - w.inputs, 0)
    padded = tuple(
        lax.pad(x, jnp.asarray(identity, x.dtype), margins) for x, identity in zip(xs, identities, strict=True)
    )
    position = np.arange(w.used) - w.low
    shape = [1] * xs[0].ndim
    shape[axis] = w.used
    real = ((position >= 0) & (position < w.inputs)).reshape(shape)

    Block: TypeAlias = tuple[Arrays, np.ndarray]

    def join(earlier: Block | None, later: Block) -> Block:
        if earlier is None:
            return later
        return combine(earlier[0], later[0], earlier[1]), earlier[1] | later[1]

    def cut(block: Block, start: int, length: int, stride: int) -> Block:
        stop = start + length
        parts = tuple(lax.slice_in_dim(x, start, stop, stride, axis) for x in block[0])
        return parts, np.take(block[1], np.arange(start, stop, stride), axis)

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
