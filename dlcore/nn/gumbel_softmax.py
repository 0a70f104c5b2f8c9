"""Samples of a categorical variable that a gradient passes through."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._random import gumbel
from dlcore._shift import peak, shift
from dlcore._typing import Array, ArrayLike, Key
from dlcore.nn.softmax import softmax

__all__ = ["gumbel_softmax"]


def gumbel_softmax(
    key: Key, x: ArrayLike, *, axis: int = -1, temperature: float | Array = 1.0, hard: bool = False
) -> Array:
    """Draws from the categorical distribution softmax(x), softened so that it has a gradient.

        y = softmax((x + g) / τ),   g_k = −log(−log u_k),   u_k ~ Uniform(0, 1)

    Args:
      key: a typed PRNG key, a fresh one for each call; the same key gives the same noise.
      x: unnormalised log-probabilities, any shape with at least one axis, floating.
      axis: along which one of the classes is drawn.
      temperature: τ > 0, a number or a traced scalar. At any τ, the largest y_k is that of a draw from softmax(x);
        towards 0, y becomes one-hot, and its gradient's variance grows.
      hard: True gives the one-hot draw, 1 at the largest y_k (the first of several), with the gradient of the soft
        one: the straight-through estimator.

    Returns:
      y in the shape and dtype of `x`, computed in float32 or wider; one key gives the same g in every dtype. An entry
      of −inf is never drawn; entries of +inf share the draw evenly; a slice with nothing but −inf gives zeros. NaN
      makes its own slice NaN.

    Raises:
      ValueError: if `key` is None, `axis` is none of `x`, or `temperature` is not positive.
      TypeError: if `key` is raw, `x` is not floating, or `hard` is not a Python bool.

    Gradient: that of softmax((x + g) / τ) with the noise of the forward pass, in `x` and in a traced τ, and in forward
    mode too. With `hard` it is the same, by definition: not the derivative of the one-hot values, which is 0 or none.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> x = jnp.tile(jnp.log(jnp.array([0.5, 0.25, 0.25])), (1000, 1))
      >>> y = nn.gumbel_softmax(jax.random.key(0), x, hard=True)
      >>> y.mean(0).round(1).tolist()[0], sorted(set(y.ravel().tolist()))
      (0.5, [0.0, 1.0])

    Source: Jang, Gu & Poole 2017, "Categorical reparameterization with Gumbel-softmax"; Maddison, Mnih & Teh 2017,
    "The concrete distribution"; straight-through: Bengio, Léonard & Courville 2013.
    """
    name = "nn.gumbel_softmax"
    key = _checks.key(name, key)
    values = _checks.floating(name, "x", x)
    index = _checks.integer(name, "axis", axis, low=-values.ndim)
    if index >= values.ndim:
        raise _checks.value_error(
            name, "axis", axis, f"an axis of x, which has {values.ndim}", "-1 is the last axis, the classes."
        )
    tau = _checks.scalar(name, "temperature", temperature, above=0.0)
    if not isinstance(hard, bool):
        raise _checks.type_error(name, "hard", _checks.describe(hard), "True or False", "It must be static.")
    scores = values.astype(compute_dtype(values.dtype))
    # Shifted before the noise is added, which large scores would swallow, and which decides between several +inf.
    scores = shift(scores, peak(scores, index))
    scores = scores + gumbel(key, values.shape, scores.dtype)
    soft = softmax(scores, axis=index, temperature=tau)
    if not hard or values.shape[index] == 0:
        return soft.astype(values.dtype)
    # Of the scores, since a large τ makes the soft values equal; nothing is drawn from a slice of nothing but −inf.
    largest = jnp.argmax(scores, axis=index, keepdims=True)
    place = lax.broadcasted_iota(largest.dtype, values.shape, index % values.ndim)
    drawn = ((place == largest) & (scores > -np.inf)).astype(soft.dtype)
    # soft − soft is exactly 0, or NaN where soft is.
    return (drawn + (soft - lax.stop_gradient(soft))).astype(values.dtype)
