"""What is exponentiated without overflow: scores minus their maximum, at every value that has a limit."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._rows import row_max
from dlcore._typing import Array

__all__ = ["below", "peak", "shift"]


def peak(x: Array, axis: int) -> Array:
    """The maximum along `axis`, kept with size one: a constant to the gradient, since softmax does not depend on it."""
    if axis in (-1, x.ndim - 1):
        return row_max(x)
    return lax.stop_gradient(jnp.max(x, axis=axis, keepdims=True, initial=-np.inf))


def shift(x: Array, top: Array) -> Array:
    """`x` minus its slice's maximum `top`: what is exponentiated without overflow.

    A slice of −inf alone stays −inf (its exponentials are zeros), and one that holds +inf becomes its own limit: 0 at
    +inf, −inf elsewhere.
    """
    finite = jnp.where(jnp.isinf(top), 0, top)
    return jnp.where(top == np.inf, jnp.where(x == np.inf, 0.0, -np.inf).astype(x.dtype), x - finite)


def below(x: Array, top: Array) -> Array:
    """`shift` for what is exponentiated at once, at half its operations: the largest number stands for +inf."""
    largest = jnp.finfo(x.dtype).max
    return jnp.minimum(x, largest) - jnp.clip(top, -largest, largest)
