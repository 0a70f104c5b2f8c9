"""Units that pull towards zero."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop.activations._elementwise import UnitResiduals, backward, forward, rounded

__all__ = [
    "hard_shrink_bwd",
    "hard_shrink_fwd",
    "soft_shrink_bwd",
    "soft_shrink_fwd",
    "tanh_shrink_bwd",
    "tanh_shrink_fwd",
]


def hard_shrink_fwd(x: ArrayLike, *, threshold: float = 0.5) -> tuple[Array, UnitResiduals]:
    """Keeps what is large, zeroes the rest.

        y = x if |x| > θ, else 0

    Args:
      x: any shape, floating.
      threshold: θ ≥ 0, rounded to the dtype of `x`.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if `threshold` is negative.

    Gradient: 1 where |x| > θ, 0 elsewhere and at the jumps |x| = θ.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.hard_shrink_fwd(jnp.array([-1.0, 0.5, 1.0]))
      >>> backprop.hard_shrink_bwd(residuals, jnp.ones(3))[0]
      Array([1., 0., 1.], dtype=float32)

    Source: Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage", eq. 7.
    """
    values = _checks.floating("backprop.hard_shrink_fwd", "x", x)
    _checks.number("backprop.hard_shrink_fwd", "threshold", threshold, low=0.0)
    return forward(
        "hard_shrink", values, lambda x, theta: jnp.where(_within(x, theta), 0, x), rounded(threshold, values)
    )


def hard_shrink_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `hard_shrink_fwd`.

        dx = dy if |x| > θ, else 0

    Args:
      residuals: those that `hard_shrink_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `hard_shrink_fwd`.

    Source: the chain rule; see `hard_shrink_fwd`.
    """
    return backward("hard_shrink", residuals, dy, lambda x, dy, theta: jnp.where(_within(x, theta), 0, dy))


def soft_shrink_fwd(x: ArrayLike, *, threshold: float = 0.5) -> tuple[Array, UnitResiduals]:
    """Moves towards zero by a threshold, and stops there.

        y = sign(x) · max(|x| − θ, 0)

    Args:
      x: any shape, floating.
      threshold: θ ≥ 0, rounded to the dtype of `x`.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if `threshold` is negative.

    Gradient: 1 where |x| > θ, 0 elsewhere and at the kinks |x| = θ.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.soft_shrink_fwd(jnp.array([-1.0, 0.5, 1.0]))
      >>> backprop.soft_shrink_bwd(residuals, jnp.ones(3))[0]
      Array([1., 0., 1.], dtype=float32)

    Source: Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage", eq. 8.
    """
    values = _checks.floating("backprop.soft_shrink_fwd", "x", x)
    _checks.number("backprop.soft_shrink_fwd", "threshold", threshold, low=0.0)
    return forward(
        "soft_shrink",
        values,
        lambda x, theta: jnp.where(x > theta, x - theta, jnp.where(x < -theta, x + theta, 0 * x)),
        rounded(threshold, values),
    )


def soft_shrink_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `soft_shrink_fwd`.

        dx = dy if |x| > θ, else 0

    Args:
      residuals: those that `soft_shrink_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `soft_shrink_fwd`.

    Source: the chain rule; see `soft_shrink_fwd`.
    """
    return backward("soft_shrink", residuals, dy, lambda x, dy, theta: jnp.where((x > theta) | (x < -theta), dy, 0))


def tanh_shrink_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """What tanh takes away.

        y = x − tanh(x)

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.tanh_shrink_fwd(jnp.array([-jnp.inf, 0.0, 1.0]))
      >>> [f"{dx:.4f}" for dx in backprop.tanh_shrink_bwd(residuals, jnp.ones(3))[0]]
      ['1.0000', '0.0000', '0.5800']

    Source: Kavukcuoglu, Ranzato & LeCun 2008, "Fast inference in sparse coding algorithms".
    """
    return forward("tanh_shrink", x, lambda x: x - jnp.tanh(x))


def tanh_shrink_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `tanh_shrink_fwd`.

        dx = dy · tanh²(x)

    Args:
      residuals: those that `tanh_shrink_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `tanh_shrink_fwd`.

    Source: the chain rule; see `tanh_shrink_fwd`.
    """
    return backward("tanh_shrink", residuals, dy, lambda x, dy: dy * jnp.tanh(x) ** 2)


def _within(x: Array, theta: float) -> Array:
    return (x >= -theta) & (x <= theta)
