"""Dropout: the training behaviour. Evaluation leaves it out."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._random import keep_mask, kept_share, shared_shape
from dlcore._typing import Array, ArrayLike, Key

__all__ = ["dropout", "masked"]


def dropout(key: Key, x: ArrayLike, *, rate: float | Array, broadcast_axes: Sequence[int] = ()) -> Array:
    """Drops each value with probability `rate` and scales up what stays, so that the mean is kept.

        y = m · x / (1 − rate),   m ~ Bernoulli(1 − rate), one for each value

    Args:
      key: a typed PRNG key, a fresh one for each call; the same key gives the same mask.
      x: any shape, floating.
      rate: the probability of *dropping*, in [0, 1]: Keras' and Flax' meaning; the p of Srivastava et al. is
        1 − rate. A Python number is exact to 2⁻³³, and at 0 and 1 without any draw; so is a traced scalar (for
        `vmap` over rates) as its own dtype holds it, with the same mask, and exact at both ends.
      broadcast_axes: axes along which one draw is shared. (-3, -2) drops whole channels of an image:
        spatial dropout.

    Returns:
      y in the shape and dtype of `x`. At `rate=0` it is `x`, at `rate=1` zeros, never NaN.

    Raises:
      ValueError: if `key` is None, `rate` is outside [0, 1], or an axis is not one of `x`.
      TypeError: if `key` is raw, or `x` is not floating.

    Gradient: linear in `x`, with the mask of the forward pass: m / (1 − rate). A dropped value has gradient 0,
    even where it is inf or NaN.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> y = nn.dropout(jax.random.key(0), jnp.ones(1000), rate=0.5)
      >>> sorted(set(y.tolist()))
      [0.0, 2.0]

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014, "Dropout", section 4 (with the scaling
    moved from evaluation to training); spatial dropout: Tompson et al. 2015.
    """
    name = "nn.dropout"
    key = _checks.key(name, key)
    values = _checks.floating(name, "x", x)
    keep = keep_mask(name, key, rate, shared_shape(name, values, broadcast_axes))
    return masked(values, keep, rate)


def masked(values: Array, keep: Array | bool, rate: float | Array) -> Array:
    """`values / (1 − rate)` where `keep` says so, 0 elsewhere."""
    if isinstance(keep, bool):
        return values if keep else jnp.zeros_like(values)
    dtype = compute_dtype(values.dtype)
    share = kept_share(rate, dtype)
    # A traced rate may be 1, where nothing is kept that the scale could be seen on.
    scale = 1 / (jnp.where(share == 0, 1, share) if isinstance(share, jax.Array) else share)
    # where, not a product with the mask: 0 · inf is NaN.
    return (jnp.where(keep, values, 0).astype(dtype) * jnp.asarray(scale, dtype)).astype(values.dtype)
