"""Rectifiers: the identity above a kink, something smaller below it.

All are written with `where`, their subgradient at the kink spelled out by which side it takes; a maximum leaves that
to the backend. NaN passes through.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike

__all__ = ["celu", "elu", "leaky_relu", "prelu", "relu", "relu6", "selu", "thresholded_relu"]


def relu(x: ArrayLike) -> Array:
    """The rectified linear unit.

        y = x if x > 0, else 0

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: 1 above 0, 0 below, 0 at the kink x = 0.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.relu(jnp.array([-1.0, 0.0, 2.0]))
      Array([0., 0., 2.], dtype=float32)

    Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    x = _checks.floating("nn.relu", "x", x)
    return jnp.where(x <= 0, 0, x)


def relu6(x: ArrayLike) -> Array:
    """The rectified linear unit, cut at 6.

        y = min(max(x, 0), 6)

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: 1 between 0 and 6, 0 outside, 0 at the kinks x = 0 and x = 6.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.relu6(jnp.array([-1.0, 2.0, 7.0]))
      Array([0., 2., 6.], dtype=float32)

    Source: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
    """
    x = _checks.floating("nn.relu6", "x", x)
    return jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x))


def leaky_relu(x: ArrayLike, *, negative_slope: float = 0.01) -> Array:
    """A rectifier that lets a little through below zero, so that no unit dies.

        y = x if x > 0, else negative_slope · x

    Args:
      x: any shape, floating.
      negative_slope: the slope below zero. (Keras' default is 0.3.)

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if the slope is not finite.

    Gradient: 1 above 0, `negative_slope` below and at the kink x = 0.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.leaky_relu(jnp.array([-1.0, 2.0]), negative_slope=0.1)
      Array([-0.1,  2. ], dtype=float32)

    Source: Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """
    x = _checks.floating("nn.leaky_relu", "x", x)
    _checks.number("nn.leaky_relu", "negative_slope", negative_slope)
    return jnp.where(x > 0, x, negative_slope * x)


def prelu(x: ArrayLike, slope: ArrayLike) -> Array:
    """A leaky rectifier whose slope is learned.

        y = x if x > 0, else slope · x

    Args:
      x: (*batch, C), floating.
      slope: one number, (), or one a channel, (C,), in the dtype of `x`; a parameter.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` or `slope` is not floating, or their dtypes differ.
      ValueError: if `slope` has neither of the two shapes.

    Gradient: in `x`, 1 above 0, `slope` below and at the kink x = 0; in `slope`, the sum of x over x < 0.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.prelu(jnp.array([-1.0, 2.0]), jnp.array([0.5, 0.5]))
      Array([-0.5,  2. ], dtype=float32)

    Source: He, Zhang, Ren & Sun 2015, "Delving deep into rectifiers", section 2.1.
    """
    x = _checks.floating("nn.prelu", "x", x)
    factor = _checks.floating("nn.prelu", "slope", slope)
    if factor.shape not in ((), x.shape[-1:]):
        raise _checks.value_error(
            "nn.prelu", "slope", f"shape {factor.shape}", f"() or {x.shape[-1:]}", "Channels come last."
        )
    if isinstance(slope, (int, float)):
        factor = factor.astype(x.dtype)
    _checks.same_dtype("nn.prelu", x, "slope", factor)
    # The inner where keeps an infinite x above the kink out of the slope's gradient: 0 · ∞ is NaN.
    return jnp.where(x > 0, x, broadcast_to_rank(factor, x.ndim) * jnp.where(x > 0, 0, x))


def thresholded_relu(x: ArrayLike, *, threshold: float) -> Array:
    """A rectifier that opens at a threshold, with a jump.

        y = x if x > threshold, else 0

    Args:
      x: any shape, floating.
      threshold: θ, where it opens. (Keras' and ONNX' default is 1.)

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if the threshold is not finite.

    Gradient: 1 above θ, 0 below and at the jump x = θ.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.thresholded_relu(jnp.array([0.5, 2.0]), threshold=1.0)
      Array([0., 2.], dtype=float32)

    Source: Konda, Memisevic & Krueger 2015, "Zero-bias autoencoders and the benefits of co-adapting features".
    """
    x = _checks.floating("nn.thresholded_relu", "x", x)
    _checks.number("nn.thresholded_relu", "threshold", threshold)
    return jnp.where(x <= threshold, 0, x)


def elu(x: ArrayLike, *, alpha: float = 1.0) -> Array:
    """The exponential linear unit.

        y = x if x > 0, else α (exp(x) − 1)

    Args:
      x: any shape, floating.
      alpha: α, minus the limit at −∞.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `alpha` is not finite.

    Gradient: 1 above 0, α exp(x) below, α at the kink x = 0 (which is no kink at α = 1).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.elu(jnp.array([-jnp.inf, 0.0, 2.0]))
      Array([-1.,  0.,  2.], dtype=float32)

    Source: Clevert, Unterthiner & Hochreiter 2016, "Fast and accurate deep network learning by ELUs".
    """
    x = _checks.floating("nn.elu", "x", x)
    _checks.number("nn.elu", "alpha", alpha)
    return jax.nn.elu(x, alpha)


def selu(x: ArrayLike) -> Array:
    """The self-normalising exponential linear unit.

        y = λ x if x > 0, else λ α (exp(x) − 1),   λ = 1.0507…, α = 1.6733…

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`. Standard normal input keeps mean 0 and variance 1.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: λ above 0, λ α exp(x) below, λ α at the kink x = 0.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> [f"{y:.4f}" for y in nn.selu(jnp.array([-jnp.inf, 1.0]))]
      ['-1.7581', '1.0507']

    Source: Klambauer, Unterthiner, Mayr & Hochreiter 2017, "Self-normalizing neural networks".
    """
    return jax.nn.selu(_checks.floating("nn.selu", "x", x))


def celu(x: ArrayLike, *, alpha: float = 1.0) -> Array:
    """The continuously differentiable exponential linear unit.

        y = x if x > 0, else α (exp(x / α) − 1)

    Args:
      x: any shape, floating.
      alpha: α > 0, minus the limit at −∞.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `alpha` is not positive.

    Gradient: 1 above 0, exp(x / α) below, 1 at 0, where both meet.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.celu(jnp.array([-jnp.inf, 0.0, 2.0]), alpha=2.0)
      Array([-2.,  0.,  2.], dtype=float32)

    Source: Barron 2017, "Continuously differentiable exponential linear units".
    """
    x = _checks.floating("nn.celu", "x", x)
    _checks.number("nn.celu", "alpha", alpha, above=0.0)
    # The inner where keeps exp from overflowing on the side that is not taken.
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x) / alpha))
