"""The chain rule through softmax, its logarithm, and the cross-entropy that makes δ = p − 1ₖ of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike
from dlcore.backprop._boundary import cotangent, saved, widen

__all__ = [
    "CrossEntropyResiduals", "SoftmaxResiduals", "log_softmax_bwd", "log_softmax_fwd", "probabilities", "softmax_bwd",
    "softmax_cross_entropy_bwd", "softmax_cross_entropy_fwd", "softmax_fwd", "softmax_pullback",
]  # fmt: skip


@partial(jax.tree_util.register_dataclass, data_fields=["y"], meta_fields=["unit", "axis", "dtype"])
@dataclass(frozen=True)
class SoftmaxResiduals:
    """What `softmax_fwd` and `log_softmax_fwd` save: y in the dtype to compute in, so that it still sums to one."""

    y: Array
    unit: str
    axis: int
    dtype: Any


def probabilities(x: Array, axis: int) -> tuple[Array, Array]:
    """Softmax and its logarithm along `axis`; their limits at ±∞, zeros where a slice is −∞ alone."""
    top = jnp.max(x, axis=axis, keepdims=True, initial=-np.inf)
    finite = jnp.where(jnp.isinf(top), 0, top)
    # A slice that holds +∞ becomes its limit: 0 there, −∞ elsewhere.
    shifted = jnp.where(top == np.inf, jnp.where(x == np.inf, 0, -np.inf).astype(x.dtype), x - finite)
    e = jnp.exp(shifted)
    total = e.sum(axis, keepdims=True)
    total = jnp.where(total == 0, 1, total)
    return e / total, shifted - jnp.log(total)


def softmax_pullback(y: Array, dy: Array, axis: int) -> Array:
    """dx = y · (dy − Σ dy · y), which attention needs as well."""
    return y * (dy - (dy * y).sum(axis, keepdims=True))


def softmax_fwd(x: ArrayLike, *, axis: int = -1) -> tuple[Array, SoftmaxResiduals]:
    """Turns scores into probabilities.

        y_k = exp(x_k) / Σ_j exp(x_j)

    Args:
      x: any shape with at least one axis, floating.
      axis: along which the probabilities sum to one.

    Returns: y in the shape and dtype of `x`, and the residuals: y, in float32 or wider.

    Raises: ValueError if `axis` is none of `x`; TypeError if `x` is not floating.

    Gradient: smooth; zero in a slice of nothing but −∞.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.softmax_fwd(jnp.array([0.0, 0.0]))
      >>> backprop.softmax_bwd(residuals, jnp.array([1.0, 0.0]))[0]
      Array([ 0.25, -0.25], dtype=float32)

    Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """
    values, index = _opened("backprop.softmax_fwd", x, axis)
    y, _ = probabilities(widen(values), index)
    return y.astype(values.dtype), SoftmaxResiduals(y, "softmax", index, values.dtype)


def softmax_bwd(residuals: SoftmaxResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `softmax_fwd`: ∂y_k/∂x_j = y_k ([k = j] − y_j), summed over k.

        dx = y · (dy − Σ_k dy_k y_k)

    Args:
      residuals: those that `softmax_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x; it sums to 0 along the axis.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `softmax_fwd`.

    Source: Bridle 1990; see `softmax_fwd`.
    """
    name = "backprop.softmax_bwd"
    kept = saved(name, residuals, SoftmaxResiduals, "softmax")
    pulled = cotangent(name, dy, kept.y.shape, kept.dtype)
    return (softmax_pullback(kept.y, pulled, kept.axis).astype(kept.dtype),)


def log_softmax_fwd(x: ArrayLike, *, axis: int = -1) -> tuple[Array, SoftmaxResiduals]:
    """The logarithm of softmax, without taking the logarithm of small numbers.

        y_k = x_k − log Σ_j exp(x_j)

    Args:
      x: any shape with at least one axis, floating.
      axis: along which the probabilities sum to one.

    Returns: y in the shape and dtype of `x`, and the residuals: y, in float32 or wider.

    Raises: ValueError if `axis` is none of `x`; TypeError if `x` is not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.log_softmax_fwd(jnp.array([0.0, 0.0]))
      >>> backprop.log_softmax_bwd(residuals, jnp.array([1.0, 0.0]))[0]
      Array([ 0.5, -0.5], dtype=float32)

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 6.2.2.3.
    """
    values, index = _opened("backprop.log_softmax_fwd", x, axis)
    _, y = probabilities(widen(values), index)
    return y.astype(values.dtype), SoftmaxResiduals(y, "log_softmax", index, values.dtype)


def log_softmax_bwd(residuals: SoftmaxResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `log_softmax_fwd`: ∂y_k/∂x_j = [k = j] − exp(y_j), summed over k.

        dx = dy − exp(y) · Σ_k dy_k

    Args:
      residuals: those that `log_softmax_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `log_softmax_fwd`.

    Source: Goodfellow, Bengio & Courville 2016; see `log_softmax_fwd`.
    """
    name = "backprop.log_softmax_bwd"
    kept = saved(name, residuals, SoftmaxResiduals, "log_softmax")
    pulled = cotangent(name, dy, kept.y.shape, kept.dtype)
    return ((pulled - jnp.exp(kept.y) * pulled.sum(kept.axis, keepdims=True)).astype(kept.dtype),)


@partial(jax.tree_util.register_dataclass, data_fields=["p", "labels"], meta_fields=["dtype"])
@dataclass(frozen=True)
class CrossEntropyResiduals:
    """What `softmax_cross_entropy_fwd` saves: the probabilities, in float32 or wider, and the labels."""

    p: Array
    labels: Array
    dtype: Any


def softmax_cross_entropy_fwd(logits: ArrayLike, labels: ArrayLike) -> tuple[Array, CrossEntropyResiduals]:
    """The cross-entropy between integer labels and the softmax of the logits.

        L = −log p_label,   p = softmax(z)

    Args:
      logits: z, (*batch, K), floating.
      labels: (*batch,) integers in [0, K).

    Returns: L: (*batch,), in the dtype of `logits`, and the residuals: p and the labels. A label outside [0, K) gives
    NaN, in the gradient too.

    Raises: ValueError if shapes differ; TypeError if `logits` are not floating, or `labels` not integers.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> losses, residuals = backprop.softmax_cross_entropy_fwd(jnp.array([[0.0, 0.0]]), jnp.array([1]))
      >>> backprop.softmax_cross_entropy_bwd(residuals, jnp.ones(1))
      (Array([[ 0.5, -0.5]], dtype=float32), None)

    Source: Bridle 1990, "Training stochastic model recognition algorithms as networks can lead to maximum mutual
    information estimation".
    """
    name = "backprop.softmax_cross_entropy_fwd"
    z = _checks.floating(name, "logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise _checks.value_error(
            name, "logits", _checks.describe(z), "at least one class on the last axis", "Shape: (batch, classes)."
        )
    y = _checks.labels(name, "labels", labels, z.shape[:-1], "logits")
    p, log_p = probabilities(widen(z), -1)
    inside = (y >= 0) & (y < z.shape[-1])
    picked = jnp.take_along_axis(log_p, jnp.where(inside, y, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(inside, -picked, jnp.nan).astype(z.dtype), CrossEntropyResiduals(p, y, z.dtype)


def softmax_cross_entropy_bwd(residuals: CrossEntropyResiduals, dy: ArrayLike) -> tuple[Array, None]:
    """The gradient of `softmax_cross_entropy_fwd`: the output's error is what it believes less what is true.

        δ_k = dy · (p_k − [k = label])

    Args:
      residuals: those that `softmax_cross_entropy_fwd` returned.
      dy: ∂L/∂y for each example, in the shape and dtype of y.

    Returns: `(dz, None)`: δ in the shape and dtype of the logits; labels have no gradient.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `softmax_cross_entropy_fwd`.

    Source: Bridle 1990; see `softmax_cross_entropy_fwd`.
    """
    name = "backprop.softmax_cross_entropy_bwd"
    kept = saved(name, residuals, CrossEntropyResiduals)
    pulled = cotangent(name, dy, kept.labels.shape, kept.dtype)
    k = kept.p.shape[-1]
    classes = broadcast_to_rank(jnp.arange(k, dtype=kept.labels.dtype), kept.p.ndim)
    truth = (kept.labels[..., None] == classes).astype(kept.p.dtype)
    inside = (kept.labels >= 0) & (kept.labels < k)
    delta = pulled[..., None] * jnp.where(inside[..., None], kept.p - truth, jnp.nan)
    return delta.astype(kept.dtype), None


def _opened(name: str, x: ArrayLike, axis: int) -> tuple[Array, int]:
    values = _checks.floating(name, "x", x)
    index = _checks.integer(name, "axis", axis, low=-values.ndim)
    if index >= values.ndim:
        raise _checks.value_error(name, "axis", axis, f"an axis of x, which has {values.ndim}", "-1 is the last one.")
    # Counted from the end, it stays the same axis under vmap.
    return values, index - values.ndim if index >= 0 else index
