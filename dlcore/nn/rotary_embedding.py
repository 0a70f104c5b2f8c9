"""Rotary position embedding: what turns with its position."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike

__all__ = ["rotary_embedding", "rotate", "turn"]


def rotary_embedding(x: ArrayLike, positions: ArrayLike, *, base: float = 10_000.0, interleaved: bool = False) -> Array:
    """Turns each pair of features by an angle that grows with the position.

        (y_i, y_j) = (x_i cos θ − x_j sin θ, x_i sin θ + x_j cos θ),   θ = position · base^(−2i / D),   i < D / 2

    The product of a query and a key so turned depends on their positions through the difference alone.

    Args:
      x: queries or keys, (*batch, T, N, D), floating; D is even.
      positions: (T,), the same for the whole batch, or (*batch, T) with batch axes of equal size or of size 1:
        integers, float32 or float64, of a size below 2³¹. Half precision is refused: it has no 257.
      base: at least 1; the slowest pair turns once in about 2π · base steps.
      interleaved: the partner of feature i is D / 2 + i by default (GPT-NeoX, Llama in Transformers); with True, pairs
        are neighbours, features 2i and 2i + 1 (the paper, GPT-J, Llama's own code). Weights made for one do not fit the
        other. ONNX has both, under this name.

    Returns:
      y in the shape and dtype of `x`; computed in float32 or wider. Angles are right to a few 10⁻⁷ at positions of
      millions too: a product in float32, as other libraries have it, is off by 0.06 at a million. To turn only the
      first features, pass `x[..., :d]` and join the rest behind.

    Raises:
      ValueError: if D is odd, `positions` do not fit, or `base` is below 1.
      TypeError: if `x` is not floating, or `positions` are neither integers nor of at least 32 bits.

    Gradient: smooth, in `x` the turn back; in floating positions too.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> x = jnp.ones((2, 1, 2))
      >>> print(jnp.round(nn.rotary_embedding(x, jnp.array([0.0, jnp.pi / 2]))[:, 0], 3))
      [[ 1.  1.]
       [-1.  1.]]

    Source: Su, Lu, Pan, Murtadha, Wen & Liu 2021, "RoFormer", eq. 34.
    """
    return turn("nn.rotary_embedding", x, positions, base=base, interleaved=interleaved)


def turn(name: str, x: ArrayLike, positions: ArrayLike, *, base: float, interleaved: bool) -> Array:
    """`rotary_embedding`, whose errors say `name`."""
    values = _checks.floating(name, "x", x)
    if values.ndim < 3 or values.shape[-1] % 2:
        raise _checks.value_error(
            name, "x", _checks.describe(values), "(*batch, time, heads, features) with an even number of features",
            "Features turn in pairs.",
        )  # fmt: skip
    places = _positions(name, positions, values.shape[:-2])
    start = _checks.number(name, "base", base, low=1.0)
    if not isinstance(interleaved, bool):
        raise _checks.type_error(
            name, "interleaved", _checks.describe(interleaved), "True or False", "It must be static."
        )
    d = values.shape[-1]
    frequencies = start ** (-2 * np.arange(d // 2, dtype=np.float64) / max(d, 1))
    dtype = compute_dtype(values.dtype)
    angles = broadcast_to_rank(_angles(places, frequencies, dtype), values.ndim - 1)
    return rotate(values, jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype), interleaved=interleaved)


def rotate(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    """The turn itself: `cos` and `sin` are (*batch, T, D / 2), with axes of equal size or of size 1."""
    pairs, axis = (x.shape[-1] // 2, 2), -1
    if not interleaved:
        pairs, axis = pairs[::-1], -2
    # Partners along an axis of their own. What is turned into them is read in reverse order with signs −, +; nothing is
    # concatenated, which jaxlib 0.9.2 gets wrong on CPU where what is joined are products.
    split = x.astype(cos.dtype).reshape(*x.shape[:-1], *pairs)
    cos, sin = (jnp.expand_dims(part[..., None, :], axis) for part in (cos, sin))
    signs = jnp.asarray([-1, 1], cos.dtype).reshape((1,) * (split.ndim - 2) + ((1, 2) if interleaved else (2, 1)))
    return (split * cos + jnp.flip(split, axis) * (sin * signs)).reshape(x.shape).astype(x.dtype)


def _angles(positions: Array, frequencies: np.ndarray, dtype: Any) -> Array:
    """position · frequency, up to whole turns: (…, T, D / 2), in float32, or in float64 for 64 bits of either."""
    if dtype == np.float64 or positions.dtype.itemsize == 8:
        exact = positions.astype(jnp.float64)[..., None]
        return exact * broadcast_to_rank(jnp.asarray(frequencies, jnp.float64), exact.ndim)
    rest = None
    if jnp.issubdtype(positions.dtype, np.floating):
        # The whole part is a constant to the gradient, which is the rest's.
        nearest = lax.stop_gradient(jnp.round(positions))
        # Beyond the integers there is no angle to be told: NaN, not another position's.
        rest = jnp.where(jnp.abs(nearest) < 2.0**31, positions - nearest, np.nan)[..., None]
        positions = jnp.where(jnp.abs(nearest) < 2.0**31, nearest, 0).astype(jnp.int32)
    sign = jnp.where(positions < 0, -1.0, 1.0).astype(jnp.float32)[..., None]
    turned = _turns(jnp.abs(positions).astype(jnp.uint32)[..., None], frequencies / (2 * math.pi))
    angles = sign * turned * np.float32(2 * math.pi)
    if rest is not None:
        angles = angles + rest * broadcast_to_rank(jnp.asarray(frequencies, jnp.float32), rest.ndim)
    return angles


def _turns(steps: Array, share: np.ndarray) -> Array:
    """`steps · share` without its whole part, in [−1/2, 1/2): whole numbers of 32 bits, and of 2⁻⁶⁴ turns.

    float32 has 24 bits, not enough for the position and for what it leaves behind the point; integers that wrap around
    drop whole turns by themselves, and exactly.
    """
    parts = [int(x * 2.0**64) % 2**64 for x in share.tolist()]
    high, low = (
        broadcast_to_rank(jnp.asarray(np.asarray(half, np.uint32)), steps.ndim)
        for half in ([p >> 32 for p in parts], [p & 0xFFFFFFFF for p in parts])
    )
    # The upper half of steps · low, from products of 16 bits; what they carry is below 2⁻³⁰ turns.
    a, b, c, d = steps >> 16, steps & 0xFFFF, low >> 16, low & 0xFFFF
    turns = steps * high + a * c + (a * d >> 16) + (b * c >> 16)
    return lax.bitcast_convert_type(turns, jnp.int32).astype(jnp.float32) * np.float32(2.0**-32)


def _positions(name: str, positions: Any, shape: tuple[int, ...]) -> Array:
    places = _checks.array(name, "positions", positions)
    if jnp.issubdtype(places.dtype, np.floating) and places.dtype.itemsize >= 4:
        places = _checks.floating(name, "positions", places)
    else:
        places = _checks.integers(
            name, "positions", positions, "Half precision has no 257: use jax.numpy.arange(time), or float32."
        )
    fits = places.ndim == len(shape) and all(a in (1, b) for a, b in zip(places.shape, shape, strict=True))
    if places.shape[-1:] != shape[-1:] or not (fits or places.ndim == 1):
        raise _checks.value_error(
            name, "positions", f"shape {places.shape}",
            f"{shape[-1:]} or {shape}, the batch and time of x, with 1 on batch axes that share an entry",
            "One position for each step: jax.numpy.arange(time).",
        )  # fmt: skip
    return places
