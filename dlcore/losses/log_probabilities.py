"""Losses from logarithms of probabilities, one value per example."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore.losses._validate import Labels, classes, per_class, settle

__all__ = ["kl_divergence", "nll", "perplexity"]


def nll(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    ignore_label: int | None = None,
) -> Array:
    """The negative log-likelihood of integer labels.

        L = −w_y log p_y

    Args:
      log_probabilities: log p, (*batch, K), floating, as `nn.log_softmax` gives them; `softmax_cross_entropy` takes
        logits.
      labels: y, (*batch,) integers in [0, K).
      class_weights: w, (K,), floating; ones if `None`.
      ignore_label: examples with this label have loss 0 and gradient 0.

    Returns:
      L: (*batch,), in the dtype of `log_probabilities`; computed in float32 or wider. A label outside [0, K) that is
      not `ignore_label` gives NaN, in the gradient too.

      PyTorch and ONNX divide a mean by the weights of the labels:
      `losses.mean(losses.nll(logs, labels), weights=class_weights[labels])`.

    Raises:
      ValueError: if shapes differ; nothing is broadcast.
      TypeError: if `log_probabilities` are not floating, or `labels` not integers.

    Gradient: −w_y for log p_y, 0 for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.nll(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([0]))
      Array([1.3862944], dtype=float32)

    Source: Fisher 1922, "On the mathematical foundations of theoretical statistics", section 6.
    """
    name = "losses.nll"
    logs, kept = classes(name, "log_probabilities", log_probabilities)
    y = Labels.of(name, labels, logs.shape[:-1], "log_probabilities", logs.shape[-1], ignore_label)
    weights = per_class(name, class_weights, logs.shape[-1], logs.dtype)
    return settle(y.weighted(-y.pick(y.quiet(logs)), weights), y, kept)


def kl_divergence(log_predictions: ArrayLike, targets: ArrayLike, *, log_target: bool = False) -> Array:
    """The Kullback–Leibler divergence of predictions from targets: what coding by the wrong distribution costs more.

        D(p ‖ q) = Σ_k p_k (log p_k − log q_k)

    Args:
      log_predictions: log q, (*batch, K), floating.
      targets: p, in the shape of `log_predictions`, floating; nothing is broadcast.
      log_target: whether the targets are log p.

    Returns:
      D: (*batch,), in the dtype of `log_predictions`; computed in float32 or wider. A class of target 0 costs nothing,
      whatever is predicted. PyTorch's `kl_div` leaves the terms unsummed, and its `reduction="mean"` divides by K too.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating, or `log_target` not boolean.

    Gradient: −p in log q; log p − log q + 1 in p, where p > 0, and −log q without the part that is −∞ where p = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.kl_divergence(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[1.0, 0.0]]))
      Array([0.6931472], dtype=float32)

    Source: Kullback & Leibler 1951, "On information and sufficiency".
    """
    name = "losses.kl_divergence"
    logs, kept = classes(name, "log_predictions", log_predictions)
    given = _checks.floating(name, "targets", targets)
    _checks.same_shape(name, "log_predictions", logs, "targets", given)
    if not isinstance(log_target, bool):
        raise _checks.type_error(
            name, "log_target", _checks.describe(log_target), "True or False", "It must be static."
        )
    given = given.astype(logs.dtype)
    if log_target:
        nothing = given == -np.inf
        surprise = jnp.where(nothing, 0, given) - jnp.where(nothing, 0, logs)
        return (jnp.exp(given) * surprise).sum(-1).astype(kept)
    own = jnp.where(given == 0, 1, given)
    nothing = (given == 0) & jnp.isinf(logs)
    return (given * jnp.log(own) - given * jnp.where(nothing, 0, logs)).sum(-1).astype(kept)


def perplexity(mean_nll: ArrayLike) -> Array:
    """The perplexity: among how many equally likely classes the model is as uncertain.

        PP = exp(L)

    Args:
      mean_nll: L, any shape, floating: the mean over tokens, in nats, not the mean over sequences of means.

    Returns:
      PP in the shape and dtype of `mean_nll`; computed in float32 or wider.

    Raises:
      TypeError: if `mean_nll` is not floating.

    Gradient: PP; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.perplexity(jnp.log(jnp.array(256.0))).round()
      Array(256., dtype=float32)

    Source: Jelinek, Mercer, Bahl & Baker 1977, "Perplexity: a measure of the difficulty of speech recognition tasks".
    """
    value = _checks.floating("losses.perplexity", "mean_nll", mean_nll)
    return jnp.exp(value.astype(compute_dtype(value.dtype))).astype(value.dtype)
