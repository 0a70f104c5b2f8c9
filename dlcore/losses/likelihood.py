"""Regression by likelihood: the negative logarithm of a density at the target, one value per element."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.losses._validate import many, pair, poison

__all__ = ["gaussian_nll", "poisson_nll"]


def poisson_nll(
    predictions: ArrayLike, targets: ArrayLike, *, log_input: bool = True, full: bool = False, epsilon: float = 1e-8
) -> Array:
    """The negative log-likelihood of counts under a Poisson distribution.

        L_i = exp(ŷ_i) − y_i ŷ_i,   or, with `log_input=False`, ŷ_i − y_i log(ŷ_i + ε)

    Args:
      predictions: ŷ, the logarithm of the rate, or the rate, any shape, floating.
      targets: y ≥ 0, the counts, in the shape of `predictions`, floating; nothing is broadcast.
      log_input: whether predictions are logarithms. Keras' `Poisson` is `log_input=False, epsilon=1e-7`.
      full: adds log y!, which does not depend on ŷ, by Stirling's formula, y log y − y + ½ log(2 π y), where y > 1.
      epsilon: ε ≥ 0, for rates that are 0.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider. An infinite ŷ
      gives the limit: a count of 0 at a rate of 0 costs nothing.

    Raises:
      ValueError: if the shapes differ, or `epsilon` is negative.
      TypeError: if one is not floating, or a flag is not boolean.

    Gradient: exp(ŷ) − y, or 1 − y / (ŷ + ε); smooth in ŷ. With `full` it jumps at y = 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.poisson_nll(jnp.array([0.0, 2.0]), jnp.array([3.0, 0.0]), log_input=False, epsilon=1e-7).round(2)
      Array([48.35,  2.  ], dtype=float32)

    Source: Nelder & Wedderburn 1972, "Generalized linear models"; options as in PyTorch's `poisson_nll_loss`.
    """
    name = "losses.poisson_nll"
    y_hat, y, dtype = pair(name, "predictions", predictions, "targets", targets)
    for argument, flag in (("log_input", log_input), ("full", full)):
        _flag(name, argument, flag)
    least = _checks.number(name, "epsilon", epsilon, low=0.0)
    if log_input:
        # At ∞ the exponential outgrows the product, which is left out there.
        values = jnp.exp(y_hat) - _times(y, jnp.where(y_hat == np.inf, 0, y_hat))
    else:
        endless = y_hat == np.inf
        values = jnp.where(endless, y_hat, y_hat - _times(y, jnp.log(jnp.where(endless, 1, y_hat) + least)))
    if full:
        large = jnp.where(y > 1, y, 1)
        values = values + jnp.where(y > 1, large * jnp.log(large) - large + jnp.log(2 * math.pi * large) / 2, 0)
    return values.astype(dtype)


def gaussian_nll(
    predictions: ArrayLike, targets: ArrayLike, variance: ArrayLike, *, full: bool = False, epsilon: float = 1e-6
) -> Array:
    """The negative log-likelihood under a normal distribution whose variance is predicted too.

        L_i = ½ (log v_i + (ŷ_i − y_i)² / v_i),   v_i = max(variance_i, ε)

    Args:
      predictions: ŷ, the mean, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.
      variance: in the shape of `predictions`, ≥ 0.
      full: adds ½ log(2 π).
      epsilon: ε > 0, what a smaller variance counts as.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider. A negative
      variance gives NaN.

    Raises:
      ValueError: if the shapes differ, or `epsilon` is not positive.
      TypeError: if one is not floating, or `full` not boolean.

    Gradient: (ŷ − y) / v, and ½ (1 − (ŷ − y)² / v) / v in the variance, where it is above ε; 0 where it is not, as the
    formula says. (PyTorch passes the second on below ε as well.)

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.gaussian_nll(jnp.array([1.0]), jnp.array([3.0]), jnp.array([4.0]))
      Array([1.1931472], dtype=float32)

    Source: Nix & Weigend 1994, "Estimating the mean and variance of the target probability distribution".
    """
    name = "losses.gaussian_nll"
    (y_hat, y, given), dtype = many(name, predictions=predictions, targets=targets, variance=variance)
    _flag(name, "full", full)
    least = _checks.number(name, "epsilon", epsilon, above=0.0)
    v = jnp.where(given <= least, least, given).astype(given.dtype)
    # In deviations, since the square of a large error may overflow where the quotient does not.
    values = (jnp.log(v) + ((y_hat - y) / jnp.sqrt(v)) ** 2) / 2 + (math.log(2 * math.pi) / 2 if full else 0)
    return poison(values, ~(given < 0)).astype(dtype)


def _times(y: Array, z: Array) -> Array:
    """y z, where a y of 0 makes an infinite z nothing."""
    nothing = (y == 0) & jnp.isinf(z)
    return y * jnp.where(nothing, 0, z)


def _flag(name: str, argument: str, value: object) -> None:
    if not isinstance(value, bool):
        raise _checks.type_error(name, argument, _checks.describe(value), "True or False", "It must be static.")
