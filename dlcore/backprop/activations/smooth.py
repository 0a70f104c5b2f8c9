"""Smooth relatives of the rectifier."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid as sigma

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop.activations._elementwise import UnitResiduals, backward, forward, saturated

__all__ = [
    "gelu_bwd",
    "gelu_fwd",
    "mish_bwd",
    "mish_fwd",
    "silu_bwd",
    "silu_fwd",
    "soft_sign_bwd",
    "soft_sign_fwd",
    "softplus_bwd",
    "softplus_fwd",
    "squareplus_bwd",
    "squareplus_fwd",
]

ROOT = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def silu_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The sigmoid linear unit, also called swish.

        y = x σ(x)

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth; its limits, 0 and 1, at ±∞.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.silu_fwd(jnp.array([-jnp.inf, 0.0, 1.0]))
      >>> [f"{dx:.4f}" for dx in backprop.silu_bwd(residuals, jnp.ones(3))[0]]
      ['0.0000', '0.5000', '0.9277']

    Source: Elfwing, Uchibe & Doya 2018, "Sigmoid-weighted linear units".
    """
    return forward("silu", x, silu)


def silu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `silu_fwd`.

        dx = dy · (σ(x) + x σ(x) (1 − σ(x)))

    Args:
      residuals: those that `silu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `silu_fwd`.

    Source: the chain rule; see `silu_fwd`.
    """
    return backward("silu", residuals, dy, lambda x, dy: dy * silu_slope(x))


def gelu_fwd(x: ArrayLike, *, approximate: bool = True) -> tuple[Array, UnitResiduals]:
    """The Gaussian error linear unit.

        y = x Φ(x);   approximately  y = x g,  g = (1 + tanh u) / 2 = σ(2u),  u = √(2/π) (x + 0.044715 x³)

    Args:
      x: any shape, floating.
      approximate: the tanh form, the default of JAX and Flax.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth; its limits, 0 and 1, at ±∞.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.gelu_fwd(jnp.array([-jnp.inf, 0.0, 1.0]), approximate=False)
      >>> [f"{dx:.4f}" for dx in backprop.gelu_bwd(residuals, jnp.ones(3))[0]]
      ['0.0000', '0.5000', '1.0833']

    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units".
    """
    return forward("gelu", x, gelu, bool(approximate))


def gelu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `gelu_fwd`.

        dx = dy · (Φ(x) + x φ(x));   approximately  dx = dy · (g + x · 2 g (1 − g) · √(2/π) (1 + 3 · 0.044715 x²))

    Args:
      residuals: those that `gelu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `gelu_fwd`.

    Source: the chain rule; see `gelu_fwd`.
    """
    return backward("gelu", residuals, dy, lambda x, dy, approximate: dy * gelu_slope(x, approximate))


def mish_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """A self-gated unit close to silu.

        y = x t,   t = tanh(log(1 + exp(x)))

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth; its limits, 0 and 1, at ±∞.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.mish_fwd(jnp.array([-jnp.inf, 0.0, 1.0]))
      >>> [f"{dx:.4f}" for dx in backprop.mish_bwd(residuals, jnp.ones(3))[0]]
      ['0.0000', '0.6000', '1.0490']

    Source: Misra 2020, "Mish: a self regularized non-monotonic activation function".
    """
    return forward("mish", x, lambda x: saturated(x, 1000, 0, lambda x: x * jnp.tanh(_softplus(x)), x))


def mish_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `mish_fwd`.

        dx = dy · (t + x (1 − t²) σ(x))

    Args:
      residuals: those that `mish_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `mish_fwd`.

    Source: the chain rule; see `mish_fwd`.
    """
    return backward("mish", residuals, dy, lambda x, dy: dy * _mish_slope(x))


def softplus_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The smooth rectifier; its derivative is the sigmoid.

        y = log(1 + exp(x))

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.softplus_fwd(jnp.array([-jnp.inf, 0.0, jnp.inf]))
      >>> backprop.softplus_bwd(residuals, jnp.ones(3))[0]
      Array([0. , 0.5, 1. ], dtype=float32)

    Source: Dugas, Bengio, Bélisle, Nadeau & Garcia 2001, "Incorporating second-order functional knowledge".
    """
    return forward("softplus", x, _softplus)


def softplus_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `softplus_fwd`.

        dx = dy · σ(x)

    Args:
      residuals: those that `softplus_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `softplus_fwd`.

    Source: the chain rule; see `softplus_fwd`.
    """
    return backward("softplus", residuals, dy, lambda x, dy: dy * sigma(x))


def squareplus_fwd(x: ArrayLike, *, b: float = 4.0) -> tuple[Array, UnitResiduals]:
    """A smooth rectifier without exponentials.

        y = (x + r) / 2,   r = √(x² + b)

    Args:
      x: any shape, floating.
      b: > 0, how wide the bend is.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if `b` is not positive.

    Gradient: smooth; its limits, 0 and 1, at ±∞.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.squareplus_fwd(jnp.array([-jnp.inf, 0.0, 1.5]))
      >>> backprop.squareplus_bwd(residuals, jnp.ones(3))[0]
      Array([0. , 0.5, 0.8], dtype=float32)

    Source: Barron 2021, "Squareplus: a softplus-like algebraic rectifier".
    """
    return forward("squareplus", x, _squareplus, _checks.number("backprop.squareplus_fwd", "b", b, above=0.0))


def squareplus_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `squareplus_fwd`.

        dx = dy · (1 + x / r) / 2 = dy · y / r

    Args:
      residuals: those that `squareplus_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `squareplus_fwd`.

    Source: the chain rule; see `squareplus_fwd`.
    """
    return backward("squareplus", residuals, dy, lambda x, dy, b: dy * _squareplus_slope(x, b))


def soft_sign_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """A squashing unit that approaches ±1 slowly.

        y = x / (1 + |x|)

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: 1 at x = 0, 0 at ±∞.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.soft_sign_fwd(jnp.array([-jnp.inf, 0.0, 1.0]))
      >>> backprop.soft_sign_bwd(residuals, jnp.ones(3))[0]
      Array([0.  , 1.  , 0.25], dtype=float32)

    Source: Bergstra, Desjardins, Lamblin & Bengio 2009, "Quadratic polynomials learn better image features".
    """
    return forward("soft_sign", x, _soft_sign)


def soft_sign_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `soft_sign_fwd`.

        dx = dy / (1 + |x|)²

    Args:
      residuals: those that `soft_sign_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `soft_sign_fwd`.

    Source: the chain rule; see `soft_sign_fwd`.
    """
    return backward("soft_sign", residuals, dy, lambda x, dy: dy / (1 + jnp.abs(x)) ** 2)


def silu(x: Array) -> Array:
    """x σ(x), 0 at −∞."""
    return saturated(x, 1000, 0, lambda x: x * sigma(x), x)


def silu_slope(x: Array) -> Array:
    """σ(x) + x σ(x) (1 − σ(x))."""
    return saturated(x, 1000, 0, lambda x: sigma(x) + x * sigma(x) * sigma(-x), jnp.ones_like(x))


def gelu(x: Array, approximate: bool) -> Array:
    """x Φ(x), or x σ(2u); beyond the bound the gate is 0 or 1 in every dtype."""
    bound, gate = (30, _tanh_gate) if approximate else (1000, _gauss_gate)
    return saturated(x, bound, 0, lambda x: x * gate(x), x)


def gelu_slope(x: Array, approximate: bool) -> Array:
    """Its derivative, g + x g′."""

    def exact(x: Array) -> Array:
        return _gauss_gate(x) + x * jnp.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

    def tanh_form(x: Array) -> Array:
        g = _tanh_gate(x)
        return g + x * 2 * g * (1 - g) * ROOT * (1 + 3 * CUBIC * x**2)

    bound, slope = (30, tanh_form) if approximate else (1000, exact)
    return saturated(x, bound, 0, slope, jnp.ones_like(x))


def _gauss_gate(x: Array) -> Array:
    return lax.erfc(-x / math.sqrt(2)) / 2


def _tanh_gate(x: Array) -> Array:
    return sigma(2 * ROOT * (x + CUBIC * x**3))


def _softplus(x: Array) -> Array:
    return jnp.logaddexp(x, jnp.zeros_like(x))


def _mish_slope(x: Array) -> Array:
    def slope(x: Array) -> Array:
        t = jnp.tanh(_softplus(x))
        return t + x * (1 - t**2) * sigma(x)

    return saturated(x, 1000, 0, slope, jnp.ones_like(x))


def _root(x: Array, b: float) -> Array:
    """√(x² + b), scaled so that x² does not overflow."""
    size = jnp.abs(x)
    # A constant to the gradient of the gradient: it cancels.
    scale = lax.stop_gradient(jnp.where(size > b**0.5, size, b**0.5))
    return scale * jnp.sqrt((x / scale) ** 2 + (b**0.5 / scale) ** 2)


def _squareplus(x: Array, b: float) -> Array:
    finite = jnp.where(jnp.isinf(x), 0, x)
    r = _root(finite, b)
    # Below 0 the sum x + r would cancel; its product with r − x is b.
    y = jnp.where(finite > 0, finite / 2 + r / 2, b / 2 / (r - jnp.where(finite > 0, 0, finite)))
    return jnp.where(jnp.isinf(x), jnp.where(x > 0, x, 0), y)


def _squareplus_slope(x: Array, b: float) -> Array:
    finite = jnp.where(jnp.isinf(x), 0, x)
    return jnp.where(jnp.isinf(x), (x > 0).astype(x.dtype), _squareplus(finite, b) / _root(finite, b))


def _soft_sign(x: Array) -> Array:
    # Far out, 1 − 1 / (1 + |x|) has the limit; near 0, x / (1 + |x|) has the digits.
    near = jnp.abs(x) < 1
    inner = jnp.where(near, x, 0)
    return jnp.where(near, inner / (1 + jnp.abs(inner)), jnp.sign(x) * (1 - 1 / (1 + jnp.abs(x))))
