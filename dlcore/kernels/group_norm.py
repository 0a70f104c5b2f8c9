"""Group normalisation, and instance normalisation, its case of one channel a group, by one derivative rule.

What the compiler does with the plain form: channels are cut into groups, so that its innermost loop is as short as a
group; every sum is over three axes of five, and the chain through both statistics is passes of its own.

The floor is five times the data. The form chosen: channels stay the innermost axis, sums over positions go by stacks
and give one number a channel, of which groups are made; what a group shares is repeated for its channels. With D and N
the sums over positions of dy and of dy · x̂,

    dx = (g − mean(g) − x̂ · mean(g · x̂)) / σ,   g = scale · dy,   dscale = Σ_b N,   doffset = Σ_b D

where the means are those of scale · D and scale · N over a group's channels. The tangent map is defined as the
transpose of this (`jax.linear_transpose`), as in `dlcore.kernels.layer_norm`.

Measured by `python -m benchmarks --only "group norm"`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore._rows import stack_sum
from dlcore._typing import Array
from dlcore._varying import transposed
from dlcore.kernels.statistics import in_unit, inverse_deviation, standardise

__all__ = ["normalise_groups", "plain_normalise_groups"]


def plain_normalise_groups(x: Array, scale: Array, offset: Array, groups: int, epsilon: float) -> Array:
    """The reference: scale · x̂ + offset of x (B, P, C), x̂ from the general rule for any axes."""
    apart = x.reshape(*x.shape[:2], groups, x.shape[2] // groups)
    return standardise(apart, (1, 3), epsilon, True).reshape(x.shape) * scale[None, None] + offset[None, None]


# custom_jvp: see the top of the file. It saves x̂ and 1/σ, in the dtype of x.
@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def normalise_groups(x: Array, scale: Array, offset: Array, groups: int, epsilon: float) -> Array:
    """`plain_normalise_groups`."""
    return _forward(x, scale, offset, groups, epsilon)[0]


def _forward(x: Array, scale: Array, offset: Array, groups: int, epsilon: float) -> tuple[Array, tuple[Array, Array]]:
    each, count = _counts(x, groups)
    # Deviations are taken from one of the group's own, so that a large mean costs no digits.
    first = lax.stop_gradient(x[:, :1, ::each]).reshape(x.shape[0], -1) if x.size else jnp.zeros((x.shape[0], groups))
    shifted = x - _repeated(first, each)
    centred = shifted - _repeated(_by_group(stack_sum(shifted), groups) / count, each)
    square = _by_group(stack_sum(in_unit(centred, epsilon) ** 2), groups) / count
    inverse = _repeated(inverse_deviation(square, epsilon), each)
    normal = centred * inverse
    return normal * scale[None, None] + offset[None, None], (normal, inverse)


@normalise_groups.defjvp
def _normalise_groups_jvp(
    groups: int, epsilon: float, primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Any]:
    x, scale, offset = primals
    y, (normal, inverse) = _forward(x, scale, offset, groups, epsilon)
    each, count = _counts(x, groups)

    def gradients(dy: Array) -> tuple[Array, Array, Array]:
        errors, products = stack_sum(dy), stack_sum(dy * normal)
        mean, slope = (_repeated(_by_group(part * scale[None], groups) / count, each) for part in (errors, products))
        dx = inverse * (dy * scale[None, None] - mean - normal * slope)
        return dx, products.sum(0), errors.sum(0)

    return y, transposed(gradients, y, tangents)


def _by_group(sums: Array, groups: int) -> Array:
    """(B, C) as sums over each group's channels, (B, G)."""
    return sums.reshape(sums.shape[0], groups, sums.shape[1] // groups).sum(-1)


def _repeated(shared: Array, each: int) -> Array:
    """(B, G) as (B, 1, C), each group's number for all its channels.

    A sum of the number and 0, since what is summed is written out; the loops over x would divide c by `each` anew for
    every element.
    """
    batch, groups = shared.shape
    pair = jnp.stack([shared, jnp.zeros_like(shared)], -1)
    wide = lax.broadcast_in_dim(pair, (batch, groups, each, 2), (0, 1, 3))
    return wide.sum(-1).reshape(batch, 1, groups * each)


def _counts(x: Array, groups: int) -> tuple[int, int]:
    """Channels a group, and numbers."""
    each = x.shape[2] // groups
    return each, max(x.shape[1] * each, 1)
