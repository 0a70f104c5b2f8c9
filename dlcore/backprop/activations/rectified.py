"""Rectifiers: the identity above a kink, something smaller below it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike
from dlcore.backprop._boundary import cotangent, saved, widen
from dlcore.backprop.activations._elementwise import UnitResiduals, backward, forward, rounded

__all__ = [
    "leaky_relu_bwd",
    "leaky_relu_fwd",
    "prelu_bwd",
    "prelu_fwd",
    "relu6_bwd",
    "relu6_fwd",
    "relu_bwd",
    "relu_fwd",
    "thresholded_relu_bwd",
    "thresholded_relu_fwd",
]


def relu_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The rectified linear unit.

        y = x if x > 0, else 0

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: 1 above 0, 0 below, 0 at the kink x = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.relu_fwd(jnp.array([-1.0, 0.0, 2.0]))
      >>> backprop.relu_bwd(residuals, jnp.ones(3))[0]
      Array([0., 0., 1.], dtype=float32)

    Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return forward("relu", x, lambda x: jnp.where(x <= 0, 0, x))


def relu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `relu_fwd`.

        dx = dy if x > 0, else 0

    Args:
      residuals: those that `relu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `relu_fwd`.

    Source: the chain rule; see `relu_fwd`.
    """
    return backward("relu", residuals, dy, lambda x, dy: jnp.where(x <= 0, 0, dy))


def relu6_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """The rectified linear unit, cut at 6.

        y = min(max(x, 0), 6)

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: 1 between 0 and 6, 0 outside, 0 at the kinks x = 0 and x = 6.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.relu6_fwd(jnp.array([-1.0, 2.0, 6.0]))
      >>> backprop.relu6_bwd(residuals, jnp.ones(3))[0]
      Array([0., 1., 0.], dtype=float32)

    Source: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
    """
    return forward("relu6", x, lambda x: jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x)))


def relu6_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `relu6_fwd`.

        dx = dy if 0 < x < 6, else 0

    Args:
      residuals: those that `relu6_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `relu6_fwd`.

    Source: the chain rule; see `relu6_fwd`.
    """
    return backward("relu6", residuals, dy, lambda x, dy: jnp.where((x <= 0) | (x >= 6), 0, dy))


def leaky_relu_fwd(x: ArrayLike, *, negative_slope: float = 0.01) -> tuple[Array, UnitResiduals]:
    """A rectifier that lets a little through below zero, so that no unit dies.

        y = x if x > 0, else negative_slope · x

    Args:
      x: any shape, floating.
      negative_slope: the slope below zero.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if the slope is not finite.

    Gradient: 1 above 0, `negative_slope` below and at the kink x = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.leaky_relu_fwd(jnp.array([-1.0, 0.0, 2.0]), negative_slope=0.5)
      >>> backprop.leaky_relu_bwd(residuals, jnp.ones(3))[0]
      Array([0.5, 0.5, 1. ], dtype=float32)

    Source: Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """
    slope = _checks.number("backprop.leaky_relu_fwd", "negative_slope", negative_slope)
    return forward("leaky_relu", x, lambda x, slope: jnp.where(x > 0, x, slope * x), slope)


def leaky_relu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `leaky_relu_fwd`.

        dx = dy if x > 0, else negative_slope · dy

    Args:
      residuals: those that `leaky_relu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `leaky_relu_fwd`.

    Source: the chain rule; see `leaky_relu_fwd`.
    """
    return backward("leaky_relu", residuals, dy, lambda x, dy, slope: jnp.where(x > 0, dy, slope * dy))


def thresholded_relu_fwd(x: ArrayLike, *, threshold: float) -> tuple[Array, UnitResiduals]:
    """A rectifier that opens at a threshold, with a jump.

        y = x if x > θ, else 0

    Args:
      x: any shape, floating.
      threshold: θ, where it opens; rounded to the dtype of `x`.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating; ValueError if the threshold is not finite.

    Gradient: 1 above θ, 0 below and at the jump x = θ.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.thresholded_relu_fwd(jnp.array([0.5, 1.0, 2.0]), threshold=1.0)
      >>> backprop.thresholded_relu_bwd(residuals, jnp.ones(3))[0]
      Array([0., 0., 1.], dtype=float32)

    Source: Konda, Memisevic & Krueger 2015, "Zero-bias autoencoders and the benefits of co-adapting features".
    """
    values = _checks.floating("backprop.thresholded_relu_fwd", "x", x)
    _checks.number("backprop.thresholded_relu_fwd", "threshold", threshold)
    return forward("thresholded_relu", values, lambda x, theta: jnp.where(x <= theta, 0, x), rounded(threshold, values))


def thresholded_relu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `thresholded_relu_fwd`.

        dx = dy if x > θ, else 0

    Args:
      residuals: those that `thresholded_relu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `thresholded_relu_fwd`.

    Source: the chain rule; see `thresholded_relu_fwd`.
    """
    return backward("thresholded_relu", residuals, dy, lambda x, dy, theta: jnp.where(x <= theta, 0, dy))


class PReLUResiduals(NamedTuple):
    """What `prelu_fwd` saves: both arguments."""

    x: Array
    slope: Array


def prelu_fwd(x: ArrayLike, slope: ArrayLike) -> tuple[Array, PReLUResiduals]:
    """A leaky rectifier whose slope is learned.

        y = x if x > 0, else slope · x

    Args:
      x: (*batch, C), floating.
      slope: one number, (), or one a channel, (C,), in the dtype of `x`; a parameter.

    Returns: y in the shape and dtype of `x`, and the residuals: `x` and `slope`.

    Raises: TypeError if one is not floating or the dtypes differ; ValueError if `slope` has neither of the two shapes.

    Gradient: in `x`, 1 above 0, `slope` below and at the kink x = 0; in `slope`, the sum of x over x < 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.prelu_fwd(jnp.array([-3.0, 2.0]), jnp.array(0.5))
      >>> backprop.prelu_bwd(residuals, jnp.ones(2))
      (Array([0.5, 1. ], dtype=float32), Array(-3., dtype=float32))

    Source: He, Zhang, Ren & Sun 2015, "Delving deep into rectifiers", section 2.1.
    """
    name = "backprop.prelu_fwd"
    values, factor = _checks.floating(name, "x", x), _checks.floating(name, "slope", slope)
    if isinstance(slope, (int, float)):
        factor = factor.astype(values.dtype)
    if factor.shape not in ((), values.shape[-1:]):
        raise _checks.value_error(
            name, "slope", f"shape {factor.shape}", f"() or {values.shape[-1:]}", "Channels come last."
        )
    _checks.same_dtype(name, values, "slope", factor)
    wide = widen(values)
    y = jnp.where(wide > 0, wide, broadcast_to_rank(widen(factor), wide.ndim) * wide)
    return y.astype(values.dtype), PReLUResiduals(values, factor)


def prelu_bwd(residuals: PReLUResiduals, dy: ArrayLike) -> tuple[Array, Array]:
    """The gradient of `prelu_fwd`.

        dx = dy if x > 0, else slope · dy
        dslope_c = Σ_{x_bc ≤ 0} dy_bc x_bc

    Args:
      residuals: those that `prelu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx, dslope)`, in the shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `prelu_fwd`.

    Source: He et al. 2015, eq. 3; see `prelu_fwd`.
    """
    name = "backprop.prelu_bwd"
    x, slope = saved(name, residuals, PReLUResiduals)
    pulled = cotangent(name, dy, x.shape, x.dtype)
    wide = widen(x)
    dx = jnp.where(wide > 0, pulled, broadcast_to_rank(widen(slope), x.ndim) * pulled)
    # where, not a product with 0: an infinite x above the kink must not reach the slope.
    share = jnp.where(wide > 0, 0, pulled * wide)
    dslope = share.sum(tuple(range(x.ndim - slope.ndim)))
    return dx.astype(x.dtype), dslope.astype(slope.dtype)
