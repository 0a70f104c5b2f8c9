"""Pooling to a given size: as many windows as are asked for, spread evenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore._windows import WindowAxis
from dlcore.kernels.windows import window_argmax, window_max, window_sum
from dlcore.nn.global_pooling import global_max_pool

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "adaptive_max_pool_with_indices"]


def adaptive_max_pool(x: ArrayLike, output_size: int | Sequence[int | None]) -> Array:
    """The largest value of each of as many windows as are asked for.

        y[…, i, c] = max_q x[…, q, c]  over ⌊i · n / m⌋ ≤ q < ⌈(i + 1) · n / m⌉

    n is the size of a spatial axis and m the size asked for. Windows overlap where m does not divide n, and repeat
    inputs where m is larger. These are PyTorch's windows, but an int is one axis here, not all of them.

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      output_size: m for each spatial axis: `(7, 7)` for images; `None` among them keeps that axis' size. An int is one
        axis, the last before the channels.

    Returns:
      y: (*batch, *output_size, C), in the dtype of `x`. A window that holds NaN gives NaN.

    Raises:
      ValueError: if a size is below 1, or `x` has too few axes or an empty spatial axis.
      TypeError: if `x` is not an array of numbers, or `output_size` is not made of ints and `None`.

    Gradient: goes to the first maximal element of each window, in row-major order, and to no other; NaN is a maximum.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.adaptive_max_pool(jnp.array([[1.0], [5.0], [2.0], [4.0], [3.0]]), 2).ravel()
      Array([5., 4.], dtype=float32)

    Source: He, Zhang, Ren & Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition",
    section 2.2.
    """
    values, bins = _gathered("nn.adaptive_max_pool", x, output_size)
    if all(b.axis.outputs == 1 for b in bins):
        # One reduction, where long windows would be folded in many steps.
        axes = tuple(range(-1 - len(bins), -1))
        return jnp.expand_dims(global_max_pool(values, axes=axes), axes)
    return window_max(values, tuple(b.axis for b in bins))


def adaptive_max_pool_with_indices(x: ArrayLike, output_size: int | Sequence[int | None]) -> tuple[Array, Array]:
    """The largest value of each of as many windows as are asked for, and where it stands.

        y[…, i, c] = max_q x[…, q, c] = x[…, indices[…, i, c], c]  over ⌊i · n / m⌋ ≤ q < ⌈(i + 1) · n / m⌉

    Indices count the flattened spatial axes of `x`, row-major, as those of `max_pool_with_indices`.

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      output_size: as in `adaptive_max_pool`.

    Returns:
      `(y, indices)`, both (*batch, *output_size, C): y in the dtype of `x`; indices int32, of the first maximal element
      in row-major order. NaN is a maximum, and then the first NaN's index is given.

    Raises:
      ValueError: if a size is below 1, or `x` has too few axes or an empty spatial axis.
      TypeError: if `x` is not an array of numbers, or `output_size` is not made of ints and `None`.

    Gradient: that of y goes to the first maximal element of each window, as `adaptive_max_pool`'s; indices have none.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> x = jnp.array([[1.0], [5.0], [2.0], [4.0], [3.0]])
      >>> y, indices = nn.adaptive_max_pool_with_indices(x, 2)
      >>> y.ravel(), indices.ravel()
      (Array([5., 4.], dtype=float32), Array([1, 3], dtype=int32))

    Source: He, Zhang, Ren & Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition",
    section 2.2.
    """
    values, bins = _gathered("nn.adaptive_max_pool_with_indices", x, output_size)
    y, places = window_argmax(values, tuple(b.axis for b in bins))
    # From places among the gathered inputs to places in x, an axis at a time, the last first: a tap after its bin's
    # start. A repeated input is never the first.
    indices, step = jnp.zeros_like(places), 1
    for b in reversed(bins):
        place = places % b.axis.inputs
        indices += step * (place // b.axis.size * b.size // b.axis.outputs + place % b.axis.size)
        places //= b.axis.inputs
        step *= b.size
    return y, indices


def adaptive_avg_pool(x: ArrayLike, output_size: int | Sequence[int | None]) -> Array:
    """The mean of each of as many windows as are asked for.

        y[…, i, c] = mean_q x[…, q, c]  over ⌊i · n / m⌋ ≤ q < ⌈(i + 1) · n / m⌉

    n is the size of a spatial axis and m the size asked for; see `adaptive_max_pool`.

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      output_size: as in `adaptive_max_pool`.

    Returns:
      y: (*batch, *output_size, C), in the dtype of `x` (float32 for integers); sums are accumulated in float32 or
      wider.

    Raises:
      ValueError: if a size is below 1, or `x` has too few axes or an empty spatial axis.
      TypeError: if `x` is not an array of numbers, or `output_size` is not made of ints and `None`.

    Gradient: linear in `x`; each input of a window gets 1 / (inputs of the window).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.adaptive_avg_pool(jnp.array([[1.0], [5.0], [3.0], [4.0], [2.0]]), 2).ravel()
      Array([3., 3.], dtype=float32)

    Source: He, Zhang, Ren & Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition",
    section 2.2.
    """
    values, bins = _gathered("nn.adaptive_avg_pool", x, output_size)
    dtype = values.dtype if jnp.issubdtype(values.dtype, np.floating) else jnp.dtype(jnp.float32)
    mean = values.astype(compute_dtype(dtype))
    for offset, b in enumerate(bins):
        shape = (b.axis.inputs, *(1,) * (len(bins) - offset))
        if not b.first.all():
            mean = jnp.where(jnp.asarray(b.first.reshape((1,) * (mean.ndim - len(shape)) + shape)), mean, 0)
    total = window_sum(mean, tuple(b.axis for b in bins))
    counts = np.ones((), int)
    for b in bins:
        counts = counts[..., None] * b.first.reshape(b.axis.outputs, b.axis.size).sum(1)
    divisor = jnp.asarray(counts[..., None].reshape((1,) * (total.ndim - 1 - len(bins)) + counts.shape + (1,)))
    return (total / divisor.astype(total.dtype)).astype(dtype)


class Bins(NamedTuple):
    """The bins of one spatial axis, as windows side by side over its inputs, some of which are gathered twice."""

    # The windows over the gathered inputs.
    axis: WindowAxis
    # The size of the axis before.
    size: int
    # Which input stands at each place, and whether for the first time in its bin: a shorter one repeats its last.
    inputs: np.ndarray
    first: np.ndarray


def _bins(n: int, m: int) -> Bins:
    starts = np.arange(m, dtype=np.int64) * n // m
    ends = -(-(np.arange(m, dtype=np.int64) + 1) * n // m)
    size = int((ends - starts).max())
    inputs = starts[:, None] + np.arange(size)
    first = inputs < ends[:, None]
    axis = WindowAxis(m * size, m, size, size, 1, 0, 0)
    return Bins(axis, n, np.minimum(inputs, ends[:, None] - 1).ravel(), first.ravel())


def _gathered(name: str, x: ArrayLike, output_size: int | Sequence[int | None]) -> tuple[Array, list[Bins]]:
    """The numbers, each bin's side by side, and the bins of each spatial axis."""
    values = _checks.array(name, "x", x)
    if values.dtype == np.bool_:
        raise _checks.type_error(name, "x", _checks.describe(values), "numbers", "Cast it: x.astype(jax.numpy.int32).")
    asked: tuple[int | None, ...] = ()
    if isinstance(output_size, int | np.integer):
        asked = (output_size,)
    elif isinstance(output_size, Sequence):
        asked = tuple(output_size)
    if not asked:
        raise _checks.type_error(
            name, "output_size", _checks.describe(output_size), "an int or a tuple, one entry for each spatial axis",
            "(7, 7) for images; None among them keeps that axis' size.",
        )  # fmt: skip
    if values.ndim < len(asked) + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(values),
            f"{len(asked)} spatial axes, as `output_size` {asked} has, and channels",
            "Channels come last; one channel is an axis of size 1.",
        )  # fmt: skip
    space = values.shape[-1 - len(asked) : -1]
    sizes = [
        n if m is None else _checks.integer(name, "output_size", m, low=1) for n, m in zip(space, asked, strict=True)
    ]
    if 0 in space:
        raise _checks.value_error(
            name, "x", _checks.describe(values), "at least one position on each pooled axis",
            "There is nothing to pool.",
        )  # fmt: skip
    bins = [_bins(n, m) for n, m in zip(space, sizes, strict=True)]
    for offset, b in enumerate(bins):
        values = _take(values, values.ndim - 1 - len(bins) + offset, b)
    return values, bins


def _take(x: Array, axis: int, b: Bins) -> Array:
    """The gathered inputs: none to gather where m divides n, and where n divides m, each is repeated."""
    n, m = b.size, b.axis.outputs
    if n % m == 0:
        return x
    if m % n == 0:
        lead, rest = x.shape[:axis], x.shape[axis + 1 :]
        return jnp.broadcast_to(x.reshape(*lead, n, 1, *rest), (*lead, n, m // n, *rest)).reshape(*lead, m, *rest)
    return jnp.take(x, jnp.asarray(b.inputs, jnp.int32), axis=axis, mode="clip")
