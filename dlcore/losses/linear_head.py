"""The linear layer before a softmax and its cross-entropy, in one."""

from __future__ import annotations

import math

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, Params
from dlcore.kernels.linear_softmax import Head, linear_softmax
from dlcore.losses._validate import Labels, per_class, settle
from dlcore.nn._affine import classifier

__all__ = ["linear_softmax_cross_entropy"]

# By default so many logits are one chunk, which the backward pass need not compute again: 4 MiB.
FEW = 2**20
# Of more, so many are held at once: more do not stay in a cache, fewer make narrow products.
LOGITS = 3 * 2**18
NARROWEST, WIDEST = 256, 1024


def linear_softmax_cross_entropy(
    params: Params,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_label: int | None = None,
    chunk: int | None = None,
) -> Array:
    """`softmax_cross_entropy` of `nn.dense`, a few classes at a time: for so many that the logits fill the memory.

        L = −Σ_k w_k q_k log p_k,   p = softmax(x W + b),   q_k = (1 − s) [k = label] + s / K

    Neither the logits (examples, classes) nor their gradient are ever held: forward and backward go through the columns
    of W, `chunk` at a time, and the backward pass computes a chunk's logits again. (Up to a million logits, 4 MiB, are
    one chunk by default, and kept.)

    Args:
      params: `{"kernel": W (D, K)}`, perhaps with `"bias": b (K,)`, as `nn.dense`'s, in the dtype of `features`. A
        class that is there only to fill up a round number is left out by a bias of −inf.
      features: x, (*batch, D), floating.
      labels: (*batch,) integers in [0, K).
      label_smoothing, class_weights, ignore_label: those of `softmax_cross_entropy`. With smoothing, classes that are
        left out need weight 0.
      chunk: how many classes at a time, any number; chosen by the number of examples by default. It does not change the
        result but for rounding.

    Returns:
      L: (*batch,), in the dtype of `features`; computed in float32 or wider. A label outside [0, K) that is not
      `ignore_label` gives NaN, in the gradient too.

    Raises:
      ValueError: if shapes do not fit, or an option is out of range.
      TypeError: if dtypes differ or are not floating, or `labels` are not integers.

    Gradient: smooth. Reverse mode alone, once and again: forward mode would let the compiler keep every chunk's
    probabilities, which are what is not to be held. For it, compose `nn.dense` and `softmax_cross_entropy`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> params = {"kernel": jnp.zeros((3, 10_000))}
      >>> losses.linear_softmax_cross_entropy(params, jnp.ones((2, 3)), jnp.array([7, 4242]))
      Array([9.2103405, 9.2103405], dtype=float32)

    Source: Wijmans et al. 2024, "Cut your losses in large-vocabulary language models"; the normaliser of a softmax one
    part at a time: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax".
    """
    name = "losses.linear_softmax_cross_entropy"
    kernel, bias, x = classifier(name, params, features)
    k = kernel.shape[1]
    y = Labels.of(name, labels, x.shape[:-1], "features", k, ignore_label)
    smoothing = _checks.fraction(name, "label_smoothing", label_smoothing)
    dtype = compute_dtype(x.dtype)
    weights = per_class(name, class_weights, k, dtype)
    rows = math.prod(x.shape[:-1])
    width = k if rows * k <= FEW else min(max(NARROWEST, LOGITS // rows), WIDEST)
    if chunk is not None:
        width = _checks.integer(name, "chunk", chunk, low=1)

    index = y.which.reshape(rows)
    own = (1 - smoothing) * (jnp.ones(rows, dtype) if weights is None else weights[index])
    spread = None
    if smoothing:
        spread = smoothing / k * (jnp.ones(k, dtype) if weights is None else weights)
    head = Head(y.quiet(x).reshape(rows, x.shape[-1]), kernel, bias, own, spread)
    values = linear_softmax(head, index, width).reshape(x.shape[:-1])
    return settle(values, y, x.dtype)
