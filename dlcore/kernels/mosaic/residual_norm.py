"""Dropout, residual and layer or RMS norm in one pass: what stands between two maps of a transformer.

What the compiler does with the plain form: one pass reads both addends and writes their sum, another reads the sum for
its statistics and again for the norm: five times the data and more, besides the mask.

The floor is four: both addends are read, the sum and its norm are written. The form chosen: a row lives in registers
from the first read to the last write. The mask comes packed, one bit a value, as `dlcore._bits` draws it: a register's
words hold the values of 32 rows that lie N / 32 apart, so that a program takes four of these and reads their words
once. All in float32; z is rounded to its dtype before the norm, which is thus that of what is handed out.

The derivative reads z and two numbers a row, and is plain: its passes are few already. Both modes exist.

Measured by `python -m benchmarks --only norm --device gpu`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._bits import below, packed_below
from dlcore._typing import Array, Key
from dlcore.kernels.layer_norm import normalise_last
from dlcore.kernels.mosaic.launch import LANES, launch
from dlcore.kernels.statistics import in_unit, inverse_deviation, slope

__all__ = ["fits", "plain_residual_norm", "residual_norm"]

# Rows of a program, whose loads hide each other's delay; 32 / ROWS programs read the same words.
ROWS = 4
WORD = 32


def plain_residual_norm(
    key: Key, branch: Array, residual: Array, scale: Array, offset: Array, rate: float, epsilon: float, centre: bool
) -> tuple[Array, Array]:
    """The reference: z = residual + dropout(branch), and scale · ẑ + offset; both in the dtype of z.

    Args:
      key: for the mask.
      branch: what is dropped, (N, D).
      residual: what it is added to, (N, D), of the same dtype.
      scale: (D,), float32.
      offset: (D,), float32.
      rate: the probability of dropping, in [0, 1).
      epsilon: added to the variance.
      centre: layer norm; RMS norm otherwise.
    """
    dropped = below(key, _threshold(rate), branch.shape)
    z = residual + (jnp.where(dropped, 0, branch).astype(jnp.float32) / (1 - rate)).astype(branch.dtype)
    return z, normalise_last(z.astype(jnp.float32), scale, offset, epsilon, centre).astype(z.dtype)


def _threshold(rate: float) -> int:
    return round(rate * 2**32)


def fits(branch: Array) -> bool:
    """Whether rows fill registers and words: N a multiple of 32, D of 128 and not above 4096; no wider than float32."""
    n, d = branch.shape
    return n % WORD == 0 and n > 0 and d % LANES == 0 and 0 < d <= 4096 and branch.dtype.itemsize <= 4


def residual_norm(
    key: Key,
    branch: Array,
    residual: Array,
    scale: Array,
    offset: Array,
    rate: float,
    epsilon: float,
    centre: bool,
    *,
    interpret: bool = False,
) -> tuple[Array, Array]:
    """`plain_residual_norm` in one pass, `fits` provided; the sum is rounded once."""
    words = packed_below(key, _threshold(rate), branch.size).reshape(-1, branch.shape[1])
    return _fused(rate, epsilon, centre, interpret, words, branch, residual, scale, offset)[:2]


# custom_jvp: a kernel has no derivative of its own. It saves z, the words, and the mean and 1/σ of each row.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _fused(
    rate: float,
    epsilon: float,
    centre: bool,
    interpret: bool,
    words: Array,
    branch: Array,
    residual: Array,
    scale: Array,
    offset: Array,
) -> tuple[Array, Array, Array, Array]:
    """z, its norm, and of each row the mean and 1/σ, (N,)."""
    n, d = branch.shape
    piece = 2 * LANES if d % (2 * LANES) == 0 else LANES
    rows, numbers = jax.ShapeDtypeStruct((n, d // piece, piece), branch.dtype), jax.ShapeDtypeStruct((n,), jnp.float32)
    z, y, mean, inverse = launch(
        partial(_rows, rate, epsilon, centre),
        "residual_norm",
        n // ROWS,
        [rows, rows, numbers, numbers],
        [],
        interpret,
        # Mosaic has no shifts.
        jnp.asarray(2 ** np.arange(WORD), jnp.uint32),
        *(part.reshape(*part.shape[:-1], *rows.shape[1:]) for part in (words, branch, residual, scale, offset)),
    )
    return z.reshape(n, d), y.reshape(n, d), mean, inverse


def _rows(rate: float, epsilon: float, centre: bool, program: Any, powers: Any, words: Any, *refs: Any) -> None:
    """Rows in pieces, of at most two elements a lane: arrays of all dtypes are laid out alike only so."""
    branch, residual, scale, offset, sums, norms, means, inverses = refs
    groups, count, width = words.shape
    group, first = program % groups, program // groups * ROWS
    pieces = range(count)
    bits, factor, shift = ([ref[at] for at in places] for ref, places in (
        (words, [(group, piece) for piece in pieces]), (scale, pieces), (offset, pieces),
    ))  # fmt: skip

    def mean_of(parts: list[Array]) -> Array:
        total: Array = jnp.sum(sum(parts[1:], parts[0])) / (count * width)
        return total

    for place in range(ROWS):
        row, power = group + (first + place) * groups, powers[first + place]
        kept = [
            jnp.where((bits[piece] & power) == 0, branch[row, piece].astype(jnp.float32), 0) * (1 / (1 - rate))
            for piece in pieces
        ]
        # All reads before the first write: each write waits for all lanes.
        z = [(residual[row, piece].astype(jnp.float32) + kept[piece]).astype(sums.dtype) for piece in pieces]
        for piece in pieces:
            sums[row, piece] = z[piece]
        values = [part.astype(jnp.float32) for part in z]
        means[row] = mean = mean_of(values) if centre else jnp.float32(0)
        deviations = [value - mean for value in values]
        square = mean_of([in_unit(deviation, epsilon) ** 2 for deviation in deviations])
        inverses[row] = inverse = inverse_deviation(square, epsilon, lax.rsqrt)
        for piece in pieces:
            norm = deviations[piece] * inverse * factor[piece] + shift[piece]
            norms[row, piece] = norm.astype(norms.dtype)


@_fused.defjvp
def _fused_jvp(
    rate: float, epsilon: float, centre: bool, interpret: bool, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[tuple[Array, Array, Array, Array], tuple[Array, Array, Array, Array]]:
    words, _, _, scale, _ = primals
    _, d_branch, d_residual, d_scale, d_offset = tangents
    z, y, mean, inverse = _fused(rate, epsilon, centre, interpret, *primals)
    places = jnp.arange(WORD, dtype=jnp.uint32)[:, None, None]
    dropped = ((words[None] >> places) & 1).reshape(z.shape) != 0
    dz = d_residual + (jnp.where(dropped, 0, d_branch).astype(jnp.float32) / (1 - rate)).astype(z.dtype)
    wide, r = dz.astype(jnp.float32), inverse[:, None]
    normal = (z.astype(jnp.float32) - mean[:, None]) * r
    d_mean = wide.mean(-1) if centre else jnp.zeros_like(mean)
    d_inverse = -(inverse**2) * (wide * normal).mean(-1)
    dy = slope(wide, normal, r, (1,), centre) * scale[None] + normal * d_scale[None] + d_offset[None]
    return (z, y, mean, inverse), (dz, dy.astype(y.dtype), d_mean, d_inverse)
