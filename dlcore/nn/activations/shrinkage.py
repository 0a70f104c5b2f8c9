"""Units that pull towards zero: the proximal operators of sparse coding, and a smooth one."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike

__all__ = ["hard_shrink", "soft_shrink", "tanh_shrink"]


def hard_shrink(x: ArrayLike, *, threshold: float = 0.5) -> Array:
    """Keeps what is large, zeroes the rest.

        y = x if |x| > θ, else 0

    Args:
      x: any shape, floating.
      threshold: θ ≥ 0.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `threshold` is negative.

    Gradient: 1 where |x| > θ, 0 elsewhere and at the jumps |x| = θ.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.hard_shrink(jnp.array([-1.0, 0.2, 1.0]))
      Array([-1.,  0.,  1.], dtype=float32)

    Source: Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage", eq. 7.
    """
    x = _checks.floating("nn.hard_shrink", "x", x)
    _checks.number("nn.hard_shrink", "threshold", threshold, low=0.0)
    return jnp.where((x >= -threshold) & (x <= threshold), 0, x)


def soft_shrink(x: ArrayLike, *, threshold: float = 0.5) -> Array:
    """Moves towards zero by a threshold, and stops there: the proximal operator of θ |x|.

        y = sign(x) · max(|x| − θ, 0)

    Args:
      x: any shape, floating.
      threshold: θ ≥ 0.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `threshold` is negative.

    Gradient: 1 where |x| > θ, 0 elsewhere and at the kinks |x| = θ.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.soft_shrink(jnp.array([-1.0, 0.2, 1.0]))
      Array([-0.5,  0. ,  0.5], dtype=float32)

    Source: Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage", eq. 8.
    """
    x = _checks.floating("nn.soft_shrink", "x", x)
    _checks.number("nn.soft_shrink", "threshold", threshold, low=0.0)
    above = jnp.where(x > threshold, x - threshold, 0 * x)
    return jnp.where(x < -threshold, x + threshold, above)


def tanh_shrink(x: ArrayLike) -> Array:
    """What tanh takes away.

        y = x − tanh(x)

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, tanh²(x).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> [f"{y:.4f}" for y in nn.tanh_shrink(jnp.array([-1.0, 0.0, 1.0]))]
      ['-0.2384', '0.0000', '0.2384']

    Source: Kavukcuoglu, Ranzato & LeCun 2008, "Fast inference in sparse coding algorithms".
    """
    x = _checks.floating("nn.tanh_shrink", "x", x)
    return x - jnp.tanh(x)
