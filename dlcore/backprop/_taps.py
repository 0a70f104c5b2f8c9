"""Windows one tap at a time: reading a tap of every window is a strided slice, and writing to it is its transpose."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import reduce

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, Padding, Spatial
from dlcore._windows import PaddingLimit, WindowAxis, resolve_windows

__all__ = ["crop", "divisor", "each", "first_maximum", "inside", "opened", "pad", "read", "spread", "total", "write"]


def opened(
    name: str,
    x: ArrayLike,
    window: int | Sequence[int],
    strides: Spatial | None,
    padding: Padding,
    dilation: Spatial,
    ceil_mode: bool,
    limit: PaddingLimit,
) -> tuple[Array, tuple[WindowAxis, ...]]:
    """The checked input of a pooling, and its windows."""
    values = _checks.floating(name, "x", x)
    single = isinstance(window, int | np.integer)
    if not single and (not isinstance(window, Sequence) or len(window) == 0):
        raise _checks.type_error(
            name,
            "window",
            _checks.describe(window),
            "an int or a tuple of ints, one for each spatial axis",
            "(2, 2) for images.",
        )
    sizes = _checks.spatial(name, "window", window, 1 if single else len(window))  # type: ignore[arg-type]
    if values.ndim < len(sizes) + 1:
        raise _checks.value_error(
            name,
            "x",
            _checks.describe(values),
            f"{len(sizes)} spatial axes, as `window` {sizes} has, and channels",
            "Channels come last; one channel is an axis of size 1.",
        )
    steps = sizes if strides is None else strides
    space = values.shape[-1 - len(sizes) : -1]
    return values, resolve_windows(name, space, sizes, steps, padding, dilation, limit=limit, ceil_mode=ceil_mode)


def each(axes: Sequence[WindowAxis]) -> Iterator[tuple[int, ...]]:
    """The taps of a window in row-major order."""
    return itertools.product(*(range(w.size) for w in axes))


def pad(x: Array, axes: Sequence[WindowAxis], value: float) -> Array:
    """`x` from the first position that a window reads, at least to the last."""
    # What no window reads stays where it is: to crop it would be a copy.
    margins = [(w.low, max(w.used - w.low - w.inputs, 0), 0) for w in axes]
    return _padded(x, axes, margins, value)


def crop(padded: Array, axes: Sequence[WindowAxis]) -> Array:
    """What `write` made, as of the inputs: what stands on padding is dropped, what no window read is 0."""
    margins = [(-w.low, w.low + w.inputs - w.used, 0) for w in axes]
    return _padded(padded, axes, margins, 0)


def read(padded: Array, axes: Sequence[WindowAxis], tap: tuple[int, ...]) -> Array:
    """What the tap of every window sees, (*batch, *outputs, C)."""
    for place, (w, j) in enumerate(zip(axes, tap, strict=True)):
        start = j * w.dilation
        stop = start + (w.outputs - 1) * w.stride + 1
        padded = lax.slice_in_dim(padded, start, stop, w.stride, padded.ndim - 1 - len(axes) + place)
    return padded


def write(values: Array, axes: Sequence[WindowAxis], tap: tuple[int, ...]) -> Array:
    """The transpose of `read`: a value for every window, put where its tap reads; 0 elsewhere."""
    margins = []
    for w, j in zip(axes, tap, strict=True):
        start = j * w.dilation
        margins.append((start, w.used - start - (w.outputs - 1) * w.stride - 1, w.stride - 1))
    return _padded(values, axes, margins, 0)


def inside(axes: Sequence[WindowAxis], tap: tuple[int, ...]) -> np.ndarray:
    """Which windows have an input, not padding, under the tap: booleans, (*outputs)."""
    result = np.ones((), bool)
    for w, j in zip(axes, tap, strict=True):
        position = w.taps()[:, j]
        result = result[..., None] & ((position >= 0) & (position < w.inputs))
    return result


def spread(window_values: np.ndarray, like: Array) -> Array:
    """A value for every window, (*outputs), with axes of size one for the batch and the channels of `like`."""
    return jnp.asarray(window_values.reshape((1,) * (like.ndim - 1 - window_values.ndim) + window_values.shape + (1,)))


def divisor(axes: Sequence[WindowAxis], counts_padding: bool, like: Array) -> Array:
    """n_p, how many positions count in each window; what ceil mode reaches beyond the padding never does."""
    total = np.ones((), int)
    for w in axes:
        low, high = (-w.low, w.inputs + w.high) if counts_padding else (0, w.inputs)
        total = total[..., None] * ((w.taps() >= low) & (w.taps() < high)).sum(axis=1)
    return spread(total, like).astype(like.dtype)


def first_maximum(x: Array, axes: Sequence[WindowAxis]) -> tuple[Array, Array]:
    """The largest value of every window, and the number of the first tap that has it; one byte for up to 256 taps.

    NaN is a maximum, and padding never is, where a window has an input.
    """
    padded = pad(x, axes, -jnp.inf)
    taps = list(each(axes))
    y = reduce(jnp.maximum, (read(padded, axes, tap) for tap in taps))
    index = jnp.zeros(y.shape, jnp.uint8 if len(taps) <= 256 else jnp.int32)
    # From the last to the first, so that the first of equals stays. Compared with the maximum, and not one with the
    # next: compilers for CPU do not vectorise what then asks of both whether they are NaN.
    for number, tap in reversed(list(enumerate(taps))):
        part, real = read(padded, axes, tap), inside(axes, tap)
        found = (part == y) | (part != part)
        if not real.all():
            found = found & spread(real, y)
        index = jnp.where(found, jnp.asarray(number, index.dtype), index)
    return y, index


def total(terms: Iterator[Array]) -> Array:
    """Their sum."""
    return sum(terms, start=next(terms))


def _padded(x: Array, axes: Sequence[WindowAxis], margins: list[tuple[int, int, int]], value: float) -> Array:
    batch = [(0, 0, 0)] * (x.ndim - 1 - len(axes))
    return lax.pad(x, jnp.asarray(value, x.dtype), [*batch, *margins, (0, 0, 0)])
