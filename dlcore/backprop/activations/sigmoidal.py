"""Units that saturate, smoothly or hard: their gradients vanish far out."""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn import sigmoid as sigma

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop.activations._elementwise import UnitResiduals, backward, forward, saturated

__all__ = [
    "hard_sigmoid_bwd",
    "hard_sigmoid_fwd",
    "hard_silu_bwd",
    "hard_silu_fwd",
    "hard_tanh_bwd",
    "hard_tanh_fwd",
    "log_sigmoid_bwd",
    "log_sigmoid_fwd",
    "sigmoid_bwd",
    "sigmoid_fwd",
    "tanh_bwd",
    "tanh_fwd",
]


def sigmoid_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The logistic function.

        y = σ(x) = 1 / (1 + exp(−x))

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth, at most 1/4: a product of many vanishes.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.sigmoid_fwd(jnp.array([-jnp.inf, 0.0, jnp.inf]))
      >>> backprop.sigmoid_bwd(residuals, jnp.ones(3))[0]
      Array([0.  , 0.25, 0.  ], dtype=float32)

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors", eq. 2.
    """
    return forward("sigmoid", x, sigma)


def sigmoid_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `sigmoid_fwd`.

        dx = dy · σ(x) (1 − σ(x)),   1 − σ(x) = σ(−x)

    Args:
      residuals: those that `sigmoid_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `sigmoid_fwd`.

    Source: the chain rule; see `sigmoid_fwd`.
    """
    return backward("sigmoid", residuals, dy, lambda x, dy: dy * sigma(x) * sigma(-x))


def log_sigmoid_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The logarithm of the sigmoid, without underflow.

        y = log σ(x) = −log(1 + exp(−x))

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.log_sigmoid_fwd(jnp.array([-jnp.inf, 0.0, jnp.inf]))
      >>> backprop.log_sigmoid_bwd(residuals, jnp.ones(3))[0]
      Array([1. , 0.5, 0. ], dtype=float32)

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 3.10.
    """
    return forward("log_sigmoid", x, lambda x: -jnp.logaddexp(-x, jnp.zeros_like(x)))


def log_sigmoid_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `log_sigmoid_fwd`.

        dx = dy · σ(−x)

    Args:
      residuals: those that `log_sigmoid_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `log_sigmoid_fwd`.

    Source: the chain rule; see `log_sigmoid_fwd`.
    """
    return backward("log_sigmoid", residuals, dy, lambda x, dy: dy * sigma(-x))


def tanh_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The hyperbolic tangent.

        y = (exp(x) − exp(−x)) / (exp(x) + exp(−x)) = 2 σ(2x) − 1

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: smooth, at most 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.tanh_fwd(jnp.array([-jnp.inf, 0.0, jnp.inf]))
      >>> backprop.tanh_bwd(residuals, jnp.ones(3))[0]
      Array([0., 1., 0.], dtype=float32)

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.4.
    """
    return forward("tanh", x, jnp.tanh)


def tanh_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `tanh_fwd`.

        dx = dy · (1 − y²),   1 − y² = 4 σ(2x) σ(−2x)

    Args:
      residuals: those that `tanh_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `tanh_fwd`.

    Source: the chain rule; see `tanh_fwd`.
    """
    return backward("tanh", residuals, dy, lambda x, dy: dy * 4 * sigma(2 * x) * sigma(-2 * x))


def hard_tanh_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The identity, cut at −1 and 1.

        y = min(max(x, −1), 1)

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: 1 between −1 and 1, 0 outside, 0 at the kinks x = ±1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.hard_tanh_fwd(jnp.array([-1.0, 0.5, 3.0]))
      >>> backprop.hard_tanh_bwd(residuals, jnp.ones(3))[0]
      Array([0., 1., 0.], dtype=float32)

    Source: Collobert 2004, "Large scale machine learning".
    """
    return forward("hard_tanh", x, lambda x: jnp.where(x <= -1, -1, jnp.where(x >= 1, 1, x)))


def hard_tanh_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `hard_tanh_fwd`.

        dx = dy if −1 < x < 1, else 0

    Args:
      residuals: those that `hard_tanh_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `hard_tanh_fwd`.

    Source: the chain rule; see `hard_tanh_fwd`.
    """
    return backward("hard_tanh", residuals, dy, lambda x, dy: jnp.where((x <= -1) | (x >= 1), 0, dy))


def hard_sigmoid_fwd(x: ArrayLike, *, slope: float = 1 / 6, offset: float = 0.5) -> tuple[Array, UnitResiduals]:
    """A sigmoid of three straight pieces.

        y = min(max(slope · x + offset, 0), 1)

    Args:
      x: any shape, floating.
      slope: of the middle piece.
      offset: the value at 0.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if `slope` or `offset` is not finite.

    Gradient: `slope` on the middle piece, 0 outside, 0 at the kinks (x = ±3 by default).

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.hard_sigmoid_fwd(jnp.array([-4.0, 0.0, 4.0]), slope=0.25)
      >>> backprop.hard_sigmoid_bwd(residuals, jnp.ones(3))[0]
      Array([0.  , 0.25, 0.  ], dtype=float32)

    Source: Courbariaux, Bengio & David 2015, "BinaryConnect", section 2.3.
    """
    name = "backprop.hard_sigmoid_fwd"
    options = _checks.number(name, "slope", slope), _checks.number(name, "offset", offset)
    return forward("hard_sigmoid", x, _hard_sigmoid, *options)


def hard_sigmoid_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `hard_sigmoid_fwd`.

        dx = slope · dy on the middle piece, else 0

    Args:
      residuals: those that `hard_sigmoid_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `hard_sigmoid_fwd`.

    Source: the chain rule; see `hard_sigmoid_fwd`.
    """
    return backward(
        "hard_sigmoid", residuals, dy, lambda x, dy, slope, offset: jnp.where(_outer(x, slope, offset), 0, slope * dy)
    )


def hard_silu_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The sigmoid linear unit with the hard sigmoid, also called hard swish.

        y = x · min(max(x / 6 + 1/2, 0), 1)

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: at the kinks that of the outer piece: 0 at −3 and 1 at 3.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.hard_silu_fwd(jnp.array([-3.0, 0.0, 3.0]))
      >>> backprop.hard_silu_bwd(residuals, jnp.ones(3))[0]
      Array([0. , 0.5, 1. ], dtype=float32)

    Source: Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """
    return forward("hard_silu", x, lambda x: saturated(x, 3, 0, lambda x: x * (x / 6 + 0.5), x))


def hard_silu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `hard_silu_fwd`.

        dx = 0 if x ≤ −3, dy if x ≥ 3, else dy · (x / 3 + 1/2)

    Args:
      residuals: those that `hard_silu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `hard_silu_fwd`.

    Source: the chain rule; see `hard_silu_fwd`.
    """
    return backward(
        "hard_silu", residuals, dy, lambda x, dy: jnp.where(x <= -3, 0, jnp.where(x >= 3, dy, dy * (x / 3 + 0.5)))
    )


def _hard_sigmoid(x: Array, slope: float, offset: float) -> Array:
    z = slope * x + offset
    return jnp.where(_outer(x, slope, offset), (z >= 0.5).astype(z.dtype), jnp.clip(z, 0, 1))


def _outer(x: Array, slope: float, offset: float) -> Array:
    """Where the unit is constant: the kinks are where `x` says, not where the rounded product does."""
    if slope == 0:
        return jnp.zeros(x.shape, bool)
    low, high = sorted((-offset / slope, (1 - offset) / slope))
    return (x <= low) | (x >= high)
