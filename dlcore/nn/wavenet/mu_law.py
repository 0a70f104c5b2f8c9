"""The μ-law: audio as a few classes, fine where it is quiet and coarse where it is loud."""

from __future__ import annotations

import math

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike

__all__ = ["mu_law_decode", "mu_law_encode"]

# Up to so many classes, float32 tells all of them apart.
MOST = 2**22


def mu_law_encode(x: ArrayLike, *, classes: int = 256) -> Array:
    """Turns samples into classes.

        f(x) = sign(x) ln(1 + μ |x|) / ln(1 + μ),   μ = classes − 1
        id = ⌊(f(x) + 1) / 2 · μ + 1/2⌋

    Args:
      x: any shape, floating; values outside [−1, 1] count as −1 or 1.
      classes: K, from 2 to 2²².

    Returns:
      ids in the shape of `x`, int32, in [0, K); −1, the id of no class, where `x` is NaN: `embedding` and `wavenet`
      answer it with NaN. The same ids as torchaudio's `MuLawEncoding`, but for rounding: quiet samples keep their sign.

    Raises:
      ValueError: if `classes` is out of range.
      TypeError: if `x` is not floating, or `classes` not a whole number.

    Gradient: none; the result is made of integers.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.mu_law_encode(jnp.array([-1.0, -0.01, 0.0, 0.01, 1.0]))
      Array([  0,  98, 128, 157, 255], dtype=int32)

    Source: ITU-T G.711 1988; van den Oord et al. 2016, "WaveNet", section 2.2.
    """
    values = _checks.floating("nn.mu_law_encode", "x", x)
    k = _class_count("nn.mu_law_encode", classes)
    wide = values.astype(compute_dtype(values.dtype))
    mu = k - 1
    distance = mu / 2 / math.log1p(mu) * jnp.log1p(mu * jnp.minimum(jnp.abs(wide), 1))
    # Counted from the middle, since 1 + f(x) would round the quiet samples' digits, and their sign, away. An odd number
    # of classes has one around 0; an even number has an edge there.
    half = k % 2 / 2
    ids = k // 2 + jnp.where(wide < 0, -jnp.ceil(distance - half), jnp.floor(distance + half))
    return jnp.where(jnp.isnan(wide), -1, ids).astype(jnp.int32)


def mu_law_decode(ids: ArrayLike, *, classes: int = 256) -> Array:
    """Turns classes back into samples: the inverse of `mu_law_encode` on the classes.

        y = 2 id / μ − 1,   μ = classes − 1
        x = sign(y) ((1 + μ)^|y| − 1) / μ

    Args:
      ids: any shape, integers in [0, K).
      classes: K, from 2 to 2²².

    Returns:
      x in the shape of `ids`, float32, in [−1, 1]; NaN where an id is none of the classes. Encoding it gives `ids`
      back.

    Raises:
      ValueError: if `classes` is out of range.
      TypeError: if `ids` are not integers, or `classes` not a whole number.

    Gradient: none; the argument is made of integers.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.mu_law_decode(jnp.array([0, 2, 4, 5]), classes=5)
      Array([-1.,  0.,  1., nan], dtype=float32)

    Source: ITU-T G.711 1988; van den Oord et al. 2016, "WaveNet", section 2.2.
    """
    rows = _checks.integers("nn.mu_law_decode", "ids", ids, "nn.mu_law_encode makes them.")
    k = _class_count("nn.mu_law_decode", classes)
    mu = k - 1
    inside = (rows >= 0) & (rows < k)
    steps = 2 * jnp.where(inside, rows, 0).astype(jnp.int32) - mu  # y in units of 1 / μ, exactly
    share = (jnp.abs(steps) / mu).astype(jnp.float32)
    size = jnp.where(share == 1, 1, jnp.expm1(share * math.log1p(mu)) / mu)
    return jnp.where(inside, jnp.where(steps < 0, -size, size), jnp.nan)


def _class_count(function: str, classes: int) -> int:
    k = _checks.integer(function, "classes", classes, low=2)
    if k > MOST:
        raise _checks.value_error(
            function, "classes", k, f"at most {MOST}, which float32 tells apart", "256 and 65536 are usual."
        )
    return k
