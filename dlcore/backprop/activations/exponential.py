"""Rectifiers with an exponential below zero, which saturates."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop.activations._elementwise import UnitResiduals, backward, forward

__all__ = ["celu_bwd", "celu_fwd", "elu_bwd", "elu_fwd", "selu_bwd", "selu_fwd"]

# The constants for which the standard normal distribution is a fixed point.
LAMBDA = 1.0507009873554805
ALPHA = 1.6732632423543772


def elu_fwd(x: ArrayLike, *, alpha: float = 1.0) -> tuple[Array, UnitResiduals]:
    """The exponential linear unit.

        y = x if x > 0, else α (exp(x) − 1)

    Args:
      x: any shape, floating.
      alpha: α, minus the limit at −∞.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if `alpha` is not finite.

    Gradient: 1 above 0, α exp(x) below, α at the kink x = 0 (which is no kink at α = 1).

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.elu_fwd(jnp.array([-jnp.inf, 0.0, 2.0]), alpha=0.5)
      >>> backprop.elu_bwd(residuals, jnp.ones(3))[0]
      Array([0. , 0.5, 1. ], dtype=float32)

    Source: Clevert, Unterthiner & Hochreiter 2016, "Fast and accurate deep network learning by ELUs".
    """
    return forward(
        "elu",
        x,
        lambda x, alpha: jnp.where(x > 0, x, alpha * jnp.expm1(_below(x))),
        _checks.number("backprop.elu_fwd", "alpha", alpha),
    )


def elu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `elu_fwd`.

        dx = dy if x > 0, else dy · α exp(x)

    Args:
      residuals: those that `elu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `elu_fwd`.

    Source: the chain rule; see `elu_fwd`.
    """
    return backward("elu", residuals, dy, lambda x, dy, alpha: jnp.where(x > 0, dy, dy * alpha * jnp.exp(_below(x))))


def selu_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The self-normalising exponential linear unit.

        y = λ x if x > 0, else λ α (exp(x) − 1),   λ = 1.0507…, α = 1.6733…

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: λ above 0, λ α exp(x) below, λ α at the kink x = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.selu_fwd(jnp.array([-jnp.inf, 0.0, 2.0]))
      >>> [f"{dx:.4f}" for dx in backprop.selu_bwd(residuals, jnp.ones(3))[0]]
      ['0.0000', '1.7581', '1.0507']

    Source: Klambauer, Unterthiner, Mayr & Hochreiter 2017, "Self-normalizing neural networks".
    """
    return forward("selu", x, lambda x: LAMBDA * jnp.where(x > 0, x, ALPHA * jnp.expm1(_below(x))))


def selu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `selu_fwd`.

        dx = λ dy if x > 0, else dy · λ α exp(x)

    Args:
      residuals: those that `selu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `selu_fwd`.

    Source: the chain rule; see `selu_fwd`.
    """
    return backward("selu", residuals, dy, lambda x, dy: LAMBDA * jnp.where(x > 0, dy, dy * ALPHA * jnp.exp(_below(x))))


def celu_fwd(x: ArrayLike, *, alpha: float = 1.0) -> tuple[Array, UnitResiduals]:
    """The continuously differentiable exponential linear unit.

        y = x if x > 0, else α (exp(x / α) − 1)

    Args:
      x: any shape, floating.
      alpha: α > 0, minus the limit at −∞.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if `alpha` is not positive.

    Gradient: 1 above 0, exp(x / α) below, 1 at 0, where both meet.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.celu_fwd(jnp.array([-jnp.inf, 0.0, 2.0]), alpha=2.0)
      >>> backprop.celu_bwd(residuals, jnp.ones(3))[0]
      Array([0., 1., 1.], dtype=float32)

    Source: Barron 2017, "Continuously differentiable exponential linear units".
    """
    return forward(
        "celu",
        x,
        lambda x, alpha: jnp.where(x > 0, x, alpha * jnp.expm1(_below(x) / alpha)),
        _checks.number("backprop.celu_fwd", "alpha", alpha, above=0.0),
    )


def celu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `celu_fwd`.

        dx = dy if x > 0, else dy · exp(x / α)

    Args:
      residuals: those that `celu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `celu_fwd`.

    Source: the chain rule; see `celu_fwd`.
    """
    return backward("celu", residuals, dy, lambda x, dy, alpha: jnp.where(x > 0, dy, dy * jnp.exp(_below(x) / alpha)))


def _below(x: Array) -> Array:
    """`x` below the kink, 0 above: exp must not overflow on the side that is not taken."""
    return jnp.where(x > 0, 0, x)
