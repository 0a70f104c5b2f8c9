"""Units of several inputs: products with a gate, and the largest of several pieces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid as sigma

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike
from dlcore.backprop._boundary import cotangent, saved, widen
from dlcore.backprop.activations._elementwise import UnitResiduals
from dlcore.backprop.activations.smooth import gelu, gelu_slope, silu, silu_slope

__all__ = [
    "geglu_bwd", "geglu_fwd", "glu_bwd", "glu_fwd", "maxout_bwd", "maxout_fwd", "swiglu_bwd", "swiglu_fwd",
]  # fmt: skip


def glu_fwd(x: ArrayLike, *, axis: int = -1) -> tuple[Array, UnitResiduals]:
    """The gated linear unit: one half of the features, gated by the other.

        y = a · σ(b),   x = [a, b]

    Args:
      x: any shape, floating, of even size along `axis`.
      axis: along which it is split.

    Returns: y in the dtype of `x`, half as long along `axis`, and the residuals: `x`.

    Raises: ValueError if `axis` is none of `x`, or its size is odd; TypeError if `x` is not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.glu_fwd(jnp.array([2.0, 0.0]))
      >>> backprop.glu_bwd(residuals, jnp.ones(1))[0]
      Array([0.5, 0.5], dtype=float32)

    Source: Dauphin, Fan, Auli & Grangier 2017, "Language modeling with gated convolutional networks".
    """
    name = "backprop.glu_fwd"
    values = _checks.floating(name, "x", x)
    index = _checks.integer(name, "axis", axis, low=-values.ndim)
    if index >= values.ndim or values.shape[index] % 2:
        raise _checks.value_error(
            name, "x", _checks.describe(values), f"an even size along axis {axis}", "It is split into two halves."
        )
    a, b = jnp.split(widen(values), 2, index)
    return (a * sigma(b)).astype(values.dtype), UnitResiduals(values, "glu", (index,))


def glu_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `glu_fwd`.

        dx = [dy · σ(b), dy · a σ(b) (1 − σ(b))]

    Args:
      residuals: those that `glu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `glu_fwd`.

    Source: Dauphin et al. 2017, eq. 3; see `glu_fwd`.
    """
    name = "backprop.glu_bwd"
    residuals = saved(name, residuals, UnitResiduals, "glu")
    (axis,) = residuals.options
    a, b = jnp.split(widen(residuals.x), 2, axis)
    pulled = cotangent(name, dy, a.shape, residuals.x.dtype)
    dx = jnp.concatenate([pulled * sigma(b), pulled * a * sigma(b) * sigma(-b)], axis)
    return (dx.astype(residuals.x.dtype),)


@partial(jax.tree_util.register_dataclass, data_fields=["a", "b"], meta_fields=["unit"])
@dataclass(frozen=True)
class GatedResiduals:
    """What a product with a gate saves: both arguments; and whose it is."""

    a: Array
    b: Array
    unit: str


def swiglu_fwd(a: ArrayLike, b: ArrayLike) -> tuple[Array, GatedResiduals]:
    """A linear unit gated by a silu.

        y = silu(a) · b

    Args:
      a: the gate, any shape, floating.
      b: the values, in the shape and dtype of `a`.

    Returns: y in the shape and dtype of `a`, and the residuals: `a` and `b`.

    Raises: ValueError if the shapes differ; TypeError if one is not floating, or the dtypes differ.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.swiglu_fwd(jnp.array([0.0]), jnp.array([3.0]))
      >>> backprop.swiglu_bwd(residuals, jnp.ones(1))
      (Array([1.5], dtype=float32), Array([0.], dtype=float32))

    Source: Shazeer 2020, "GLU variants improve transformer", eq. 5.
    """
    gate, values = _pair("backprop.swiglu_fwd", a, b)
    return (silu(widen(gate)) * widen(values)).astype(gate.dtype), GatedResiduals(gate, values, "swiglu")


def swiglu_bwd(residuals: GatedResiduals, dy: ArrayLike) -> tuple[Array, Array]:
    """The gradient of `swiglu_fwd`.

        da = dy · b · silu′(a),   db = dy · silu(a),   silu′(a) = σ(a) + a σ(a) (1 − σ(a))

    Args:
      residuals: those that `swiglu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(da, db)`, in the shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `swiglu_fwd`.

    Source: the product rule; see `swiglu_fwd`.
    """
    a, b, pulled = _opened("swiglu", residuals, dy)
    dtype = residuals.a.dtype
    return (pulled * b * silu_slope(a)).astype(dtype), (pulled * silu(a)).astype(dtype)


def geglu_fwd(a: ArrayLike, b: ArrayLike) -> tuple[Array, GatedResiduals]:
    """A linear unit gated by a gelu.

        y = gelu(a) · b

    Args:
      a: the gate, any shape, floating; its gelu is the tanh form.
      b: the values, in the shape and dtype of `a`.

    Returns: y in the shape and dtype of `a`, and the residuals: `a` and `b`.

    Raises: ValueError if the shapes differ; TypeError if one is not floating, or the dtypes differ.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.geglu_fwd(jnp.array([0.0]), jnp.array([3.0]))
      >>> backprop.geglu_bwd(residuals, jnp.ones(1))
      (Array([1.5], dtype=float32), Array([0.], dtype=float32))

    Source: Shazeer 2020, "GLU variants improve transformer", eq. 5.
    """
    gate, values = _pair("backprop.geglu_fwd", a, b)
    return (gelu(widen(gate), True) * widen(values)).astype(gate.dtype), GatedResiduals(gate, values, "geglu")


def geglu_bwd(residuals: GatedResiduals, dy: ArrayLike) -> tuple[Array, Array]:
    """The gradient of `geglu_fwd`.

        da = dy · b · gelu′(a),   db = dy · gelu(a)

    Args:
      residuals: those that `geglu_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(da, db)`, in the shapes and dtypes of the two arguments; gelu′ as in `gelu_bwd`.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `geglu_fwd`.

    Source: the product rule; see `geglu_fwd`.
    """
    a, b, pulled = _opened("geglu", residuals, dy)
    dtype = residuals.a.dtype
    return (pulled * b * gelu_slope(a, True)).astype(dtype), (pulled * gelu(a, True)).astype(dtype)


@partial(jax.tree_util.register_dataclass, data_fields=["index"], meta_fields=["pieces", "dtype"])
@dataclass(frozen=True)
class MaxoutResiduals:
    """What `maxout_fwd` saves: which piece won, (*batch, D // pieces); how many there were, and the dtype of x."""

    index: Array
    pieces: int
    dtype: Any


def maxout_fwd(x: ArrayLike, *, pieces: int) -> tuple[Array, MaxoutResiduals]:
    """The largest of each run of `pieces` neighbouring features.

        y_i = max_{j < pieces} x_{i · pieces + j}

    Args:
      x: (*batch, D), floating.
      pieces: how many features compete; it divides D.

    Returns: y: (*batch, D // pieces), in the dtype of `x`, and the residuals: which piece won, an integer.

    Raises: ValueError if `pieces` does not divide D; TypeError if `x` is not floating, or `pieces` not an int.

    Gradient: goes to the first maximal piece; NaN is a maximum.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.maxout_fwd(jnp.array([1.0, 3.0, 2.0, 2.0]), pieces=2)
      >>> backprop.maxout_bwd(residuals, jnp.ones(2))[0]
      Array([0., 1., 1., 0.], dtype=float32)

    Source: Goodfellow, Warde-Farley, Mirza, Courville & Bengio 2013, "Maxout networks".
    """
    name = "backprop.maxout_fwd"
    values = _checks.floating(name, "x", x)
    count = _checks.integer(name, "pieces", pieces, low=1)
    if values.ndim == 0 or values.shape[-1] == 0 or values.shape[-1] % count:
        raise _checks.value_error(
            name, "pieces", count, f"a divisor of the last axis of x, {values.shape[-1:]}", "Widen the layer before."
        )
    runs = values.reshape((*values.shape[:-1], values.shape[-1] // count, count))
    index = jnp.argmax(runs, axis=-1)
    y = jnp.take_along_axis(runs, index[..., None], axis=-1)[..., 0]
    small = index.astype(jnp.uint8 if count <= 256 else jnp.int32)
    return y, MaxoutResiduals(small, count, values.dtype)


def maxout_bwd(residuals: MaxoutResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `maxout_fwd`.

        dx_{i · pieces + j} = dy_i if j is the first maximal piece of run i, else 0

    Args:
      residuals: those that `maxout_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `maxout_fwd`.

    Source: Goodfellow et al. 2013; see `maxout_fwd`.
    """
    name = "backprop.maxout_bwd"
    residuals = saved(name, residuals, MaxoutResiduals)
    index, count = residuals.index, residuals.pieces
    pulled = cotangent(name, dy, index.shape, residuals.dtype)
    piece = broadcast_to_rank(jnp.arange(count, dtype=index.dtype), index.ndim + 1)
    runs = jnp.where(index[..., None] == piece, pulled[..., None], 0)
    return (runs.reshape((*index.shape[:-1], index.shape[-1] * count)).astype(residuals.dtype),)


def _pair(name: str, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    gate, values = _checks.floating(name, "a", a), _checks.floating(name, "b", b)
    _checks.same_shape(name, "a", gate, "b", values)
    _checks.same_dtype(name, gate, "b", values)
    return gate, values


def _opened(unit: str, residuals: GatedResiduals, dy: ArrayLike) -> tuple[Array, Array, Array]:
    name = f"backprop.{unit}_bwd"
    kept = saved(name, residuals, GatedResiduals, unit)
    return widen(kept.a), widen(kept.b), cotangent(name, dy, kept.a.shape, kept.a.dtype)
