"""Units that saturate, smoothly or hard."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore.nn.activations.smooth import rectified

__all__ = ["hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "sigmoid", "tanh"]


def sigmoid(x: ArrayLike) -> Array:
    """The logistic function.

        y = σ(x) = 1 / (1 + exp(−x))

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, σ(x) (1 − σ(x)), at most 1/4: a product of many vanishes.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.sigmoid(jnp.array([-jnp.inf, 0.0, jnp.inf]))
      Array([0. , 0.5, 1. ], dtype=float32)

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors", eq. 2.
    """
    return jax.nn.sigmoid(_checks.floating("nn.sigmoid", "x", x))


def log_sigmoid(x: ArrayLike) -> Array:
    """The logarithm of the sigmoid, without underflow.

        y = log σ(x) = −log(1 + exp(−x))

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, σ(−x).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.log_sigmoid(jnp.array([-1000.0, 1000.0]))
      Array([-1000.,    -0.], dtype=float32)

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 3.10.
    """
    values = _checks.floating("nn.log_sigmoid", "x", x)
    return -rectified(-values.astype(compute_dtype(values.dtype))).astype(values.dtype)


def tanh(x: ArrayLike) -> Array:
    """The hyperbolic tangent.

        y = (exp(x) − exp(−x)) / (exp(x) + exp(−x)) = 2 σ(2x) − 1

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: smooth, 1 − tanh²(x).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.tanh(jnp.array([-jnp.inf, 0.0, jnp.inf]))
      Array([-1.,  0.,  1.], dtype=float32)

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.4.
    """
    return jnp.tanh(_checks.floating("nn.tanh", "x", x))


def hard_tanh(x: ArrayLike) -> Array:
    """The identity, cut at −1 and 1.

        y = min(max(x, −1), 1)

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: 1 between −1 and 1, 0 outside, 0 at the kinks x = ±1.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.hard_tanh(jnp.array([-3.0, 0.5, 3.0]))
      Array([-1. ,  0.5,  1. ], dtype=float32)

    Source: Collobert 2004, "Large scale machine learning".
    """
    x = _checks.floating("nn.hard_tanh", "x", x)
    return jnp.where(x <= -1, -1, jnp.where(x >= 1, 1, x))


def hard_sigmoid(x: ArrayLike, *, slope: float = 1 / 6, offset: float = 0.5) -> Array:
    """A sigmoid of three straight pieces.

        y = min(max(slope · x + offset, 0), 1)

    Args:
      x: any shape, floating.
      slope: of the middle piece: 1/6 for JAX, PyTorch and Keras 3; 0.2 for ONNX' default.
      offset: the value at 0.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `slope` or `offset` is not finite.

    Gradient: `slope` on the middle piece, 0 outside, 0 at the kinks (x = ±3 by default).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.hard_sigmoid(jnp.array([-4.0, 0.0, 4.0]))
      Array([0. , 0.5, 1. ], dtype=float32)

    Source: Courbariaux, Bengio & David 2015, "BinaryConnect", section 2.3.
    """
    x = _checks.floating("nn.hard_sigmoid", "x", x)
    _checks.number("nn.hard_sigmoid", "slope", slope)
    _checks.number("nn.hard_sigmoid", "offset", offset)
    wide = x.astype(compute_dtype(x.dtype))
    z = slope * wide + offset
    if slope == 0:
        return jnp.clip(z, 0, 1).astype(x.dtype)
    # The kinks are where x says, not where the rounded product does.
    zero, one = -offset / slope, (1 - offset) / slope
    if slope > 0:
        y = jnp.where(wide <= zero, 0, jnp.where(wide >= one, 1, z))
    else:
        y = jnp.where(wide >= zero, 0, jnp.where(wide <= one, 1, z))
    return y.astype(x.dtype)


def hard_silu(x: ArrayLike) -> Array:
    """The sigmoid linear unit with the hard sigmoid, also called hard swish.

        y = x · min(max(x / 6 + 1/2, 0), 1)

    Args:
      x: any shape, floating.

    Returns:
      y in the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not floating.

    Gradient: 0 below −3, x / 3 + 1/2 between, 1 above 3; at the kinks that of the outer piece, 0 at −3 and 1 at
    3, since the hard sigmoid's is 0 there.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.hard_silu(jnp.array([-3.0, 0.0, 3.0]))
      Array([0., 0., 3.], dtype=float32)

    Source: Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """
    x = _checks.floating("nn.hard_silu", "x", x)
    wide = x.astype(compute_dtype(x.dtype))
    middle = jnp.where((wide <= -3) | (wide >= 3), 0, wide)
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, x, (middle * (middle / 6 + 0.5)).astype(x.dtype)))
