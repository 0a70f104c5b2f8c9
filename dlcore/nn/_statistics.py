"""Mean and variance that do not cancel."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from dlcore._typing import Array

__all__ = ["Moments", "moments"]


class Moments(NamedTuple):
    """Statistics over some axes, kept with size one, and the deviations they were taken from."""

    mean: Array
    var: Array
    centred: Array
    weight: Array


def moments(x: Array, axes: tuple[int, ...], *, where: Array | None, axis_name: str | None) -> Moments:
    """Mean and (biased) variance of `x`, in two passes over deviations from one of its own elements.

    E[x²] − E[x]² loses all digits where the mean is much larger than the deviation. Two passes mend the variance
    but leave the mean with the rounding of a long sum, about √n units in its last place; measuring from an
    element of the data first leaves nothing large to be summed, at no extra pass. The mean does not depend on
    which element that is, so the pivot is a constant to the gradient.

    Where `where` leaves nothing, mean, variance and deviations are 0.
    """
    if where is not None:
        x = jnp.where(where, x, 0)
    pivot = jnp.zeros((), x.dtype)
    if all(x.shape[axis] for axis in axes):
        pivot = lax.stop_gradient(
            lax.slice(x, (0,) * x.ndim, [1 if axis in axes else n for axis, n in enumerate(x.shape)])
        )
    weights = jnp.ones((), x.dtype) if where is None else where.astype(x.dtype)
    pivot = jnp.broadcast_to(pivot, [1 if axis in axes else n for axis, n in enumerate(x.shape)])
    if where is None:
        count = jnp.asarray(math.prod(x.shape[axis] for axis in axes), x.dtype)
    else:
        count = jnp.broadcast_to(weights, x.shape).sum(axes, keepdims=True)

    def over_devices(value: Array) -> Array:
        return value if axis_name is None else lax.psum(value, axis_name)

    def only(value: Array) -> Array:
        return value if where is None else jnp.where(where, value, 0)

    total = over_devices(count)
    divisor = jnp.maximum(total, 1)
    shifted = only(x - pivot)
    if axis_name is None:
        offset = shifted.sum(axes, keepdims=True) / divisor
    else:  # each device measured from an element of its own
        sums = shifted.sum(axes, keepdims=True) + count * pivot
        offset = over_devices(sums) / divisor - pivot
    centred = only(shifted - offset)
    var = over_devices((centred**2).sum(axes, keepdims=True)) / divisor
    return Moments(jnp.where(total > 0, pivot + offset, 0), var, centred, total)
