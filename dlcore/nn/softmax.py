"""Softmax and its logarithm, safe at every value that has a limit."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._shift import peak, shift
from dlcore._typing import Array, ArrayLike
from dlcore.kernels.softmax import log_softmax_rows, softmax_rows

__all__ = ["log_softmax", "softmax"]


def softmax(x: ArrayLike, *, axis: int = -1, temperature: float | Array = 1.0, where: ArrayLike | None = None) -> Array:
    """Turns scores into probabilities.

        y_k = exp(x_k / τ) / Σ_j exp(x_j / τ)

    Args:
      x: any shape with at least one axis, floating.
      axis: along which the probabilities sum to one.
      temperature: τ > 0, a number or a traced scalar: large makes them even, small picks the largest.
      where: booleans, of the rank of `x` with axes of equal size or of size 1: False leaves an entry out (y = 0).

    Returns:
      y in the shape and dtype of `x`; computed in float32 or wider. A slice with nothing left by `where`, or with
      nothing but −inf, gives zeros.

    Raises:
      ValueError: if `axis` is none of `x`, `temperature` is not positive, or `where` does not fit.
      TypeError: if `x` is not floating, or `where` not boolean.

    Gradient: smooth; zero, never NaN, in entries and slices that `where` leaves out.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.softmax(jnp.array([0.0, 0.0, -jnp.inf])))
      [0.5 0.5 0. ]

    Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """
    scores, index, tau, chosen, dtype = _opened("nn.softmax", x, axis, temperature, where)
    if index in (-1, scores.ndim - 1) and chosen is None and _is_one(tau):
        return softmax_rows(scores).astype(dtype)
    e = jnp.exp(_shifted(scores, index, tau))
    total = e.sum(axis, keepdims=True)
    return (e / jnp.where(total == 0, 1, total)).astype(dtype)


def log_softmax(
    x: ArrayLike, *, axis: int = -1, temperature: float | Array = 1.0, where: ArrayLike | None = None
) -> Array:
    """The logarithm of softmax, without taking the logarithm of small numbers.

        y_k = x_k / τ − log Σ_j exp(x_j / τ)

    Args:
      x: any shape with at least one axis, floating.
      axis: along which the probabilities sum to one.
      temperature: τ > 0.
      where: as in `softmax`.

    Returns:
      y in the shape and dtype of `x`; computed in float32 or wider. Entries that `where` leaves out are −inf, the
      logarithm of their probability; a slice with nothing left is zeros, so that it adds nothing to a loss.

    Raises:
      ValueError: if `axis` is none of `x`, `temperature` is not positive, or `where` does not fit.
      TypeError: if `x` is not floating, or `where` not boolean.

    Gradient: smooth; zero, never NaN, in entries and slices that `where` leaves out.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.log_softmax(jnp.array([1000.0, 0.0]))
      Array([    0., -1000.], dtype=float32)

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 6.2.2.3.
    """
    scores, index, tau, chosen, dtype = _opened("nn.log_softmax", x, axis, temperature, where)
    if index in (-1, scores.ndim - 1) and chosen is None and _is_one(tau):
        return log_softmax_rows(scores).astype(dtype)
    shifted = _shifted(scores, index, tau)
    total = jnp.exp(shifted).sum(axis, keepdims=True)
    empty = total == 0
    y = shifted - jnp.log(jnp.where(empty, 1, total))
    if chosen is None:
        return y.astype(dtype)
    return jnp.where(empty, 0, jnp.where(chosen, y, -np.inf)).astype(dtype)


def _opened(
    name: str, x: ArrayLike, axis: int, temperature: float | Array, where: ArrayLike | None
) -> tuple[Array, int, float | Array, Array | None, np.dtype]:
    """The scores, −inf where they are left out; the axis, the temperature, what is left in, the dtype to return."""
    values = _checks.floating(name, "x", x)
    index = _checks.integer(name, "axis", axis, low=-values.ndim)
    if index >= values.ndim:
        raise _checks.value_error(
            name, "axis", axis, f"an axis of x, which has {values.ndim}", "-1 is the last axis, the classes."
        )
    tau = _checks.scalar(name, "temperature", temperature, above=0.0)
    scores = values.astype(compute_dtype(values.dtype))
    if where is None:
        return scores, index, tau, None, values.dtype
    chosen = _checks.mask(name, "where", where, values)
    return jnp.where(chosen, scores, -np.inf), index, tau, chosen, values.dtype


def _shifted(scores: Array, axis: int, tau: float | Array) -> Array:
    """What is exponentiated."""
    shifted = shift(scores, peak(scores, axis))
    if _is_one(tau):
        return shifted
    # Divided after the shift, so that a tiny τ overflows only towards −inf; and what is −inf already keeps out of
    # the quotient, whose derivative in τ would be NaN.
    gone = shifted == -np.inf
    return jnp.where(gone, -np.inf, jnp.where(gone, 0, shifted) / jnp.asarray(tau, shifted.dtype))


def _is_one(tau: float | Array) -> bool:
    return isinstance(tau, float) and tau == 1.0
