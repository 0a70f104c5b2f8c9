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
    """Mean and (biased) variance of `x`, in two passes over deviations from a pivot near the mean.

    E[x²] − E[x]² loses all digits where the mean is much larger than the deviation. Two passes mend the variance, but
    leave the mean with the rounding of a long sum, about √n units in its last place; measuring from a pivot first
    leaves nothing large to be summed. The statistics do not depend on the pivot, so it is a constant to the gradient.
    It is the data's first element, at no extra pass; under a mask, where that may be rubbish, and across devices, where
    all must share one, it is a first estimate of the mean.

    Where `where` leaves nothing, mean, variance and deviations are 0.
    """
    shape = [1 if axis in axes else n for axis, n in enumerate(x.shape)]

    def over_devices(value: Array) -> Array:
        return value if axis_name is None else lax.psum(value, axis_name)

    def only(value: Array) -> Array:
        return value if where is None else jnp.where(where, value, 0)

    x = only(x)
    if where is None:
        weight = jnp.asarray(math.prod(x.shape[axis] for axis in axes), x.dtype)
    else:
        weight = jnp.broadcast_to(where, x.shape).astype(x.dtype).sum(axes, keepdims=True)
    weight = over_devices(weight)
    divisor = jnp.maximum(weight, 1)

    def mean(value: Array) -> Array:
        return over_devices(value.sum(axes, keepdims=True)) / divisor

    if where is not None or axis_name is not None:
        pivot = lax.stop_gradient(mean(x))
    elif all(x.shape[axis] for axis in axes):
        pivot = lax.stop_gradient(lax.slice(x, (0,) * x.ndim, shape))
    else:
        pivot = jnp.zeros(shape, x.dtype)
    shifted = only(x - pivot)
    offset = mean(shifted)
    centred = only(shifted - offset)
    return Moments(jnp.where(weight > 0, pivot + offset, 0), mean(centred**2), centred, weight)
