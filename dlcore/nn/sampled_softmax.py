"""Softmax cross-entropy over the true class and a random subsample of negatives, for very many classes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._shift import peak, shift
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike, Key, Params
from dlcore.nn._affine import classifier

__all__ = ["sampled_softmax_loss"]

SAMPLERS = ("log_uniform", "uniform")


def sampled_softmax_loss(
    key: Key,
    params: Params,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    samples: int,
    sampler: str = "log_uniform",
    remove_accidental_hits: bool = True,
) -> Array:
    """The cross-entropy of a linear layer's softmax, with its sum over all classes estimated from a few.

        L = log(exp z_y + Σ_s [k_s ≠ y] exp(z_{k_s} − log(S q_{k_s}))) − z_y,   k_1, …, k_S ~ q

    where z = x W + b. A class k is expected S q_k times among the S samples, and subtracting the logarithm of that
    number from its logit (the log-Q correction) makes the sum right on average: the argument of the logarithm has the
    mean Σ_k exp z_k. So L and its gradient tend to those of the full softmax, with errors of order 1/√S. It is for
    training: evaluate with `nn.dense` and `losses.softmax_cross_entropy`.

    A subsample of negatives shifts what is learned by the logarithm of its rate, whatever the loss; here the loss
    takes the shift back, and `data.balanced_batches` says how to do it where the data are sampled instead.

    Args:
      key: a typed PRNG key, a fresh one for each step. One set of negatives is drawn for the whole batch.
      params: `{"kernel": W (D, K)}`, perhaps with `"bias": b (K,)`, as `nn.dense`'s, in the dtype of `features`. Only
        the columns of the batch's labels and of the samples are read.
      features: x, (*batch, D), floating.
      labels: y, (*batch,) integers in [0, K).
      samples: S, how many negatives are drawn: independently of each other, so that a class may come twice, because
        then its expected number is exactly S q_k.
      sampler: q: "log_uniform", q_k = log((k + 2) / (k + 1)) / log(K + 1), Zipf's law nearly, for classes in the
        order of their frequency, the most frequent first; or "uniform", q_k = 1 / K.
      remove_accidental_hits: leaves an example's own class out of its negatives. False counts it again each time that
        it is drawn, and the mean of the sum is too large by exp z_y.

    Returns:
      L: (*batch,), in the dtype of `features`; computed in float32 or wider. A label outside [0, K) gives NaN, in the
      gradient too.

      TensorFlow's `sampled_softmax_loss` corrects the true class's logit as well, by its chance of being *sampled*;
      but the true class is always there, so its expected number is 1 and the correction 0. By default TensorFlow also
      draws without replacement.

    Raises:
      ValueError: if `key` is None, a shape does not fit, `samples` is below 1, or there is no such `sampler`.
      TypeError: if `key` is raw, dtypes differ or are not floating, or `labels` are not integers.

    Gradient: smooth in `features` and `params`, with the samples of the forward pass; zero in the columns of W that
    were not read.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"kernel": jnp.zeros((3, 10_000))}
      >>> x, y = jnp.ones((2, 3)), jnp.array([7, 4242])
      >>> loss = nn.sampled_softmax_loss(jax.random.key(0), params, x, y, samples=100, sampler="uniform")
      >>> [f"{value:.2f}" for value in loss], f"{jnp.log(10_000):.2f}"
      (['9.21', '9.21'], '9.21')

    Source: Bengio & Senécal 2008, "Adaptive importance sampling to accelerate training of a neural probabilistic
    language model", section III; Jean, Cho, Memisevic & Bengio 2015, "On using very large target vocabulary for neural
    machine translation", section 3.
    """
    name = "nn.sampled_softmax_loss"
    key = _checks.key(name, key)
    kernel, bias, x = classifier(name, params, features)
    y = _checks.labels(name, "labels", labels, x.shape[:-1], "features")
    number = _checks.integer(name, "samples", samples, low=1)
    _checks.one_of(name, "sampler", sampler, SAMPLERS)
    if not isinstance(remove_accidental_hits, bool):
        raise _checks.type_error(
            name, "remove_accidental_hits", _checks.describe(remove_accidental_hits), "True or False",
            "It must be static.",
        )  # fmt: skip
    k, dtype = kernel.shape[1], compute_dtype(x.dtype)

    inside = (y >= 0) & (y < k)
    own = jnp.where(inside, y, 0).astype(jnp.int32)
    if sampler == "uniform":
        drawn = jax.random.randint(key, (number,), 0, k, jnp.int32)
        log_q = jnp.full(number, -math.log(k), dtype)
    else:
        drawn = _log_uniform(key, number, k)
        log_q = jnp.log(jnp.log1p(1 / (drawn + 1).astype(dtype))) - math.log(math.log(k + 1))

    wide = x.astype(dtype)
    columns = jnp.take(kernel, drawn, axis=1, mode="clip").astype(dtype)
    rows = jnp.moveaxis(jnp.take(kernel, own, axis=1, mode="clip"), 0, -1).astype(dtype)
    positive = (wide * rows).sum(-1, keepdims=True)
    offset = -math.log(number) - log_q
    if bias is not None:
        positive = positive + jnp.take(bias, own, mode="clip").astype(dtype)[..., None]
        offset = offset + jnp.take(bias, drawn, mode="clip").astype(dtype)
    negative = wide @ columns + broadcast_to_rank(offset, x.ndim)
    if remove_accidental_hits:
        hit = own[..., None] == broadcast_to_rank(drawn, x.ndim)
        negative = jnp.where(hit, -np.inf, negative)

    top = jnp.maximum(lax.stop_gradient(positive), peak(negative, -1))
    truth = shift(positive, top)
    total = jnp.exp(truth) + jnp.exp(shift(negative, top)).sum(-1, keepdims=True)
    values = (jnp.log(jnp.where(total == 0, 1, total)) - truth)[..., 0]
    # A product, so that a wrong label poisons the gradient as well and nobody trains past it.
    return (values * jnp.where(inside, 1, jnp.nan).astype(dtype)).astype(x.dtype)


def _log_uniform(key: Key, number: int, classes: int) -> Array:
    """Classes k with probability log((k + 2) / (k + 1)) / log(K + 1), by a random binary search.

    n = k + 1 is the whole part of a log-uniform number in [1, K + 1). Inverting its distribution function would need
    more digits than float32 has: near K = 10⁶, some classes would never come. Instead each halving of [low, high) is a
    coin with the share of the upper half, log(high / middle) / log(high / low), which is right to a few 10⁻⁷.
    """
    coins = jax.random.uniform(key, ((classes - 1).bit_length(), number), jnp.float32)

    def length(low: Array, high: Array) -> Array:
        return jnp.log1p((high - low).astype(jnp.float32) / low.astype(jnp.float32))

    def halve(bounds: tuple[Array, Array], coin: Array) -> tuple[tuple[Array, Array], None]:
        low, high = bounds
        middle = low + (high - low) // 2
        upper = coin * length(low, high) < length(middle, high)
        return (jnp.where(upper, middle, low), jnp.where(upper, high, middle)), None

    whole = jnp.full(number, 1, jnp.int32), jnp.full(number, classes + 1, jnp.int32)
    (low, _), _ = lax.scan(halve, whole, coins)
    return low - 1
