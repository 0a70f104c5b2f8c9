"""Classification losses from logits, one value per example."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._rows import row_sum
from dlcore._shift import below, peak, shift
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike
from dlcore.losses._validate import Labels, classes, per_class, settle, weigh

__all__ = [
    "generalized_cross_entropy", "softmax_cross_entropy", "softmax_cross_entropy_probabilities",
    "softmax_focal_cross_entropy",
]  # fmt: skip


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
    z, kept = classes(name, "logits", logits)
    k = z.shape[-1]
    y = Labels.of(name, labels, z.shape[:-1], "logits", k, ignore_label)
    smoothing = _checks.fraction(name, "label_smoothing", label_smoothing)
    weights = per_class(name, class_weights, k, z.dtype)
    z = y.quiet(z)
    values = y.weighted(_cost(z, y.which), weights)
    if smoothing:
        log_total, top = _log_total(z)
        terms = weigh(log_total - shift(z, top), weights)
        # Either share may be 0 where the loss itself is infinite.
        values = terms.mean(-1) if smoothing == 1 else (1 - smoothing) * values + smoothing * terms.mean(-1)
    return settle(values, y, kept)


def softmax_cross_entropy_probabilities(
    logits: ArrayLike,
    probabilities: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | None = None,
) -> Array:
    """The cross-entropy H(p, q) between a distribution over the classes and the softmax of the logits.

        H = −Σ_k w_k p′_k log q_k,   q = softmax(z),   p′_k = (1 − s) p_k + s / K

    Args:
      logits: z, (*batch, K), floating.
      probabilities: p, in the shape of `logits`, floating: one-hot or soft labels. A row need not sum to one: each of
        its entries counts for as much as it is.
      label_smoothing: s in [0, 1].
      class_weights: w, (K,), floating; ones if `None`. Each multiplies its own class's term.

    Returns:
      H: (*batch,), in the dtype of `logits`; computed in float32 or wider. A class of probability 0 costs nothing, even
      where its logit is −inf.

    Raises:
      ValueError: if the shapes differ, or `label_smoothing` is outside [0, 1].
      TypeError: if one is not floating.

    Gradient: in the logits, q Σ_k w_k p′_k − w p′; in the probabilities, −(1 − s) w log q; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.softmax_cross_entropy_probabilities(jnp.zeros((1, 4)), jnp.array([[0.5, 0.5, 0.0, 0.0]]))
      Array([1.3862944], dtype=float32)

    Source: Shannon 1948, "A mathematical theory of communication"; Bridle 1990, "Training stochastic model recognition
    algorithms as networks can lead to maximum mutual information estimation".
    """
    name = "losses.softmax_cross_entropy_probabilities"
    z, kept = classes(name, "logits", logits)
    p = _checks.floating(name, "probabilities", probabilities)
    _checks.same_shape(name, "logits", z, "probabilities", p)
    smoothing = _checks.fraction(name, "label_smoothing", label_smoothing)
    weights = per_class(name, class_weights, z.shape[-1], z.dtype)
    p = p.astype(z.dtype)
    if smoothing:
        p = (1 - smoothing) * p + smoothing / z.shape[-1]
    if weights is not None:
        p = p * broadcast_to_rank(weights, z.ndim)
    log_total, top = _log_total(z)
    costs = log_total - shift(z, top)
    nothing = (p == 0) & jnp.isinf(costs)
    return (p * jnp.where(nothing, 0, costs)).sum(-1).astype(kept)


def softmax_focal_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | ArrayLike | None = None,
    ignore_label: int | None = None,
) -> Array:
    """Softmax cross-entropy in which what is right already counts less.

        L = −α_y (1 − p_y)^γ log p_y,   p = softmax(z)

    Args:
      logits: z, (*batch, K), floating.
      labels: y, (*batch,) integers in [0, K).
      gamma: γ ≥ 0; 0 is `softmax_cross_entropy`.
      alpha: α, a number for all classes or one for each, (K,); 1 if `None`. Keras' default is 0.25.
      ignore_label: as for `softmax_cross_entropy`.

    Returns:
      L: (*batch,), in the dtype of `logits`; computed in float32 or wider, 1 − p from the logarithm of p. A label
      outside [0, K) that is not `ignore_label` gives NaN.

    Raises:
      ValueError: if shapes differ, or an option is out of range.
      TypeError: if `logits` are not floating, or `labels` not integers.

    Gradient: that of the formula, smooth; 0 where p_y is 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.softmax_focal_cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]))
      Array([0.1732868], dtype=float32)

    Source: Lin, Goyal, Girshick, He & Dollár 2017, "Focal loss for dense object detection", section 3.
    """
    name = "losses.softmax_focal_cross_entropy"
    power = _checks.number(name, "gamma", gamma, low=0.0)
    costs, y, kept = _costs(name, logits, labels, ignore_label)
    weights = _alpha(name, alpha, jnp.shape(logits)[-1], costs.dtype)
    # c (1 − exp(−c))^γ, for c = −log p.
    wrong = -jnp.expm1(-costs)
    plain = (costs == np.inf) | (power == 0)
    inner = jnp.where(plain | (wrong <= 0), 1, costs)
    focused = inner * (-jnp.expm1(-inner)) ** power
    values = jnp.where(plain, costs, jnp.where(wrong <= 0, 0, focused))
    return settle(y.weighted(values, weights), y, kept)


def generalized_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    q: float = 0.7,
    class_weights: ArrayLike | None = None,
    ignore_label: int | None = None,
) -> Array:
    """Between cross-entropy (q → 0) and one minus the probability of the label (q = 1), which wrong labels harm less.

        L = w_y (1 − p_y^q) / q,   p = softmax(z)

    Args:
      logits: z, (*batch, K), floating.
      labels: y, (*batch,) integers in [0, K).
      q: in [0, 1]; 0 is the limit, `softmax_cross_entropy`.
      class_weights: w, (K,), floating; ones if `None`.
      ignore_label: as for `softmax_cross_entropy`.

    Returns:
      L: (*batch,), in the dtype of `logits`, at most w / q; computed in float32 or wider, from the logarithm of p. A
      label outside [0, K) that is not `ignore_label` gives NaN.

    Raises:
      ValueError: if shapes differ, or `q` is outside [0, 1].
      TypeError: if `logits` are not floating, or `labels` not integers.

    Gradient: that of the cross-entropy times p_y^q; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.generalized_cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]), q=1.0)
      Array([0.5], dtype=float32)

    Source: Zhang & Sabuncu 2018, "Generalized cross entropy loss for training deep neural networks with noisy labels".
    """
    name = "losses.generalized_cross_entropy"
    power = _checks.fraction(name, "q", q)
    costs, y, kept = _costs(name, logits, labels, ignore_label)
    weights = per_class(name, class_weights, jnp.shape(logits)[-1], costs.dtype)
    values = -jnp.expm1(-power * costs) / power if power else costs
    return settle(y.weighted(values, weights), y, kept)


def _costs(name: str, logits: ArrayLike, labels: ArrayLike, ignore_label: int | None) -> tuple[Array, Labels, np.dtype]:
    """−log p of each example's class, the labels, and the dtype to return."""
    z, kept = classes(name, "logits", logits)
    y = Labels.of(name, labels, z.shape[:-1], "logits", z.shape[-1], ignore_label)
    z = y.quiet(z)
    return _cost(z, y.which), y, kept


def _alpha(name: str, alpha: float | ArrayLike | None, count: int, dtype: np.dtype) -> Array | None:
    if alpha is None or (isinstance(alpha, jax.Array | np.ndarray) and alpha.shape != ()):
        return per_class(name, alpha, count, dtype, argument="alpha")
    return jnp.full(count, _checks.scalar(name, "alpha", alpha, low=0.0), dtype)


# custom_jvp: differentiation would scatter the label's share into zeros and add them; as a comparison with the label it
# is one pass with the rest. It saves the logits and two numbers for each example, in the dtype of z.
@jax.custom_jvp
def _cost(z: Array, which: Array) -> Array:
    """log Σ exp(z) − z_y of (*batch, K) and (*batch,), from the largest of each row."""
    return _cost_and_parts(z, which)[0]


def _cost_and_parts(z: Array, which: Array) -> tuple[Array, Array, Array, Array]:
    """The cost, exp(z − top), its sum, and top."""
    top = peak(z, -1)
    e = jnp.exp(below(z, top))
    total = row_sum(e)
    # Never outside: other labels have been put to 0.
    own = jnp.take_along_axis(z, which[..., None], axis=-1, mode="clip")
    return (_log(total) - shift(own, top))[..., 0], e, total, top


@_cost.defjvp
def _cost_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Any]:
    z, which = primals
    cost, e, total, top = _cost_and_parts(z, which)
    chosen = jax.lax.broadcasted_iota(which.dtype, z.shape, z.ndim - 1) == which[..., None]
    slope = e * (1 / jnp.where(total == 0, 1, total)) - chosen.astype(z.dtype)
    # A row with +inf is at its own limit, and does not move; one of −inf alone does.
    return cost, (slope * (top < np.inf).astype(z.dtype) * tangents[0]).sum(-1)


def _log(total: Array) -> Array:
    return jnp.log(jnp.where(total == 0, 1, total))


def _log_total(z: Array) -> tuple[Array, Array]:
    """log Σ exp(z − top) and top, the largest of each row; both (*batch, 1)."""
    top = peak(z, -1)
    total = row_sum(jnp.exp(below(z, top)))
    return _log(total), top
