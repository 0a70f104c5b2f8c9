"""Classification losses, one value per example."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike
from dlcore.nn.softmax import peak, shift

__all__ = ["softmax_cross_entropy"]


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_label: int | None = None,
) -> Array:
    """The cross-entropy between integer labels and the softmax of the logits.

        L = −Σ_k w_k q_k log p_k,   p = softmax(z),   q_k = (1 − s) [k = label] + s / K

    Args:
      logits: z, (*batch, K), floating.
      labels: (*batch,) integers in [0, K).
      label_smoothing: s in [0, 1].
      class_weights: w, (K,), floating; ones if `None`. With smoothing, each weight multiplies its own class's term.
      ignore_label: examples with this label have loss 0 and gradient 0, whatever their logits. To leave them out of
        a mean as well: `losses.mean(values, where=labels != ignore_label)`.

    Returns:
      L: (*batch,), in the dtype of `logits`; computed in float32 or wider, and right wherever the limit exists: a
      single logit of +inf is certainty. A label outside [0, K) that is not `ignore_label` gives NaN, in the gradient
      too; it never counts as another class.

    Raises:
      ValueError: if shapes differ (nothing is broadcast), or `label_smoothing` is outside [0, 1].
      TypeError: if `logits` are not floating, or `labels` not integers.

    Gradient: in the logits, p Σ_k w_k q_k − w q; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> [f"{v:.4f}" for v in losses.softmax_cross_entropy(jnp.array([[0.0, 0.0], [9.0, 0.0]]), jnp.array([1, 0]))]
      ['0.6931', '0.0001']

    Source: Bridle 1990, "Training stochastic model recognition algorithms as networks can lead to maximum mutual
    information estimation"; smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture", section 7.
    """
    name = "losses.softmax_cross_entropy"
    z = _checks.floating(name, "logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise _checks.value_error(
            name,
            "logits",
            _checks.describe(z),
            "at least one class on the last axis",
            "Shape: (batch, classes).",
        )
    k = z.shape[-1]
    y = _checks.labels(name, "labels", labels, z.shape[:-1], "logits")
    smoothing = _checks.fraction(name, "label_smoothing", label_smoothing)
    dtype = z.dtype
    z = z.astype(compute_dtype(dtype))

    inside = (y >= 0) & (y < k)
    valid = inside
    if ignore_label is not None:
        chosen = _checks.integer(name, "ignore_label", ignore_label, low=-(2**63))
        bounds = np.iinfo(y.dtype)
        # A number that the labels' dtype cannot hold is no label; cast to it, it would be another one.
        ignored = y == chosen if bounds.min <= chosen <= bounds.max else jnp.zeros(y.shape, bool)
        # The row's own values must not reach the gradient: 0 · NaN is NaN.
        z = jnp.where(ignored[..., None], 0, z)
        valid |= ignored
    index = jnp.where(inside, y, 0)

    top = peak(z, -1)
    total = jnp.exp(shift(z, top)).sum(-1, keepdims=True)
    log_total = jnp.log(jnp.where(total == 0, 1, total))
    picked = jnp.take_along_axis(z, index[..., None], axis=-1)
    values = (log_total - shift(picked, top))[..., 0]
    weights = None
    if class_weights is not None:
        weights = _checks.floating(name, "class_weights", class_weights)
        if weights.shape != (k,):
            raise _checks.value_error(
                name,
                "class_weights",
                f"shape {weights.shape}",
                f"({k},), one for each class",
                "Reshape them.",
            )
        weights = weights.astype(z.dtype)
        own = jnp.where(valid, weights[index], jnp.nan)
        values = jnp.where(own == 0, 0, own * jnp.where(own == 0, 0, values))
    if smoothing:
        terms = log_total - shift(z, top)
        if weights is not None:
            w = broadcast_to_rank(weights, z.ndim)
            terms = jnp.where(w == 0, 0, w * jnp.where(w == 0, 0, terms))
        # Either share may be 0 where the loss itself is infinite.
        values = terms.mean(-1) if smoothing == 1 else (1 - smoothing) * values + smoothing * terms.mean(-1)
    if ignore_label is not None:
        values = jnp.where(ignored, 0, values)
    # A product, so that a wrong label poisons the gradient as well and nobody trains past it.
    return (values * jnp.where(valid, 1, jnp.nan).astype(z.dtype)).astype(dtype)
