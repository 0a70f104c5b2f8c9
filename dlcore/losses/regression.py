"""Regression losses, one value per element."""

from __future__ import annotations

from dlcore._typing import Array, ArrayLike
from dlcore.losses._validate import pair

__all__ = ["squared_error"]


def squared_error(predictions: ArrayLike, targets: ArrayLike) -> Array:
    """The squared error of each element; its mean is the mean squared error, MSE.

        L_i = (ŷ_i − y_i)²

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.

    Returns:
      L in the shape and dtype of `predictions`: one value per element, to be reduced with `losses.mean`. Computed
      in float32 or wider. There is no factor 1/2: Optax' `l2_loss` has one.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating.

    Gradient: 2 (ŷ − y), exactly zero at the minimum; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.squared_error(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0]))
      Array([0., 4.], dtype=float32)

    Source: Legendre 1805, "Nouvelles méthodes pour la détermination des orbites des comètes", appendix.
    """
    y_hat, y, dtype = pair("losses.squared_error", "predictions", predictions, "targets", targets)
    return ((y_hat - y) ** 2).astype(dtype)
