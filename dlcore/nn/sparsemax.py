"""Sparsemax: probabilities of which many are exactly zero."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._shift import peak, shift
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike

__all__ = ["sparsemax"]


def sparsemax(x: ArrayLike, *, axis: int = -1) -> Array:
    """The Euclidean projection of scores onto the probability simplex.

        y_k = max(x_k − τ, 0),   τ such that Σ_k y_k = 1

    which is argmin ‖y − x‖² over y ≥ 0 with Σ y = 1.

    Args:
      x: any shape with at least one axis, floating.
      axis: along which the probabilities sum to one.

    Returns:
      y in the shape and dtype of `x`, computed in float32 or wider. An entry 1 or more below the largest is exactly 0.
      An entry of −inf is 0, entries of +inf share the 1 evenly; a slice of nothing but −inf gives zeros. NaN makes its
      own slice NaN.

    Raises:
      ValueError: if `axis` is none of `x`.
      TypeError: if `x` is not floating.

    Gradient: on the support S, the entries with x_k > τ, dx_k = dy_k − (Σ_{j∈S} dy_j) / |S|; 0 elsewhere. At a kink,
    x_k = τ, the entry is outside the support, as the paper has it.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.sparsemax(jnp.array([1.0, 0.5, -1.0])))
      [0.75 0.25 0.  ]

    Source: Martins & Astudillo 2016, "From softmax to sparsemax", algorithm 1 and section 2.5.
    """
    name = "nn.sparsemax"
    values = _checks.floating(name, "x", x)
    index = _checks.integer(name, "axis", axis, low=-values.ndim)
    if index >= values.ndim:
        raise _checks.value_error(
            name, "axis", axis, f"an axis of x, which has {values.ndim}", "-1 is the last axis, the classes."
        )
    scores = values.astype(compute_dtype(values.dtype))
    top = peak(scores, index)
    scores = shift(scores, top)
    outside = _outside(lax.stop_gradient(scores), index) | (top == -np.inf)
    # The sum over the support again, for the gradient, without what is outside: inf · 0 would be NaN.
    inside = jnp.where(outside, 0, scores)
    count = jnp.maximum((~outside).sum(index, keepdims=True, dtype=scores.dtype), 1)
    y = inside - (inside.sum(index, keepdims=True) - 1) / count
    # Rounding may leave the smallest of the support below 0.
    return jnp.where(outside | (y < 0), 0, y).astype(values.dtype)


def _outside(scores: Array, axis: int) -> Array:
    """Which entries are not above the threshold τ; NaN is neither, so that it shows."""
    # The largest is 0, so that τ ≥ −1: cut off there, no sum overflows and −inf is a number like any other.
    cut = jnp.maximum(scores, -1)
    falling = jnp.sort(cut, axis=axis, descending=True)
    sums = jnp.cumsum(falling, axis=axis)
    ranks = jnp.arange(1, scores.shape[axis] + 1, dtype=scores.dtype)
    after = scores.ndim - 1 - axis % scores.ndim
    ranks = broadcast_to_rank(ranks.reshape((-1,) + (1,) * after), scores.ndim)
    among = 1 + ranks * falling > sums
    size = jnp.maximum(among.sum(axis, keepdims=True, dtype=scores.dtype), 1)
    tau = (jnp.where(among, falling, 0).sum(axis, keepdims=True) - 1) / size
    return cut <= tau
