"""Dropout: the training behaviour. Evaluation leaves it out."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._random import keep_mask
from dlcore._typing import Array, ArrayLike, Key

__all__ = ["dropout"]


def dropout(key: Key, x: ArrayLike, *, rate: float | Array, broadcast_axes: Sequence[int] = ()) -> Array:
    """Drops each value with probability `rate` and scales up what stays, so that the mean is kept.

        y = m · x / (1 − rate),   m ~ Bernoulli(1 − rate), one for each value

    Args:
      key: a typed PRNG key, a fresh one for each call; the same key gives the same mask.
      x: any shape, floating.
      rate: the probability of *dropping*, in [0, 1]: Keras' and Flax' meaning; the p of Srivastava et al. is
        1 − rate. A Python number is exact to 2⁻³³, and at 0 and 1 without any draw; a traced scalar (for
        `vmap` over rates) is exact to 2⁻²⁴.
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
    if not isinstance(broadcast_axes, Sequence):
        raise _checks.type_error(
            name, "broadcast_axes", _checks.describe(broadcast_axes), "a tuple of ints", "For one axis: (-2,)."
        )
    shape = list(values.shape)
    for axis in broadcast_axes:
        index = _checks.integer(name, "broadcast_axes", axis, low=-values.ndim)
        if index >= values.ndim:
            raise _checks.value_error(
                name,
                "broadcast_axes",
                broadcast_axes,
                f"axes of x, which has {values.ndim}",
                "Count from the end.",
            )
        shape[operator.index(index)] = 1
    keep = keep_mask(name, key, rate, tuple(shape))
    if isinstance(keep, bool):
        return values if keep else jnp.zeros_like(values)
    dtype = compute_dtype(values.dtype)
    if isinstance(rate, jax.Array | np.ndarray):
        share = 1 - rate.astype(dtype)
        scale = 1 / jnp.where(share > 0, share, 1)
    else:
        scale = jnp.asarray(1 / (1 - rate), dtype)  # in double precision: 1 − 0.999 has lost digits in single
    # where, not a product: 0 · inf is NaN.
    return jnp.where(keep, (values.astype(dtype) * scale).astype(values.dtype), 0)
