"""Batch normalisation by its own derivative rule: of a whole batch, of the rows that a mask leaves, and over devices.

What the compiler does with the derivative of the plain form: the deviations are stored, the chain through both
statistics is taken apart into passes of its own, and sums over four axes do not vectorise: five to eight times what
must be read and written.

The floor is eight times the data: read three times and written once forward; read, with the error, twice and written
once backward. The form chosen: two axes, rows and channels; x, mean and deviation are all that is saved, and the
gradient is

    dx = (scale · dy − mean(scale · dy) − x̂ · mean(scale · dy · x̂)) / σ,   dscale = Σ dy · x̂,   doffset = Σ dy

Means are those of the rows that count, on all devices; sums are those of one device, and the means are made of them.
The tangent map is defined as the transpose of this (`jax.linear_transpose`), so that reverse mode runs it as written,
and forward mode and Hessians exist.

Measured by `python -m benchmarks --only norm`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore._rows import column_sum
from dlcore._typing import Array
from dlcore._varying import transposed
from dlcore.kernels.statistics import in_unit, inverse_deviation, variance

__all__ = ["count", "normalise_rows", "plain_normalise_rows"]


def count(x: Array, where: Array | None, axis_name: str | None) -> Array:
    """How many rows of x (R, C) count, on all devices: () without a mask, (1, C) or (1, 1) with one."""
    own = jnp.asarray(x.shape[0], x.dtype) if where is None else column_sum(where.astype(x.dtype))[None]
    return _over_devices(own, axis_name)


def plain_normalise_rows(
    x: Array, scale: Array, offset: Array, where: Array | None, epsilon: float, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """The reference: y (R, C), and the mean and biased variance (C,), of x (R, C).

    Args:
      x: the data.
      scale: (C,).
      offset: (C,).
      where: which rows count, (R, C) or (R, 1); the others' y is 0. All for None. Where none counts, mean and
        variance are 0.
      epsilon: added to the variance.
      axis_name: of the devices (or lanes of `vmap`) whose rows are one batch; None for this one alone.
    """
    divisor = jnp.maximum(count(x, where, axis_name), 1)

    def mean(value: Array) -> Array:
        return _over_devices(_only(value, where).sum(0, keepdims=True), axis_name) / divisor

    average = mean(x)
    var = mean((x - average) ** 2)
    y = (x - average) * lax.rsqrt(var + epsilon) * scale[None] + offset[None]
    return _only(y, where), average[0], var[0]


# custom_jvp: see the top of the file. It saves x, the mask, and for each channel five numbers, in the dtype of x.
@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def normalise_rows(
    x: Array, scale: Array, offset: Array, where: Array | None, epsilon: float, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """`plain_normalise_rows`; statistics are measured from a pivot, so that a large mean costs no digits."""
    return _forward(x, scale, offset, where, epsilon, axis_name)[0]


class _Statistics(NamedTuple):
    """Of each channel, (1, C); the divisor is the `count`, or 1 for none."""

    divisor: Array
    pivot: Array
    rest: Array
    inverse: Array


def _forward(
    x: Array, scale: Array, offset: Array, where: Array | None, epsilon: float, axis_name: str | None
) -> tuple[tuple[Array, Array, Array], _Statistics]:
    divisor = jnp.maximum(count(x, where, axis_name), 1)

    def mean(value: Array) -> Array:
        return _over_devices(column_sum(value), axis_name)[None] / divisor

    pivot = _pivot(x, where, axis_name)
    rest = mean(_only(x - pivot, where))
    centred = _only((x - pivot) - rest, where)
    square = mean(in_unit(centred, epsilon) ** 2)
    inverse = inverse_deviation(square, epsilon)
    y = _only(centred * inverse * scale[None] + offset[None], where)
    return (y, (pivot + rest)[0], variance(square, epsilon)[0]), _Statistics(divisor, pivot, rest, inverse)


@normalise_rows.defjvp
def _normalise_rows_jvp(
    epsilon: float, axis_name: str | None, primals: tuple[Array, Array, Array, Array | None], tangents: tuple[Any, ...]
) -> tuple[tuple[Array, Array, Array], Any]:
    x, scale, _, where = primals
    results, (divisor, pivot, rest, inverse) = _forward(*primals, epsilon, axis_name)

    def gradients(errors: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        dy, dmean, dvar = _only(errors[0], where), *(_to_devices(error, x, axis_name) for error in errors[1:])
        centred = _only((x - pivot) - rest, where)
        normal = centred * inverse
        doffset, dscale = column_sum(dy), column_sum(dy * normal)
        error, slope = (_over_devices(scale * own, axis_name)[None] for own in (doffset, dscale))
        # The rows' number times the term, so that equal errors cancel to 0 exactly: their mean is rounded, their sum
        # less often.
        pulled = scale[None] * (divisor * dy) - error - normal * slope
        dx = inverse / divisor * pulled + (dmean[None] + 2 * centred * dvar[None]) / divisor
        return _only(dx, where), dscale, doffset

    return results, transposed(gradients, results, tangents[:3])


def _pivot(x: Array, where: Array | None, axis_name: str | None) -> Array:
    """A number of each channel's own, (1, C), the same on all devices; 0 where none counts.

    The statistics do not depend on it, so it is a constant to the gradient; with one among the data nothing large is
    summed, and deviations of equal numbers are 0 exactly.
    """
    if not x.shape[0]:
        return jnp.zeros((1, x.shape[1]), x.dtype)
    x = lax.stop_gradient(x)
    if where is None:
        own = x[:1]
    else:
        end = x.shape[0]
        # The first row that counts: a minimum, since argmax keeps two numbers, and does not vectorise.
        first = jnp.where(where, lax.broadcasted_iota(jnp.int32, where.shape, 0), end).min(0, keepdims=True)
        taken = jnp.take_along_axis(x, jnp.broadcast_to(jnp.minimum(first, end - 1), (1, x.shape[1])), 0)
        own = jnp.where(first < end, taken, -jnp.inf)
    whole = own if axis_name is None else lax.pmax(own, axis_name)
    return whole if where is None else jnp.where(jnp.isneginf(whole), 0, whole)


def _only(value: Array, where: Array | None) -> Array:
    return value if where is None else jnp.where(where, value, 0)


def _over_devices(own: Array, axis_name: str | None) -> Array:
    return own if axis_name is None else lax.psum(own, axis_name)


def _to_devices(error: Array, x: Array, axis_name: str | None) -> Array:
    """The error of a device's own part, from that of the sum over devices."""
    like = jax.eval_shape(column_sum, x)
    return jax.linear_transpose(lambda own: _over_devices(own, axis_name), like)(error)[0]
