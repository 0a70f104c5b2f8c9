"""Dropout's family: Gaussian noise, dropout that keeps unit variance, and whole examples dropped."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._random import keep_mask, kept_share, normal, shared_shape, traced
from dlcore._typing import Array, ArrayLike, Key
from dlcore.nn.dropout import masked

__all__ = ["alpha_dropout", "drop_path", "gaussian_dropout"]

# What SELU gives far below zero: −λα, for the λ and α that make mean 0 and variance 1 its fixed point.
SATURATION = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717


def gaussian_dropout(key: Key, x: ArrayLike, *, rate: float | Array) -> Array:
    """Multiplies each value by noise with the mean and the variance of dropout's, but without a zero.

        y = x · (1 + √(rate / (1 − rate)) ε),   ε ~ N(0, 1), one for each value

    Args:
      key: a typed PRNG key, a fresh one for each call; the same key gives the same noise.
      x: any shape, floating.
      rate: the `rate` of the dropout that has this variance, in [0, 1]; a number or a traced scalar. Keras' meaning;
        the σ² of Srivastava et al. is rate / (1 − rate).

    Returns:
      y in the shape and dtype of `x`; one key gives the same ε in every dtype. At `rate=0` it is `x`. At `rate=1` the
      variance is infinite and y says nothing about `x`: it is zeros, as `dropout`'s, never NaN. (Keras divides by zero
      there.)

    Raises:
      ValueError: if `key` is None, or `rate` is outside [0, 1].
      TypeError: if `key` is raw, or `x` is not floating.

    Gradient: linear in `x`, with the noise of the forward pass. In a traced `rate`, it is that of the formula inside
    (0, 1), and 0 at both ends, where the formula's is infinite.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> y = nn.gaussian_dropout(jax.random.key(0), jnp.ones(10_000), rate=0.5)
      >>> f"{y.mean():.1f} {y.var():.1f}"
      '1.0 1.0'

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014, "Dropout", section 10.
    """
    name = "nn.gaussian_dropout"
    key = _checks.key(name, key)
    values = _checks.floating(name, "x", x)
    dtype = compute_dtype(values.dtype)
    if not traced(name, rate):
        share = _checks.fraction(name, "rate", rate)
        if share in (0.0, 1.0):
            return jnp.zeros_like(values) if share else values
        deviation, nothing = jnp.asarray((share / (1 - share)) ** 0.5, dtype), None
    else:
        p, kept = jnp.asarray(rate, dtype), kept_share(rate, dtype)
        # Two wheres: neither end may reach the root or the quotient, whose derivatives are infinite there.
        end = (p == 0) | (kept == 0)
        deviation, nothing = jnp.where(end, 0, jnp.sqrt(jnp.where(end, 0.5, p) / jnp.where(end, 0.5, kept))), kept == 0
    y = (values.astype(dtype) * (1 + deviation * normal(key, values.shape, dtype))).astype(values.dtype)
    return y if nothing is None else jnp.where(nothing, 0, y)


def alpha_dropout(key: Key, x: ArrayLike, *, rate: float | Array, broadcast_axes: Sequence[int] = ()) -> Array:
    """Dropout for SELU networks: what is dropped saturates, and mean 0 and variance 1 are kept.

        y = a · (m · x + (1 − m) · α′) + b,   m ~ Bernoulli(1 − rate), one for each value

    with α′ = −λα ≈ −1.7581, where SELU saturates, and, for q = 1 − rate, a = (q + α′² q (1 − q))^−½ and
    b = −a (1 − q) α′.

    Args:
      key: a typed PRNG key, a fresh one for each call; the same key gives the mask that it gives `dropout`.
      x: any shape, floating; mean 0 and variance 1 is what is kept.
      rate: the probability of dropping, in [0, 1]; a number or a traced scalar, as in `dropout`.
      broadcast_axes: axes along which one draw is shared; the axes of space, (-3, -2) for images, give PyTorch's
        `FeatureAlphaDropout`.

    Returns:
      y in the shape and dtype of `x`. At `rate=0` it is `x`. At `rate=1` it is zeros, the limit of the formula and
      PyTorch's choice, never NaN. (Keras divides by zero there.)

    Raises:
      ValueError: if `key` is None, `rate` is outside [0, 1], or an axis is not one of `x`.
      TypeError: if `key` is raw, or `x` is not floating.

    Gradient: affine in `x`, with the mask of the forward pass: m a. A dropped value has gradient 0, even where it is
    inf or NaN.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> x = jax.random.normal(jax.random.key(0), (100_000,))
      >>> y = nn.alpha_dropout(jax.random.key(1), x, rate=0.2)
      >>> f"{abs(y.mean()):.1f} {y.var():.1f}"
      '0.0 1.0'

    Source: Klambauer, Unterthiner, Mayr & Hochreiter 2017, "Self-normalizing neural networks", section "New dropout
    technique".
    """
    name = "nn.alpha_dropout"
    key = _checks.key(name, key)
    values = _checks.floating(name, "x", x)
    keep = keep_mask(name, key, rate, shared_shape(name, values, broadcast_axes))
    if isinstance(keep, bool):
        return values if keep else jnp.zeros_like(values)
    dtype = compute_dtype(values.dtype)
    q = kept_share(rate, dtype)
    # At a traced rate of 1, a = 1 will do: nothing is kept, and what is dropped has the factor q.
    some = jnp.where(q == 0, 1, q) if isinstance(q, jax.Array) else q
    a = (some * (1 + SATURATION**2 * (1 - some))) ** -0.5
    b, dropped = -a * (1 - q) * SATURATION, a * q * SATURATION
    a, b, dropped = (jnp.asarray(part, dtype) for part in (a, b, dropped))
    # The inner where keeps a dropped inf or NaN out of the gradient in a traced rate.
    kept = a * jnp.where(keep, values, 0).astype(dtype) + b
    return jnp.where(keep, kept, dropped).astype(values.dtype)


def drop_path(key: Key, x: ArrayLike, *, rate: float | Array) -> Array:
    """Drops each example as a whole with probability `rate`: stochastic depth, before a residual is added.

        y_b = m_b x_b / (1 − rate),   m_b ~ Bernoulli(1 − rate), one for each example b

    Args:
      key: a typed PRNG key, a fresh one for each call.
      x: (B, …), floating: examples along the first axis. Under `vmap` over examples there is none left: there,
        `dropout(key, x, rate=rate, broadcast_axes=range(-x.ndim, 0))` with a key for each example says the same.
      rate: the probability of dropping, in [0, 1]; a number or a traced scalar, as in `dropout`. The survival
        probability p of Huang et al. is 1 − rate.

    Returns:
      y in the shape and dtype of `x`. At `rate=0` it is `x`, at `rate=1` zeros, never NaN. Huang et al. multiply by
      p at evaluation; here it is divided by in training, as in `timm` and torchvision.

    Raises:
      ValueError: if `key` is None, `rate` is outside [0, 1], or `x` is a scalar.
      TypeError: if `key` is raw, or `x` is not floating.

    Gradient: linear in `x`, with the mask of the forward pass: m_b / (1 − rate). A dropped example has gradient 0,
    even where it holds inf or NaN.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> y = nn.drop_path(jax.random.key(0), jnp.ones((1000, 2)), rate=0.5)
      >>> sorted(set(map(tuple, y.tolist())))
      [(0.0, 0.0), (2.0, 2.0)]

    Source: Huang, Sun, Liu, Sedra & Weinberger 2016, "Deep networks with stochastic depth", section 3.
    """
    name = "nn.drop_path"
    key = _checks.key(name, key)
    values = _checks.floating(name, "x", x)
    if values.ndim == 0:
        raise _checks.value_error(
            name, "x", _checks.describe(values), "examples along a first axis", "Add the axis: x[None]."
        )
    keep = keep_mask(name, key, rate, (values.shape[0],) + (1,) * (values.ndim - 1))
    return masked(values, keep, rate)
