"""The way back from max pooling: values return to where they were found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike

__all__ = ["max_unpool"]


def max_unpool(x: ArrayLike, indices: ArrayLike, shape: int | Sequence[int]) -> Array:
    """Puts every value back to the place that its index names, and zeros everywhere else.

        y[…, q, c] = x[…, p, c]  for the last p with indices[…, p, c] = q, and 0 if there is none

    q runs over the flattened spatial axes of y, row-major, as `max_pool_with_indices` counts them. Where windows
    overlapped, one place can be named several times, by equal values: it holds that value, as in PyTorch, not their
    sum.

    Args:
      x: (*batch, *space', C), floating or integers: what was pooled; any batch axes, or none.
      indices: integers in the shape of `x`, in [0, the product of `shape`).
      shape: the spatial sizes of y, as many as `x` has spatial axes; an int is one axis.

    Returns:
      y: (*batch, *shape, C), in the dtype of `x`. An index outside the map, a negative one too, has no place: for
      floating `x`, its example's channel is NaN as a whole; for integers, which have no NaN, the value is left out.

    Raises:
      ValueError: if `indices` have another shape than `x`, or a size is below 1.
      TypeError: if `x` is not an array of numbers, or `indices` are not integers.

    Gradient: each value gathers the cotangent of its place; one that another value took over from it, or in a channel
    of NaN, gets 0. On every backend the last value in row-major order stays.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> y, indices = nn.max_pool_with_indices(jnp.array([[1.0], [3.0], [2.0], [2.0]]), 2)
      >>> nn.max_unpool(y, indices, 4).ravel()
      Array([0., 3., 2., 0.], dtype=float32)

    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 2.1.
    """
    name = "nn.max_unpool"
    x = _checks.array(name, "x", x)
    if x.dtype == np.bool_:
        raise _checks.type_error(name, "x", _checks.describe(x), "numbers", "Cast it: x.astype(jax.numpy.int32).")
    if not isinstance(shape, int | np.integer) and (not isinstance(shape, Sequence) or len(shape) == 0):
        raise _checks.type_error(
            name, "shape", _checks.describe(shape), "an int or a tuple of ints, one for each spatial axis",
            "The spatial sizes alone, without batch and channels: (28, 28) for images.",
        )  # fmt: skip
    sizes = _checks.spatial(name, "shape", shape, 1 if isinstance(shape, int | np.integer) else len(shape))
    if x.ndim < len(sizes) + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(x), f"{len(sizes)} spatial axes, as `shape` {sizes} has, and channels",
            "Channels come last; one channel is an axis of size 1.",
        )  # fmt: skip
    given = _checks.integers(name, "indices", indices, "Pass what max_pool_with_indices returned.")
    _checks.same_shape(name, "x", x, "indices", given)

    batch, space, channels = x.shape[: -1 - len(sizes)], x.shape[-1 - len(sizes) : -1], x.shape[-1]
    rows, values, places = math.prod(batch), math.prod(space), math.prod(sizes)
    flat, given = (a.reshape(rows, values, channels) for a in (x, given))
    inside = (given >= 0) & (given < places)
    place = jnp.where(inside, given, places).astype(jnp.int32)
    row = jnp.arange(rows, dtype=jnp.int32)[:, None, None]
    channel = jnp.arange(channels, dtype=jnp.int32)[None, None, :]

    # Which value is the last to name each place: a scatter of values themselves would leave that to the backend, and
    # its gradient would reach all of them. With the others sent outside, each place is named once, so that adding is
    # setting, whose transpose is a gather.
    order = jnp.broadcast_to(jnp.arange(values, dtype=jnp.int32)[None, :, None], place.shape)
    last = jnp.full((rows, places, channels), -1, jnp.int32).at[row, place, channel].max(order, mode="drop")
    kept = last.at[row, place, channel].get(mode="fill", fill_value=-1) == order
    y = jnp.zeros((rows, places, channels), x.dtype)
    y = y.at[row, jnp.where(kept, place, places), channel].add(flat, mode="drop")
    if jnp.issubdtype(x.dtype, np.inexact):
        y = jnp.where(inside.all(1, keepdims=True), y, jnp.nan)
    return y.reshape(*batch, *sizes, channels)
