"""Pooling over whole spatial axes: the mean, or the first maximum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore.kernels.windows import ranked

__all__ = ["global_avg_pool", "global_max_pool"]


def global_avg_pool(x: ArrayLike, *, axes: int | Sequence[int]) -> Array:
    """The mean over whole spatial axes.

        y[…, c] = mean_p x[…, p, c]

    Args:
      x: (*batch, *space, C), floating or integers.
      axes: the spatial axes, negative: `(-3, -2)` for images, `-2` for sequences. They are removed.

    Returns:
      y: (*batch, C), in the dtype of `x` (float32 for integers); the sum is accumulated in float32 or wider.

    Raises:
      ValueError: if an axis is not negative, names the channels or a repeated axis, or has size 0.
      TypeError: if `x` is not an array of numbers, or `axes` is not made of ints.

    Gradient: linear in `x`; each position gets 1 / (number of positions).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.global_avg_pool(jnp.arange(8.0).reshape(1, 2, 2, 2), axes=(-3, -2))
      Array([[3., 4.]], dtype=float32)

    Source: Lin, Chen & Yan 2014, "Network in network", section 3.2.
    """
    x, chosen = _opened("nn.global_avg_pool", x, axes, "There is no mean of nothing.")
    dtype = x.dtype if jnp.issubdtype(x.dtype, np.floating) else jnp.dtype(jnp.float32)
    return jnp.mean(x.astype(compute_dtype(dtype)), axis=chosen).astype(dtype)


def global_max_pool(x: ArrayLike, *, axes: int | Sequence[int]) -> Array:
    """The largest value over whole spatial axes.

        y[…, c] = max_p x[…, p, c]

    Args:
      x: (*batch, *space, C), floating or integers.
      axes: the spatial axes, negative: `(-3, -2)` for images, `-2` for sequences. They are removed.

    Returns:
      y: (*batch, C), in the dtype of `x`. A channel that holds NaN gives NaN.

    Raises:
      ValueError: if an axis is not negative, names the channels or a repeated axis, or has size 0.
      TypeError: if `x` is not an array of numbers, or `axes` is not made of ints.

    Gradient: goes to the first maximal element, in row-major order, and to no other; NaN is a maximum.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> x = jnp.array([[1.0], [3.0], [3.0]])
      >>> nn.global_max_pool(x, axes=-2)
      Array([3.], dtype=float32)
      >>> jax.grad(lambda x: nn.global_max_pool(x, axes=-2).sum())(x).ravel()
      Array([0., 1., 0.], dtype=float32)

    Source: Oquab, Bottou, Laptev & Sivic 2015, "Is object localization for free?", section 3.
    """
    x, chosen = _opened("nn.global_max_pool", x, axes, "There is no maximum of nothing.")
    # The pooled axes beside the channels, in their order, then as one: "first" stays row-major.
    x = jnp.moveaxis(x, chosen, range(-1 - len(chosen), -1))
    kept, pooled = x.shape[: -1 - len(chosen)], x.shape[-1 - len(chosen) : -1]
    return _first_max(x.reshape(*kept, math.prod(pooled), x.shape[-1]), -2)


def _first_max(x: Array, axis: int) -> Array:
    """The maximum along `axis`, which is removed: its first element that is maximal (or NaN).

    Three reductions that compilers vectorise: an argmax runs as a scalar loop on CPU, several times slower, and taking
    by its index has a scatter for a gradient.
    """
    axis %= x.ndim
    ranks = ranked(x)
    hit = ranks == ranks.max(axis, keepdims=True)
    place = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    first = place == jnp.where(hit, place, x.shape[axis]).min(axis, keepdims=True)
    return jnp.where(first, x, 0).sum(axis, dtype=x.dtype)


def _opened(name: str, x: ArrayLike, axes: int | Sequence[int], why: str) -> tuple[Array, tuple[int, ...]]:
    values = _checks.array(name, "x", x)
    if values.dtype == np.bool_:
        raise _checks.type_error(name, "x", _checks.describe(values), "numbers", "Cast it: x.astype(jax.numpy.int32).")
    chosen = _checks.axes(name, "axes", axes, values.ndim)
    if any(values.shape[axis] == 0 for axis in chosen):
        raise _checks.value_error(name, "x", _checks.describe(values), "at least one position on each pooled axis", why)
    return values, chosen
