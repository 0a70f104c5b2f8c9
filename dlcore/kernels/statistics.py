"""Mean and variance that do not cancel, and data standardised by them that does not overflow."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore._rows import block_sum, row_max
from dlcore._typing import Array
from dlcore._varying import transposed

__all__ = ["Moments", "inverses", "moments", "standardise", "standardised", "unit_factor"]


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
        return over_devices(_sum(value, axes)) / divisor

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


# custom_jvp: the derivative of 1/√(σ² + ε) has σ³, which overflows long before σ does, and √ε³, which vanishes long
# before ε does; put together with the rest it has neither, and costs fewer passes. It saves x̂ and 1/σ, in the dtype
# of x. The rule is made of plain operations, so that second derivatives need no rule of their own.
@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def standardise(x: Array, axes: tuple[int, ...], epsilon: float, centre: bool) -> Array:
    """x̂ = (x − μ) / √(mean((x − μ)²) + ε) over `axes`; without `centre`, μ = 0.

    Every slice is measured in a unit of its own, a power of two near max(max |x|, √ε), which leaves x̂ as it is and
    rounds nothing: squares then neither overflow (1e30 in float32) nor vanish. Axes may be negative.
    """
    return standardised(x, axes, epsilon, centre)[0]


@standardise.defjvp
def _standardise_jvp(
    axes: tuple[int, ...], epsilon: float, centre: bool, primals: tuple[Array], tangents: tuple[Any]
) -> tuple[Array, Any]:
    """dx̂ = (dx − mean(dx) − x̂ · mean(dx · x̂)) / σ; without `centre`, not the second term."""
    normal, inverse = standardised(primals[0], axes, epsilon, centre)

    def slope(dy: Array) -> Array:
        moved = dy - _mean(dy, axes) if centre else dy
        return inverse * (moved - normal * _mean(dy * normal, axes))

    # It is its own transpose; taken as that, so that reverse mode, which transposes it again, runs it as written.
    return normal, transposed(slope, normal, tangents[0])


def standardised(x: Array, axes: tuple[int, ...], epsilon: float, centre: bool) -> tuple[Array, Array]:
    """x̂ and 1/σ, both in the dtype of `x`."""
    others = tuple(axis for axis in axes if axis % x.ndim != x.ndim - 1)
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), others, keepdims=True, initial=0)
    if len(others) < len(axes):
        largest = jnp.maximum(row_max(largest), 0)
    factor = unit_factor(largest, epsilon)
    scaled = x * factor
    if centre:
        m = moments(scaled, tuple(axis % x.ndim for axis in axes), where=None, axis_name=None)
        normal, square = m.centred, m.var
    else:
        normal, square = scaled, _mean(scaled**2, axes)
    inner, outer = inverses(square, factor, epsilon)
    return normal * inner, outer


def unit_factor(largest: Array, epsilon: float) -> Array:
    """1 / unit for slices whose largest size is given: a power of two, whose inverse is exact."""
    limits, most = jnp.finfo(largest.dtype), _most(epsilon)
    # Rounded to no digits but the first: the nearest power of two.
    return 1 / lax.reduce_precision(jnp.clip(largest, 1 / most, 2.0 ** (limits.maxexp - 2)), limits.nexp, 0)


def inverses(square: Array, factor: Array, epsilon: float) -> tuple[Array, Array]:
    """1/σ in the slice's own units, and in those of the data, from the mean square in its own."""
    limits, most = jnp.finfo(square.dtype), _most(epsilon)
    # In huge units ε is nothing, and a constant slice would be 0 / 0; below `least` there is no other variance.
    least = float(limits.tiny) ** 0.6
    own = min(epsilon * most**2, float(limits.max)) * (factor / most) ** 2
    inverse = lax.rsqrt(square + jnp.maximum(own, least))
    constant = (square == 0) & (own < least)
    return inverse, jnp.where(constant, min(epsilon**-0.5, float(limits.max)), inverse * factor)


def _most(epsilon: float) -> float:
    # The smallest unit, 1 / most, is near √ε; beyond these bounds there would be no room for x² beside it.
    return 2.0 ** min(max(math.floor(-math.log2(epsilon) / 2), -60), 60)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over `axes`, kept with size one; 0 for none."""
    return _sum(x, axes) / max(math.prod(x.shape[axis] for axis in axes), 1)


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    """The sum over `axes`, kept with size one: the last axis by itself and last, since sums along it are slow."""
    others = tuple(axis for axis in axes if axis % x.ndim != x.ndim - 1)
    total = x.sum(others, keepdims=True) if others else x
    return block_sum(total) if len(others) < len(axes) else total
