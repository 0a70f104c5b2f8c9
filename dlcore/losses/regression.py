"""Regression losses, one value per element."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._log1p import log1p_unit
from dlcore._typing import Array, ArrayLike
from dlcore.kernels.windows import absolute
from dlcore.losses._elementwise import sloped
from dlcore.losses._validate import pair
from dlcore.nn.activations.rectified import relu

__all__ = [
    "absolute_error", "absolute_percentage_error", "huber", "log_cosh", "quantile", "smooth_l1", "squared_error",
    "squared_logarithmic_error",
]  # fmt: skip


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


def absolute_error(predictions: ArrayLike, targets: ArrayLike) -> Array:
    """The absolute error of each element; its mean is the mean absolute error, MAE.

        L_i = |ŷ_i − y_i|

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating.

    Gradient: sign(ŷ − y); 0 at the kink ŷ = y.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.absolute_error(jnp.array([1.0, 3.0]), jnp.array([1.0, 5.0]))
      Array([0., 2.], dtype=float32)

    Source: Boscovich 1757, "De litteraria expeditione per pontificiam ditionem".
    """
    y_hat, y, dtype = pair("losses.absolute_error", "predictions", predictions, "targets", targets)
    return absolute(y_hat - y).astype(dtype)


def absolute_percentage_error(predictions: ArrayLike, targets: ArrayLike, *, epsilon: float = 1e-7) -> Array:
    """The absolute error of each element in per cent of its target; its mean is MAPE.

        L_i = 100 |ŷ_i − y_i| / max(|y_i|, ε)

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.
      epsilon: ε > 0, what a smaller |y| counts as; Keras' by default.

    Returns:
      L in the shape and dtype of `predictions`, one value per element, in per cent: 100 is an error as large as its
      target. Computed in float32 or wider.

    Raises:
      ValueError: if the shapes differ, or `epsilon` is not positive.
      TypeError: if one is not floating.

    Gradient: in ŷ, 100 sign(ŷ − y) / max(|y|, ε), and 0 at the kink ŷ = y. In y the denominator counts as well; where
    |y| ≤ ε it is constant.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.absolute_percentage_error(jnp.array([3.0, 5.0]), jnp.array([2.0, -5.0]))
      Array([ 50., 200.], dtype=float32)

    Source: Makridakis 1993, "Accuracy measures: theoretical and practical concerns".
    """
    name = "losses.absolute_percentage_error"
    y_hat, y, dtype = pair(name, "predictions", predictions, "targets", targets)
    least = _checks.number(name, "epsilon", epsilon, above=0.0)
    size = absolute(y)
    return (100 * absolute((y_hat - y) / jnp.where(size <= least, least, size))).astype(dtype)


def squared_logarithmic_error(predictions: ArrayLike, targets: ArrayLike) -> Array:
    """The squared difference of logarithms of each element; its mean is MSLE.

        L_i = (log(1 + max(ŷ_i, 0)) − log(1 + max(y_i, 0)))²

    Args:
      predictions: ŷ, any shape, floating; meant for numbers ≥ 0, and less counts as 0, as in Keras.
      targets: y, in the shape of `predictions`; nothing is broadcast.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating.

    Gradient: 2 (log(1 + ŷ) − log(1 + y)) / (1 + ŷ), exactly zero at the minimum; 0 where ŷ ≤ 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> print(losses.squared_logarithmic_error(jnp.array([0.0, 99.0]), jnp.array([0.0, 9.0])).round(3))
      [0.    5.302]

    Source: the Keras documentation of `MeanSquaredLogarithmicError`, which adds 10⁻⁷ where dlcore has 0.
    """
    y_hat, y, dtype = pair("losses.squared_logarithmic_error", "predictions", predictions, "targets", targets)
    # The square of an infinite logarithm would meet its slope, 0.
    endless = (y_hat == np.inf) ^ (y == np.inf)
    logs = (jnp.log1p(relu(jnp.where(endless, 0, part))) for part in (y_hat, y))
    return jnp.where(endless, np.inf, (next(logs) - next(logs)) ** 2).astype(dtype)


def log_cosh(predictions: ArrayLike, targets: ArrayLike) -> Array:
    """The logarithm of the hyperbolic cosine of each element's error: squared near 0, absolute far from it.

        L_i = log cosh(ŷ_i − y_i)

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider, exact for errors
      of any size: d² / 2 for small ones, |d| − log 2 for large ones.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating.

    Gradient: tanh(ŷ − y), exactly zero at the minimum; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> [f"{value:.3g}" for value in losses.log_cosh(jnp.array([1e-3, 1000.0]), jnp.zeros(2))]
      ['5e-07', '999']

    Source: Green 1990, "Bayesian reconstructions from emission tomography data using a modified EM algorithm".
    """
    y_hat, y, dtype = pair("losses.log_cosh", "predictions", predictions, "targets", targets)
    return _log_cosh(y_hat - y).astype(dtype)


def _value_of_log_cosh(error: Array) -> Array:
    size = jnp.abs(error)
    # cosh d = 1 + 2 sinh²(d / 2): near 0 the 1 would swallow the rest.
    near = jnp.log1p(2 * jnp.sinh(jnp.where(size < 1, size, 0) / 2) ** 2)
    return jnp.where(size < 1, near, size + log1p_unit(jnp.exp(-2 * size)) - math.log(2))


_log_cosh = sloped(_value_of_log_cosh, jnp.tanh)


def huber(predictions: ArrayLike, targets: ArrayLike, *, delta: float = 1.0) -> Array:
    """Huber's loss of each element: squared up to an error of δ, absolute beyond, without a jump in the slope.

        L_i = d² / 2 if |d| ≤ δ, else δ (|d| − δ / 2),   d = ŷ_i − y_i

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.
      delta: δ > 0. The same as `smooth_l1` for δ = β = 1, and δ times it for any other.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider.

    Raises:
      ValueError: if the shapes differ, or `delta` is not positive.
      TypeError: if one is not floating.

    Gradient: d, cut at ±δ; exactly zero at the minimum. There is no kink; the second derivative jumps at |d| = δ,
    where it is 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.huber(jnp.array([0.5, 3.0]), jnp.zeros(2))
      Array([0.125, 2.5  ], dtype=float32)

    Source: Huber 1964, "Robust estimation of a location parameter".
    """
    name = "losses.huber"
    y_hat, y, dtype = pair(name, "predictions", predictions, "targets", targets)
    bound = _checks.number(name, "delta", delta, above=0.0)
    return _huber(y_hat - y, bound).astype(dtype)


def smooth_l1(predictions: ArrayLike, targets: ArrayLike, *, beta: float = 1.0) -> Array:
    """The absolute error of each element with its kink rounded off.

        L_i = d² / (2 β) if |d| ≤ β, else |d| − β / 2,   d = ŷ_i − y_i

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.
      beta: β ≥ 0, where the square ends; 0 gives `absolute_error`. `huber` is β times this.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider.

    Raises:
      ValueError: if the shapes differ, or `beta` is negative.
      TypeError: if one is not floating.

    Gradient: d / β, cut at ±1; exactly zero at the minimum. For β = 0, sign(d), and 0 at the kink.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2), beta=2.0)
      Array([0.0625, 2.    ], dtype=float32)

    Source: Girshick 2015, "Fast R-CNN", section 2.3.
    """
    name = "losses.smooth_l1"
    y_hat, y, dtype = pair(name, "predictions", predictions, "targets", targets)
    width = _checks.number(name, "beta", beta, low=0.0)
    if width == 0:
        return absolute(y_hat - y).astype(dtype)
    return (_huber(y_hat - y, width) / width).astype(dtype)


def _huber(error: Array, bound: float) -> Array:
    def cut(error: Array) -> Array:
        inner = jnp.where(jnp.abs(error) <= bound, error, jnp.sign(error) * bound)
        return inner.astype(error.dtype)

    # c (d − c / 2) is both branches: no square of a large number that is then not taken.
    return sloped(lambda error: cut(error) * (error - cut(error) / 2), cut)(error)


def quantile(predictions: ArrayLike, targets: ArrayLike, *, q: float) -> Array:
    """The quantile (pinball) loss of each element: its expectation is least at the q-quantile.

        L_i = q (y_i − ŷ_i) if y_i ≥ ŷ_i, else (1 − q) (ŷ_i − y_i)

    Args:
      predictions: ŷ, any shape, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.
      q: in [0, 1]; ½ is the median, and half of `absolute_error`.

    Returns:
      L in the shape and dtype of `predictions`, one value per element; computed in float32 or wider.

    Raises:
      ValueError: if the shapes differ, or `q` is outside [0, 1].
      TypeError: if one is not floating.

    Gradient: in ŷ, −q where the prediction is too low, 1 − q where it is too high, 0 at the kink ŷ = y.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.quantile(jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0]), q=0.75)
      Array([0.75, 0.25], dtype=float32)

    Source: Koenker & Bassett 1978, "Regression quantiles".
    """
    name = "losses.quantile"
    y_hat, y, dtype = pair(name, "predictions", predictions, "targets", targets)
    share = _checks.fraction(name, "q", q)
    error = y - y_hat
    # A side that costs nothing is left out, so that it costs nothing at ∞ either.
    sides = [weight * relu(side) for weight, side in ((share, error), (1 - share, -error)) if weight]
    return sum(sides[1:], sides[0]).astype(dtype)
