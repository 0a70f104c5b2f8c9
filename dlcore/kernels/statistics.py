"""Deviations that do not cancel, squares that do not overflow, and data standardised by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore._rows import block_sum
from dlcore._typing import Array, DType
from dlcore._varying import transposed

__all__ = ["in_unit", "inverse_deviation", "slope", "standardise", "standardised", "variance"]


# custom_jvp: the derivative of 1/√(σ² + ε) has σ³, which overflows long before σ does, and √ε³, which vanishes long
# before ε does; put together with the rest it has neither, and costs fewer passes. It saves x̂ and 1/σ, in the dtype
# of x. The rule is made of plain operations, so that second derivatives need no rule of their own.
@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def standardise(x: Array, axes: tuple[int, ...], epsilon: float, centre: bool) -> Array:
    """x̂ = (x − μ) / √(mean((x − μ)²) + ε) over `axes`; without `centre`, μ = 0. Axes may be negative."""
    return standardised(x, axes, epsilon, centre)[0]


@standardise.defjvp
def _standardise_jvp(
    axes: tuple[int, ...], epsilon: float, centre: bool, primals: tuple[Array], tangents: tuple[Any]
) -> tuple[Array, Any]:
    normal, inverse = standardised(primals[0], axes, epsilon, centre)
    # It is its own transpose; taken as that, so that reverse mode, which transposes it again, runs it as written.
    return normal, transposed(lambda dy: slope(dy, normal, inverse, axes, centre), normal, tangents[0])


def slope(dx: Array, normal: Array, inverse: Array, axes: tuple[int, ...], centre: bool) -> Array:
    """dx̂ = (dx − mean(dx) − x̂ · mean(dx · x̂)) / σ, of x̂ and 1/σ; without `centre`, not the second term."""
    moved = dx - _mean(dx, axes) if centre else dx
    return inverse * (moved - normal * _mean(dx * normal, axes))


def standardised(x: Array, axes: tuple[int, ...], epsilon: float, centre: bool) -> tuple[Array, Array]:
    """x̂ and 1/σ, both in the dtype of `x`."""
    centred = _deviations(x, axes) if centre else x
    inverse = inverse_deviation(_mean(in_unit(centred, epsilon) ** 2, axes), epsilon)
    return centred * inverse, inverse


def _deviations(x: Array, axes: tuple[int, ...]) -> Array:
    """x − μ, in two passes: the first takes them from a pivot, the first element, so that nothing large is summed.

    They do not depend on the pivot, so it is a constant to the gradient.
    """
    within = [axis % x.ndim for axis in axes]
    first = lax.slice(x, (0,) * x.ndim, [min(n, 1) if axis in within else n for axis, n in enumerate(x.shape)])
    shifted = x - lax.stop_gradient(first) if all(x.shape[axis] for axis in within) else x
    return shifted - _mean(shifted, axes)


def in_unit(deviation: Array, epsilon: float) -> Array:
    """Deviations in the unit in which they are squared: see `_unit`."""
    return deviation * _unit(epsilon, deviation.dtype)


# custom_jvp: its derivative has r³, which overflows where r · (r² · ds) does not. It saves r.
@jax.custom_jvp
def _inverse_root(s: Array) -> Array:
    return lax.rsqrt(s)


@_inverse_root.defjvp
def _inverse_root_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    r = _inverse_root(primals[0])
    return r, -0.5 * r * (r * r * tangents[0])


def inverse_deviation(square: Array, epsilon: float, root: Callable[[Array], Array] = _inverse_root) -> Array:
    """1/σ = 1 / √(σ² + ε), from the mean square of deviations that were taken `in_unit`; NaN where that overflowed.

    A kernel that is never differentiated itself takes `lax.rsqrt` for its root.
    """
    unit = _unit(epsilon, square.dtype)
    least = max(epsilon * unit**2, float(jnp.finfo(square.dtype).tiny))
    return jnp.where(jnp.isinf(square), jnp.nan, root(square + least) * unit)


def variance(square: Array, epsilon: float) -> Array:
    """σ² from the same; inf where the dtype does not hold it."""
    unit = _unit(epsilon, square.dtype)
    return square / unit / unit


def _unit(epsilon: float, dtype: DType) -> float:
    """A power of two, which rounds nothing: ε, measured in it, is as small as all its digits allow.

    What is far below √ε does not count beside it; so that there is the more room above. With ε = 1e-5 in float32,
    deviations may be as large as 1e31 before their squares overflow, where without unit 1e19 is the limit.
    """
    limits = jnp.finfo(dtype)
    lowest = int(limits.minexp) + limits.nmant + 1
    return 2.0 ** min(max(math.floor((lowest - math.log2(epsilon)) / 2), -limits.maxexp // 2), limits.maxexp // 2)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over `axes`, kept with size one; 0 for none."""
    return _sum(x, axes) / max(math.prod(x.shape[axis] for axis in axes), 1)


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    """The sum over `axes`, kept with size one: the last axis by itself and last, since sums along it are slow."""
    others = tuple(axis for axis in axes if axis % x.ndim != x.ndim - 1)
    total = x.sum(others, keepdims=True) if others else x
    return block_sum(total) if len(others) < len(axes) else total
