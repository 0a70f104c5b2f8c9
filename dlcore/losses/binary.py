"""Cross-entropy of two classes, one value per element."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike
from dlcore.losses._bernoulli import mixture, truth
from dlcore.losses._validate import many, poison
from dlcore.nn.activations.sigmoidal import sigmoid

__all__ = ["binary_cross_entropy", "binary_cross_entropy_probabilities", "binary_focal_cross_entropy"]


def binary_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    positive_weight: float | ArrayLike = 1.0,
) -> Array:
    """The cross-entropy between the probability of a yes and a label, or several for each example.

        L_i = −w y′ log σ(z_i) − (1 − y′) log σ(−z_i),   y′ = (1 − s) y_i + s / 2

    Args:
      logits: z, any shape, floating: not probabilities; those go to `binary_cross_entropy_probabilities`.
      labels: y, in the shape of `logits`: floating, in [0, 1], or integers 0 and 1, or booleans; nothing is broadcast.
      label_smoothing: s in [0, 1].
      positive_weight: w ≥ 0, of the first term: one number, or one for each entry of the last axis. The number of
        negatives over that of positives balances them.

    Returns:
      L in the shape and dtype of `logits`, one value per element; computed in float32 or wider, from the logits, so
      that neither log 0 nor a rounded 1 − p comes up. A logit of ±inf is certainty. An integer label other than 0 and
      1 gives NaN, in the gradient too.

    Raises:
      ValueError: if the shapes differ, or an option is out of range.
      TypeError: if `logits` are not floating, or `labels` no numbers.

    Gradient: (1 − y′) σ(z) − w y′ σ(−z); smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.binary_cross_entropy(jnp.array([0.0, 100.0]), jnp.array([1, 1]))
      Array([0.6931472, 0.       ], dtype=float32)

    Source: Baum & Wilczek 1987, "Supervised learning of probability distributions by neural networks".
    """
    name = "losses.binary_cross_entropy"
    (z,), dtype = many(name, logits=logits)
    y = _smoothed(name, truth(name, "logits", z, labels), label_smoothing)
    weight = _positive_weight(name, positive_weight, z)
    return mixture(y, z, weight).astype(dtype)


def binary_focal_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """Binary cross-entropy in which what is right already counts less.

        L_i = a_i (1 − p_t)^γ · binary_cross_entropy(z_i, y_i),   p_t = y p + (1 − y) (1 − p),   p = σ(z_i)

    with a_i = 1, or, given α, y α + (1 − y) (1 − α).

    Args:
      logits: z, any shape, floating.
      labels: y, in the shape of `logits`, as for `binary_cross_entropy`.
      gamma: γ ≥ 0; 0 is `binary_cross_entropy`.
      alpha: in [0, 1], the weight of the positives; None for none, which is Keras' `apply_class_balancing=False`.
      label_smoothing: s in [0, 1], as in `binary_cross_entropy`.

    Returns:
      L in the shape and dtype of `logits`, one value per element; computed in float32 or wider. 1 − p_t is summed of
      what is small, and never a rounded difference from 1.

    Raises:
      ValueError: if the shapes differ, or an option is out of range.
      TypeError: if `logits` are not floating, or `labels` no numbers.

    Gradient: that of the formula, smooth; 0 where p_t is 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.binary_focal_cross_entropy(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0]), alpha=0.25)
      Array([0.0433217, 0.1299651], dtype=float32)

    Source: Lin, Goyal, Girshick, He & Dollár 2017, "Focal loss for dense object detection", section 3.
    """
    name = "losses.binary_focal_cross_entropy"
    (z,), dtype = many(name, logits=logits)
    y = _smoothed(name, truth(name, "logits", z, labels), label_smoothing)
    power = _checks.number(name, "gamma", gamma, low=0.0)
    share = None if alpha is None else _checks.fraction(name, "alpha", alpha)

    def factor(z: Array) -> Array:
        """(1 − p_t)^γ; at 0 its slope is 0, since it falls like a power of exp(−|z|)."""
        wrong = y * sigmoid(-z) + (1 - y) * sigmoid(z)
        return jnp.where(wrong <= 0, 0, jnp.where(wrong <= 0, 1, wrong) ** power)

    if power == 0:
        values = mixture(y, z)
    else:
        # At ±inf the factor is a constant; its slope, 0, would meet an infinite loss.
        infinite = jnp.isinf(z)
        inner = jnp.where(infinite, 0, z)
        limit = jax.lax.stop_gradient(factor(z))
        beyond = jnp.where(limit == 0, 0, limit * jnp.where(infinite & (limit != 0), mixture(y, z), 0))
        values = jnp.where(infinite, beyond, factor(inner) * mixture(y, inner))
    if share is not None:
        values = values * (y * share + (1 - y) * (1 - share))
    return values.astype(dtype)


def binary_cross_entropy_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> Array:
    """The cross-entropy between probabilities of a yes and labels. From logits, `binary_cross_entropy` says more.

        L_i = −y_i max(log p_i, −100) − (1 − y_i) max(log(1 − p_i), −100)

    Args:
      probabilities: p in [0, 1], any shape, floating.
      labels: y, in the shape of `probabilities`, as for `binary_cross_entropy`.

    Returns:
      L in the shape and dtype of `probabilities`, one value per element; computed in float32 or wider. A probability
      outside [0, 1], or an integer label other than 0 and 1, gives NaN, in the gradient too.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `probabilities` are not floating, or `labels` no numbers.

    Gradient: (1 − y) / (1 − p) − y / p, each term 0 where its logarithm is cut; exactly 0 at the minimum p = y, also at
    both ends.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.binary_cross_entropy_probabilities(jnp.array([0.5, 0.0]), jnp.array([1.0, 1.0]))
      Array([  0.6931472, 100.       ], dtype=float32)

    Source: Baum & Wilczek 1987; the bound is that of PyTorch's `binary_cross_entropy`.
    """
    name = "losses.binary_cross_entropy_probabilities"
    (p,), dtype = many(name, probabilities=probabilities)
    y = truth(name, "probabilities", p, labels)
    # A minimum at an end is the interval's own, with another slope on its one side.
    still = jnp.where((p == y) & ((p == 0) | (p == 1)), jax.lax.stop_gradient(p), p)
    values = -y * _cut_log(still, 0) - (1 - y) * _cut_log(-still, 1)
    return poison(values, ~((p < 0) | (p > 1))).astype(dtype)


def _cut_log(x: Array, offset: int) -> Array:
    """max(log(offset + x), −100), of a positive number; the slope is 0 where it is cut."""
    whole = offset + x
    cut = whole <= math.exp(-100)
    inner = jnp.where(cut, 1 - offset, x)
    return jnp.where(cut, -100, jnp.log1p(inner) if offset else jnp.log(inner))


def _smoothed(name: str, y: Array, label_smoothing: float) -> Array:
    share = _checks.fraction(name, "label_smoothing", label_smoothing)
    return (1 - share) * y + share / 2 if share else y


def _positive_weight(name: str, value: float | ArrayLike, z: Array) -> Any:
    if not isinstance(value, jax.Array | np.ndarray) or value.shape == ():
        weight = _checks.scalar(name, "positive_weight", value, low=0.0)
        return None if isinstance(weight, float) and weight == 1 else jnp.asarray(weight, z.dtype)
    weights = _checks.floating(name, "positive_weight", value)
    if z.ndim == 0 or weights.shape != z.shape[-1:]:
        raise _checks.value_error(
            name, "positive_weight", f"shape {weights.shape}",
            f"one number, or {z.shape[-1:]}, one for each entry of the last axis of `logits`", "Reshape it.",
        )  # fmt: skip
    return broadcast_to_rank(weights.astype(z.dtype), z.ndim)
