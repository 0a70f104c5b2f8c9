"""Smooth relatives of the rectifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._log1p import log1p_unit
from dlcore._precision import compute_dtype
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
    x = _checks.floating("nn.gelu", "x", x)
    # In float32 or wider: x³ overflows in half precision. Beyond these bounds the gate is 0 or 1 in every dtype.
    wide = x.astype(compute_dtype(x.dtype))
    return _saturated(lambda inner: jax.nn.gelu(inner, approximate), wide, 30 if approximate else 1000).astype(x.dtype)


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
    return _saturated(jax.nn.silu, _checks.floating("nn.silu", "x", x), 1000)


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
    return _saturated(jax.nn.mish, _checks.floating("nn.mish", "x", x), 1000)


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
    values = _checks.floating("nn.softplus", "x", x)
    return rectified(values.astype(compute_dtype(values.dtype))).astype(values.dtype)


# custom_jvp: its slope is a sigmoid, which differentiation through |x| would not find. It saves x.
@jax.custom_jvp
def rectified(x: Array) -> Array:
    """softplus in float32 or wider."""
    return jnp.maximum(x, 0) + log1p_unit(jnp.exp(-jnp.abs(x)))


@rectified.defjvp
def _rectified_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    return rectified(primals[0]), jax.nn.sigmoid(primals[0]) * tangents[0]


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
    finite = jnp.where(jnp.isinf(x), 0, x)
    # √(x² + b), scaled so that x² does not overflow; the scale is a constant to the gradient, since it cancels.
    size = jnp.where(finite > 0, finite, -finite)
    scale = lax.stop_gradient(jnp.where(size > b**0.5, size, b**0.5))
    total = size + scale * jnp.sqrt((finite / scale) ** 2 + (b**0.5 / scale) ** 2)
    # Below 0 the sum x + √(x² + b) would cancel; its product with √(x² + b) − x is b.
    y = jnp.where(finite > 0, total / 2, b / (2 * total))
    return jnp.where(jnp.isinf(x), jnp.where(x > 0, x, 0), y)


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
    # Far out, 1 − 1 / (1 + |x|) has the limit and an exact derivative; near 0, x / (1 + |x|) has the digits.
    near = jnp.abs(x) < 1
    inner = jnp.where(near, x, 0)
    outer = jnp.sign(x) * (1 - 1 / (1 + jnp.abs(jnp.where(near, 1, x))))
    return jnp.where(near, inner / (1 + jnp.abs(inner)), outer)


def _saturated(function: Callable[[Array], Array], x: Array, bound: float) -> Array:
    """`function` between −bound and bound, 0 below and the identity above: its limits, exact in value and gradient.

    Without it, x = −∞ times a gate of 0 would be NaN, and so would be the gradient at both infinities.
    """
    outside = (x > bound) | (x < -bound)
    return jnp.where(x > bound, x, jnp.where(x < -bound, 0, function(jnp.where(outside, 0, x))))
