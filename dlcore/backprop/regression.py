"""The chain rule through the squared error."""

from __future__ import annotations

from typing import NamedTuple

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop._boundary import cotangent, saved, widen

__all__ = ["SquaredErrorResiduals", "squared_error_bwd", "squared_error_fwd"]


class SquaredErrorResiduals(NamedTuple):
    """What `squared_error_fwd` saves: both arguments."""

    predictions: Array
    targets: Array


def squared_error_fwd(predictions: ArrayLike, targets: ArrayLike) -> tuple[Array, SquaredErrorResiduals]:
    """The squared error of each element, without a factor 1/2.

        L_i = (ŷ_i − y_i)²

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.

    Returns: L in the shape and dtype of `predictions`, and the residuals: both arguments.

    Raises: ValueError if the shapes differ; TypeError if one is not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> losses, residuals = backprop.squared_error_fwd(jnp.array([3.0]), jnp.array([1.0]))
      >>> backprop.squared_error_bwd(residuals, jnp.ones(1))
      (Array([4.], dtype=float32), Array([-4.], dtype=float32))

    Source: Legendre 1805, "Nouvelles méthodes pour la détermination des orbites des comètes", appendix.
    """
    name = "backprop.squared_error_fwd"
    y_hat, y = _checks.floating(name, "predictions", predictions), _checks.floating(name, "targets", targets)
    _checks.same_shape(name, "predictions", y_hat, "targets", y)
    kept = SquaredErrorResiduals(y_hat, y)
    return (_difference(kept) ** 2).astype(y_hat.dtype), kept


def squared_error_bwd(residuals: SquaredErrorResiduals, dy: ArrayLike) -> tuple[Array, Array]:
    """The gradient of `squared_error_fwd`.

        dŷ = dL · 2 (ŷ − y),   dy = −dŷ

    Args:
      residuals: those that `squared_error_fwd` returned.
      dy: the gradient in each L_i, in the shape and dtype of L.

    Returns: the gradients in predictions and targets, in their shapes and dtypes.

    Raises: ValueError or TypeError if `dy` is not of L's shape and dtype, or `residuals` are not its own.

    Example: See `squared_error_fwd`.

    Source: the chain rule; see `squared_error_fwd`.
    """
    name = "backprop.squared_error_bwd"
    kept = saved(name, residuals, SquaredErrorResiduals)
    y_hat, y = kept
    error = cotangent(name, dy, y_hat.shape, y_hat.dtype) * 2 * _difference(kept)
    return error.astype(y_hat.dtype), (-error).astype(y.dtype)


def _difference(kept: SquaredErrorResiduals) -> Array:
    """ŷ − y, in the dtype that `predictions` asks for."""
    y_hat = widen(kept.predictions)
    return y_hat - kept.targets.astype(y_hat.dtype)
