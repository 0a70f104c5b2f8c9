"""Back from windows to what they read: each output's number goes to all of its window, or to one tap of it.

What the compiler does with the plain form: the transposes of strided slices are pads with gaps, one for each tap, which
run element by element; the gradient of `lax.reduce_window` is a scatter.

The floor is one pass: dy read, dx written. The form chosen: an input at position p = q · stride + r is read by output
q − m through tap t only where t · dilation = m · stride + r. So dx, seen as blocks of `stride` positions, is a sum over
a few shifts m of dy, each repeated over the block and kept where the tap is right: broadcasts, comparisons and one sum,
fused into one loop without gaps. Where windows do not overlap there is one shift.

Measured by `python -m benchmarks --only pooling`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._typing import Array
from dlcore._windows import WindowAxis
from dlcore.backprop import _taps

__all__ = ["plain_spread", "spread"]


def plain_spread(
    dy: Array, axes: Sequence[WindowAxis], index: Array | None = None, weights: Array | None = None
) -> Array:
    """The reference: dx (*lead, *inputs, C) from dy (*lead, *outputs, C), a padded copy for each tap.

    With `index`, of the shape of dy, each number goes to that tap of its window alone, in row-major order; with
    `weights`, (*window, C), it is multiplied by that of the tap it goes to.
    """

    def part(number: int, tap: tuple[int, ...]) -> Array:
        chosen = dy if index is None else jnp.where(index == number, dy, 0)
        return _taps.write(chosen if weights is None else chosen * _broad(weights[tap], dy.ndim, 0), axes, tap)

    return _taps.crop(_taps.total(part(*each) for each in enumerate(_taps.each(axes))), axes)


def spread(dy: Array, axes: Sequence[WindowAxis], index: Array | None = None, weights: Array | None = None) -> Array:
    """`plain_spread`, in blocks."""
    lead = dy.ndim - 1 - len(axes)
    blocks = [-(-(w.low + w.inputs) // w.stride) for w in axes]
    # For every axis: shift -> the tap by which each place of a block is read, −1 for none.
    shifts = [_taps_by_shift(w) for w in axes]
    margins = [(max(taps), q - w.outputs, 0) for taps, q, w in zip(shifts, blocks, axes, strict=True)]
    margins = [(0, 0, 0)] * lead + margins + [(0, 0, 0)]

    def padded(array: Array, filler: int) -> Array:
        return lax.pad(array, jnp.asarray(filler, array.dtype), margins)

    number = math.prod(w.size for w in axes)
    values = padded(dy, 0)
    choice = None if index is None else padded(index, number)

    def cut(array: Array, shift: tuple[int, ...]) -> Array:
        for offset, (m, taps, q) in enumerate(zip(shift, shifts, blocks, strict=True)):
            start = max(taps) - m
            array = lax.slice_in_dim(array, start, start + q, axis=lead + offset)
        return jnp.expand_dims(array, tuple(lead + 2 * offset + 1 for offset in range(len(axes))))

    total: Array | None = None
    for shift in itertools.product(*shifts):
        tap, real = np.zeros((), int), np.ones((), bool)
        for offset, (m, taps, w) in enumerate(zip(shift, shifts, axes, strict=True)):
            place = np.asarray(taps[m]).reshape((-1,) + (1, 1) * (len(axes) - 1 - offset) + (1,))
            tap, real = tap * w.size + place, real & (place >= 0)
        part = cut(values, shift)
        if choice is not None:
            # One more than the last tap fills what no window reads; two more never stands in `choice`.
            wanted = jnp.asarray(np.where(real, tap, number + 1), choice.dtype)
            part = jnp.where(_broad(wanted, 2 * len(axes) + 1, lead) == cut(choice, shift), part, 0)
        elif weights is None and not real.all():
            part = jnp.where(_broad(jnp.asarray(real), 2 * len(axes) + 1, lead), part, 0)
        if weights is not None:
            flat = weights.reshape(number, weights.shape[-1])
            # Taps that are none have weight 0; there are few numbers, and nothing of the size of dy is selected.
            rows = jnp.where(jnp.asarray(real), flat[jnp.asarray(np.where(real, tap, 0)[..., 0])], 0)
            part = part * _broad(rows, 2 * len(axes) + 1, lead)
        total = part if total is None else total + part
    assert total is not None
    whole = (*dy.shape[:lead], *(n for q, w in zip(blocks, axes, strict=True) for n in (q, w.stride)), dy.shape[-1])
    total = jnp.broadcast_to(total, whole)
    result = total.reshape(*dy.shape[:lead], *(q * w.stride for q, w in zip(blocks, axes, strict=True)), dy.shape[-1])
    for offset, w in enumerate(axes):
        result = lax.slice_in_dim(result, w.low, w.low + w.inputs, axis=lead + offset)
    return result


def _taps_by_shift(w: WindowAxis) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for tap in range(w.size):
        shift, place = divmod(tap * w.dilation, w.stride)
        found.setdefault(shift, [-1] * w.stride)[place] = tap
    return found


def _broad(array: Array, rank: int, lead: int) -> Array:
    """`array`, whose axes are the last ones of `rank`, with axes of size one before them and `lead` more."""
    return array.reshape((1,) * (lead + rank - array.ndim) + array.shape)
