"""The chain rule through pooling: to the first of the largest, or in equal shares to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, Padding, Spatial
from dlcore._windows import WindowAxis
from dlcore.backprop import _taps
from dlcore.backprop._boundary import cotangent, saved, widen

__all__ = [
    "AvgPoolResiduals", "GlobalAvgPoolResiduals", "MaxPoolResiduals", "avg_pool_bwd", "avg_pool_fwd",
    "global_avg_pool_bwd", "global_avg_pool_fwd", "max_pool_bwd", "max_pool_fwd",
]  # fmt: skip


@partial(jax.tree_util.register_dataclass, data_fields=["index"], meta_fields=["axes", "dtype"])
@dataclass(frozen=True)
class MaxPoolResiduals:
    """What `max_pool_fwd` saves: which tap of each window won, in row-major order; one byte for up to 256 taps."""

    index: Array
    axes: tuple[WindowAxis, ...]
    dtype: Any


def max_pool_fwd(
    x: ArrayLike,
    *,
    window: int | Sequence[int],
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    dilation: Spatial = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPoolResiduals]:
    """The largest value of each window.

        y[…, p, c] = max_j x[…, p · strides + j · dilation − low, c]

    Args:
      x: (*batch, *space, C), floating.
      window: the window's sizes, one for each spatial axis; an int is one axis.
      strides: the step between windows; `None` means `window`.
      padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (one axis), or a (low, high) pair for each spatial axis.
      dilation: the step between a window's taps.
      ceil_mode: the last window may reach past the padded input.

    Returns: y: (*batch, *space', C), in the dtype of `x`, and the residuals: the index of the first maximal tap of each
    window, an integer. One slice a tap: this is the derivation, for windows of few taps; `nn.max_pool` folds long ones.

    Raises: ValueError if a window does not fit; TypeError if `x` is not floating, or the window not made of ints.

    Gradient: goes to the first maximal element, in row-major order; NaN is a maximum, padding never is.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.max_pool_fwd(jnp.array([[1.0], [3.0], [2.0], [2.0]]), window=2)
      >>> backprop.max_pool_bwd(residuals, jnp.ones((2, 1)))[0].ravel()
      Array([0., 1., 1., 0.], dtype=float32)

    Source: Ranzato, Huang, Boureau & LeCun 2007, "Unsupervised learning of invariant feature hierarchies".
    """
    values, axes = _taps.opened("backprop.max_pool_fwd", x, window, strides, padding, dilation, ceil_mode, "half")
    y, index = _taps.first_maximum(values, axes)
    return y, MaxPoolResiduals(index, axes, values.dtype)


def max_pool_bwd(residuals: MaxPoolResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `max_pool_fwd`: each window's error goes to the element that won it.

        dx[…, q, c] = Σ_p dy[…, p, c] · [q = p · strides + j*(p, c) · dilation − low],   j* the saved index

    Args:
      residuals: those that `max_pool_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `max_pool_fwd`.

    Source: the chain rule; see `max_pool_fwd`.
    """
    name = "backprop.max_pool_bwd"
    kept = saved(name, residuals, MaxPoolResiduals)
    pulled = cotangent(name, dy, kept.index.shape, kept.dtype)
    dx = _taps.total(
        _taps.write(jnp.where(kept.index == number, pulled, 0), kept.axes, tap)
        for number, tap in enumerate(_taps.each(kept.axes))
    )
    return (_taps.crop(dx, kept.axes).astype(kept.dtype),)


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["axes", "counts_padding", "shape", "dtype"])
@dataclass(frozen=True)
class AvgPoolResiduals:
    """What `avg_pool_fwd` saves: no values, since it is linear; the windows, and the shape and dtype of y."""

    axes: tuple[WindowAxis, ...]
    counts_padding: bool
    shape: tuple[int, ...]
    dtype: Any


def avg_pool_fwd(
    x: ArrayLike,
    *,
    window: int | Sequence[int],
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    count_include_padding: bool = False,
    dilation: Spatial = 1,
) -> tuple[Array, AvgPoolResiduals]:
    """The mean of each window.

        y[…, p, c] = (1 / n_p) Σ_j x[…, p · strides + j · dilation − low, c]

    Args:
      x: (*batch, *space, C), floating.
      window: the window's sizes, one for each spatial axis; an int is one axis.
      strides: the step between windows; `None` means `window`.
      padding: as in `max_pool_fwd`, but wide as it may be while every window holds an input.
      ceil_mode: as in `max_pool_fwd`; what it reaches beyond the padding never counts.
      count_include_padding: whether n_p counts padding, or the window's inputs alone.
      dilation: the step between a window's taps.

    Returns: y: (*batch, *space', C), in the dtype of `x`, and the residuals: the windows, no values.

    Raises: ValueError if a window does not fit; TypeError if `x` is not floating, or the window not made of ints.

    Gradient: linear.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.avg_pool_fwd(jnp.ones((3, 1)), window=2, strides=1, padding="SAME")
      >>> backprop.avg_pool_bwd(residuals, jnp.ones((3, 1)))[0].ravel()
      Array([0.5, 1. , 1.5], dtype=float32)

    Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    values, axes = _taps.opened("backprop.avg_pool_fwd", x, window, strides, padding, dilation, ceil_mode, "window")
    padded = _taps.pad(widen(values), axes, 0)
    total = _taps.total(_taps.read(padded, axes, tap) for tap in _taps.each(axes))
    y = (total / _taps.divisor(axes, count_include_padding, total)).astype(values.dtype)
    return y, AvgPoolResiduals(axes, bool(count_include_padding), y.shape, y.dtype)


def avg_pool_bwd(residuals: AvgPoolResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `avg_pool_fwd`: each window's error, in equal shares, to all its inputs.

        dx[…, q, c] = Σ_{p, j: q = p · strides + j · dilation − low} dy[…, p, c] / n_p

    Args:
      residuals: those that `avg_pool_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `avg_pool_fwd`.

    Source: the chain rule; see `avg_pool_fwd`.
    """
    name = "backprop.avg_pool_bwd"
    kept = saved(name, residuals, AvgPoolResiduals)
    pulled = cotangent(name, dy, kept.shape, kept.dtype)
    share = pulled / _taps.divisor(kept.axes, kept.counts_padding, pulled)
    dx = _taps.total(_taps.write(share, kept.axes, tap) for tap in _taps.each(kept.axes))
    return (_taps.crop(dx, kept.axes).astype(kept.dtype),)


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["axes", "shape", "dtype"])
@dataclass(frozen=True)
class GlobalAvgPoolResiduals:
    """What `global_avg_pool_fwd` saves: no values, since it is linear; the axes, and the shape and dtype of x."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any


def global_avg_pool_fwd(x: ArrayLike, *, axes: int | Sequence[int]) -> tuple[Array, GlobalAvgPoolResiduals]:
    """The mean over whole spatial axes.

        y[…, c] = (1 / n) Σ_p x[…, p, c]

    Args:
      x: (*batch, *space, C), floating.
      axes: the spatial axes, negative: `(-3, -2)` for images. They are removed.

    Returns: y: (*batch, C), in the dtype of `x`, and the residuals: the shape of `x`, no values.

    Raises: ValueError if an axis is not negative, names the channels, or has size 0; TypeError if `x` is not floating.

    Gradient: linear.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.global_avg_pool_fwd(jnp.ones((4, 1)), axes=-2)
      >>> backprop.global_avg_pool_bwd(residuals, jnp.ones(1))[0].ravel()
      Array([0.25, 0.25, 0.25, 0.25], dtype=float32)

    Source: Lin, Chen & Yan 2014, "Network in network", section 3.2.
    """
    name = "backprop.global_avg_pool_fwd"
    values = _checks.floating(name, "x", x)
    chosen = _checks.axes(name, "axes", axes, values.ndim)
    if any(values.shape[axis] == 0 for axis in chosen):
        raise _checks.value_error(
            name, "x", _checks.describe(values), "at least one position on each pooled axis", "Nothing has no mean."
        )
    y = widen(values).mean(chosen).astype(values.dtype)
    return y, GlobalAvgPoolResiduals(chosen, values.shape, values.dtype)


def global_avg_pool_bwd(residuals: GlobalAvgPoolResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `global_avg_pool_fwd`: the error, in equal shares, to every position.

        dx[…, p, c] = dy[…, c] / n

    Args:
      residuals: those that `global_avg_pool_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `global_avg_pool_fwd`.

    Source: the chain rule; see `global_avg_pool_fwd`.
    """
    name = "backprop.global_avg_pool_bwd"
    kept = saved(name, residuals, GlobalAvgPoolResiduals)
    pooled = [axis + len(kept.shape) for axis in kept.axes]
    pulled = cotangent(name, dy, np.delete(kept.shape, pooled).tolist(), kept.dtype)
    count = np.prod([kept.shape[axis] for axis in pooled])
    share = jnp.expand_dims(pulled / float(count), pooled)
    return (jnp.broadcast_to(share, kept.shape).astype(kept.dtype),)
