"""Lengths and directions of vectors, with a derivative at zero: 0, and never NaN."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from dlcore._norms import scaled_norm
from dlcore._typing import Array
from dlcore.kernels.windows import absolute

__all__ = ["cosine_distance_of", "direction", "length"]


def direction(x: Array, axis: int) -> tuple[Array, Array]:
    """x / ‖x‖ along `axis`, and whether there is one (that axis kept): the zero vector has none, and stays zero."""
    norm, scale = scaled_norm(x, axis)
    some = norm != 0
    return (x / scale) / jnp.where(some, norm, 1), some


def cosine_distance_of(x: Array, y: Array, axis: int) -> Array:
    """1 − cos(x, y), and 1 where one of them is zero.

    As half the squared distance between the directions, which is never below 0, and exactly 0, its gradient too, where
    they are equal: 1 minus a product near 1 would be neither.
    """
    (u, some), (v, other) = direction(x, axis), direction(y, axis)
    both = (some & other).squeeze(axis)
    return jnp.where(both, ((u - v) ** 2).sum(axis) / 2, 1)


def length(x: Array, p: float) -> Array:
    """‖x‖_p over the last axis; its gradient is 0 at the zero vector, and the first largest's for p = ∞."""
    sizes = absolute(x)
    if p == 1:
        return sizes.sum(-1)
    largest = jnp.take_along_axis(sizes, jnp.argmax(sizes, -1)[..., None], -1)
    if p == math.inf:
        return largest[..., 0]
    scale = jax.lax.stop_gradient(largest)
    some = scale != 0  # NaN too, which stays
    scale = jnp.where(some, scale, 1)
    powers = (sizes / scale) ** (int(p) if float(p).is_integer() else p)
    total = jnp.where(some[..., 0], powers.sum(-1), 1)
    return jnp.where(some[..., 0], scale[..., 0] * total ** (1 / p), 0)
