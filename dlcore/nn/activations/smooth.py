"""Smooth relatives of the rectifier."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike

__all__ = ["gelu", "mish", "silu", "soft_sign", "softplus", "squareplus"]


def gelu(x: ArrayLike, *, approximate: bool = True) -> Array:
    """The Gaussian error linear unit.

        y = x Φ(x);   approximately  y = x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))

    Args:
      x: any shape, floating.
      approximate: the tanh form, JAX' and Flax' default; PyTorch and Keras default to the exact form, `False`.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> [f"{y:.4f}" for y in nn.gelu(jnp.array([-1.0, 1.0]), approximate=False)]
      ['-0.1587', '0.8413']

    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units".
    """
    return jax.nn.gelu(_checks.floating("nn.gelu", "x", x), approximate)


def silu(x: ArrayLike) -> Array:
    """The sigmoid linear unit, also called swish.

        y = x σ(x)

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> [f"{y:.4f}" for y in nn.silu(jnp.array([-1.0, 1.0]))]
      ['-0.2689', '0.7311']

    Source: Elfwing, Uchibe & Doya 2018, "Sigmoid-weighted linear units".
    """
    return jax.nn.silu(_checks.floating("nn.silu", "x", x))


def mish(x: ArrayLike) -> Array:
    """A self-gated unit close to silu.

        y = x tanh(log(1 + exp(x)))

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> [f"{y:.4f}" for y in nn.mish(jnp.array([-1.0, 1.0]))]
      ['-0.3034', '0.8651']

    Source: Misra 2020, "Mish: a self regularized non-monotonic activation function".
    """
    return jax.nn.mish(_checks.floating("nn.mish", "x", x))


def softplus(x: ArrayLike) -> Array:
    """The smooth rectifier; its derivative is the sigmoid.

        y = log(1 + exp(x))

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`; exact where exp(x) would overflow.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, σ(x).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> [f"{y:.4f}" for y in nn.softplus(jnp.array([-jnp.inf, 0.0, 1000.0]))]
      ['0.0000', '0.6931', '1000.0000']

    Source: Dugas, Bengio, Bélisle, Nadeau & Garcia 2001, "Incorporating second-order functional knowledge".
    """
    return jax.nn.softplus(_checks.floating("nn.softplus", "x", x))


def squareplus(x: ArrayLike, *, b: float = 4.0) -> Array:
    """A smooth rectifier without exponentials.

        y = (x + √(x² + b)) / 2

    Args:
      x: any shape, floating.
      b: > 0, how wide the bend is.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `b` is not positive.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.squareplus(jnp.array([0.0, 1.5]))
      Array([1., 2.], dtype=float32)

    Source: Barron 2021, "Squareplus: a softplus-like algebraic rectifier".
    """
    x = _checks.floating("nn.squareplus", "x", x)
    _checks.number("nn.squareplus", "b", b, above=0.0)
    return jax.nn.squareplus(x, b)


def soft_sign(x: ArrayLike) -> Array:
    """A squashing unit that approaches ±1 slowly.

        y = x / (1 + |x|)

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`; ±1 at ±∞.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: 1 / (1 + |x|)², which is 1 at x = 0 and 0 at ±∞.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.soft_sign(jnp.array([-jnp.inf, 0.0, 1.0]))
      Array([-1. ,  0. ,  0.5], dtype=float32)

    Source: Bergstra, Desjardins, Lamblin & Bengio 2009, "Quadratic polynomials learn better image features".
    """
    x = _checks.floating("nn.soft_sign", "x", x)
    # Without the inner where, the quotient ∞ / ∞ and its gradient would be NaN.
    finite = jnp.where(jnp.isinf(x), 0, x)
    return jnp.where(jnp.isinf(x), jnp.sign(x), finite / (1 + jnp.abs(finite)))
