"""Layer and RMS normalisation of the last axis, with scale and offset, by one derivative rule.

What the compiler does with the plain form: sums along rows run number by number, those over rows write out what they
sum, and the chain through both statistics is passes of its own: three times what must be read and written.

The floor is five times the data. The form chosen: x̂ and 1/σ are all that is saved, every sum goes by blocks
(`dlcore._rows`), and with g = scale · dy the gradient is

    dx = (g − mean(g) − x̂ · mean(g · x̂)) / σ,   dscale = Σ dy · x̂,   doffset = Σ dy

(RMS norm: without mean(g)). The tangent map is defined as the transpose of this (`jax.linear_transpose`), so that
reverse mode runs it as written, and forward mode and Hessians exist.

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
from dlcore.kernels.statistics import slope, standardise, standardised

__all__ = ["normalise_last", "plain_normalise_last"]


def plain_normalise_last(x: Array, scale: Array, offset: Array, epsilon: float, centre: bool) -> Array:
    """The reference: scale · x̂ + offset, x̂ from the general rule for any axes."""
    lead = (1,) * (x.ndim - 1)
    return standardise(x, (x.ndim - 1,), epsilon, centre) * scale.reshape(*lead, -1) + offset.reshape(*lead, -1)


# custom_jvp: see the top of the file. It saves x̂ and 1/σ, in the dtype of x.
@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def normalise_last(x: Array, scale: Array, offset: Array, epsilon: float, centre: bool) -> Array:
    """scale · (x − μ) / √(σ² + ε) + offset of x (*batch, C), scale and offset (C,); without `centre`, μ = 0."""
    return _forward(x, scale, offset, epsilon, centre)[0]


def _forward(x: Array, scale: Array, offset: Array, epsilon: float, centre: bool) -> tuple[Array, tuple[Array, Array]]:
    normal, inverse = standardised(x, (x.ndim - 1,), epsilon, centre)
    wide = (1,) * (x.ndim - 1) + scale.shape
    return normal * scale.reshape(wide) + offset.reshape(wide), (normal, inverse)


@normalise_last.defjvp
def _normalise_last_jvp(
    epsilon: float, centre: bool, primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Any]:
    x, scale, offset = primals
    y, (normal, inverse) = _forward(x, scale, offset, epsilon, centre)
    factor = lax.broadcast_in_dim(scale, x.shape, (x.ndim - 1,))

    def gradients(dy: Array) -> tuple[Array, Array, Array]:
        dx = slope(dy * factor, normal, inverse, (x.ndim - 1,), centre)
        return dx, column_sum(dy * normal), column_sum(dy)

    return y, transposed(gradients, y, tangents)
