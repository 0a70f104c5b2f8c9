"""Batch normalisation by its own derivative rule.

What the compiler does with the derivative of the plain form: the deviations are stored, the chain through both
statistics is taken apart into passes of its own, and sums over four axes do not vectorise: five to eight times what
must be read and written.

The floor is eight times the data: read three times and written once forward; read, with the error, twice and written
once backward. The form chosen: two axes, rows and channels; x, mean and deviation are all that is saved, and the
gradient is

    dx = scale / σ · (dy − mean(dy) − x̂ · mean(dy · x̂)),   dscale = Σ dy · x̂,   doffset = Σ dy

whose two sums are shared. The tangent map is defined as the transpose of this (`jax.linear_transpose`), so that reverse
mode runs it as written, and forward mode and Hessians exist.

Measured by `python -m benchmarks --only norm`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jax import lax

from dlcore._rows import column_sum
from dlcore._typing import Array
from dlcore._varying import transposed
from dlcore.kernels.statistics import in_unit, inverse_deviation, variance

__all__ = ["normalise_rows", "plain_normalise_rows"]


def plain_normalise_rows(x: Array, scale: Array, offset: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """The reference: y (R, C), and the mean and biased variance (C,), of x (R, C)."""
    mean = x.mean(0)
    var = ((x - mean[None]) ** 2).mean(0)
    return (x - mean[None]) * lax.rsqrt(var + epsilon)[None] * scale[None] + offset[None], mean, var


# custom_jvp: see the top of the file. It saves x, and for each channel four numbers, in the dtype of x.
@partial(jax.custom_jvp, nondiff_argnums=(3,))
def normalise_rows(x: Array, scale: Array, offset: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """`plain_normalise_rows`; statistics are measured from a pivot, so that a large mean costs no digits."""
    return _forward(x, scale, offset, epsilon)[0]


def _forward(
    x: Array, scale: Array, offset: Array, epsilon: float
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    # The statistics do not depend on the pivot, and with one among the data nothing large is summed.
    pivot = lax.stop_gradient(x[:1])
    rest = column_sum(x - pivot)[None] / x.shape[0]
    centred = (x - pivot) - rest
    square = column_sum(in_unit(centred, epsilon) ** 2)[None] / x.shape[0]
    inverse = inverse_deviation(square, epsilon)
    y = centred * inverse * scale[None] + offset[None]
    return (y, (pivot + rest)[0], variance(square, epsilon)[0]), (pivot, rest, inverse)


@normalise_rows.defjvp
def _normalise_rows_jvp(
    epsilon: float, primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[tuple[Array, Array, Array], Any]:
    x, scale, offset = primals
    results, (pivot, rest, inverse) = _forward(x, scale, offset, epsilon)
    rows = x.shape[0]

    def gradients(errors: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        dy, dmean, dvar = errors
        centred = (x - pivot) - rest
        normal = centred * inverse
        doffset, dscale = column_sum(dy), column_sum(dy * normal)
        # R times the term, so that equal errors cancel to 0 exactly: their mean is rounded, their sum less often.
        pulled = rows * dy - doffset[None] - normal * dscale[None]
        dx = (inverse * scale[None] / rows) * pulled + (dmean[None] + 2 * centred * dvar[None]) / rows
        return dx, dscale, doffset

    return results, transposed(gradients, results, tangents)
