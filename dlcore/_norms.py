"""Euclidean lengths of vectors of any size: no square overflows or vanishes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore._typing import Array

__all__ = ["scaled_norm"]


def scaled_norm(x: Array, axes: int | tuple[int, ...]) -> tuple[Array, Array]:
    """‖x‖ over `axes`, kept, in units of the largest entry, and that; 0 in units of 1 for the zero vector.

    A quotient of x and both does not depend on the scale, and so its derivative does not either.
    """
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0))
    some = scale != 0  # NaN too, which stays
    scale = jnp.where(some, scale, 1)
    squares = ((x / scale) ** 2).sum(axes, keepdims=True)
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0), scale
