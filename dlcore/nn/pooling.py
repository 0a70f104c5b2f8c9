"""Max and average pooling over any number of spatial axes, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, Padding, Spatial
from dlcore._windows import PaddingLimit, WindowAxis, resolve_windows
from dlcore.kernels.windows import window_argmax, window_max, window_sum

__all__ = ["avg_pool", "max_pool", "max_pool_with_indices", "pooling_axes"]


def max_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    dilation: Spatial = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest value of each window.

        y[…, p, c] = max_j x[…, p · strides + j · dilation − low, c]

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      window: the window's sizes, one for each spatial axis: `(2, 2)` for images. An int is one axis, the last
        before the channels.
      strides: the step between windows; `None` means `window`.
      padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (one axis), or a (low, high) pair for each spatial axis,
        at most half the window. Padding is never the maximum.
      dilation: the step between a window's taps.
      ceil_mode: the last window may reach past the padded input; one that would start past the input and its
        left padding is dropped.

    Returns:
      y: (*batch, *space', C), in the dtype of `x`. A window that holds NaN gives NaN.

    Raises:
      ValueError: if a window reaches beyond the input or would lie wholly in padding.
      TypeError: if `x` is not an array of numbers, or the window is not made of ints.

    Gradient: goes to the first maximal element of each window, in row-major order, and to no other; on every
    backend. Padding that ties with an input of −inf does not take it.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> x = jnp.array([[1.0], [3.0], [2.0], [2.0]])
      >>> nn.max_pool(x, 2).ravel()
      Array([3., 2.], dtype=float32)
      >>> jax.grad(lambda x: nn.max_pool(x, 2).sum())(x).ravel()
      Array([0., 1., 1., 0.], dtype=float32)

    Source: Ranzato, Huang, Boureau & LeCun 2007, "Unsupervised learning of invariant feature hierarchies".
    """
    name = "nn.max_pool"
    x, axes = pooling_axes(name, x, window, strides, padding, dilation, ceil_mode, limit="half")
    return window_max(x, axes)


def max_pool_with_indices(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    dilation: Spatial = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """The largest value of each window, and where it stands.

        y[…, p, c] = max_j x[…, p · strides + j · dilation − low, c] = x[…, indices[…, p, c], c]

    The second form reads the spatial axes of `x` as one, in row-major order, as PyTorch's indices do. ONNX's MaxPool
    counts through batch and channels as well, in its own layout: add their offsets.

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      window: the window's sizes, one for each spatial axis: `(2, 2)` for images. An int is one axis, the last
        before the channels.
      strides: the step between windows; `None` means `window`.
      padding: as in `max_pool`. An index never points into it.
      dilation: the step between a window's taps.
      ceil_mode: as in `max_pool`.

    Returns:
      `(y, indices)`, both (*batch, *space', C): y as `max_pool` gives it, in the dtype of `x`; indices int32, of the
      first maximal element in row-major order. NaN is a maximum, and then the first NaN's index is given.

    Raises:
      ValueError: if a window reaches beyond the input or would lie wholly in padding.
      TypeError: if `x` is not an array of numbers, or the window is not made of ints.

    Gradient: that of y goes to the first maximal element of each window, as `max_pool`'s; indices have none.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> y, indices = nn.max_pool_with_indices(jnp.array([[1.0], [3.0], [2.0], [2.0]]), 2)
      >>> y.ravel(), indices.ravel()
      (Array([3., 2.], dtype=float32), Array([1, 2], dtype=int32))

    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 2.1: the switches.
    """
    name = "nn.max_pool_with_indices"
    x, axes = pooling_axes(name, x, window, strides, padding, dilation, ceil_mode, limit="half")
    return window_argmax(x, axes)


def avg_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    count_include_padding: bool = False,
    dilation: Spatial = 1,
) -> Array:
    """The mean of each window.

        y[…, p, c] = (1 / n_p) Σ_j x[…, p · strides + j · dilation − low, c]

    n_p counts the window's inputs. With `count_include_padding` it counts padding too, as zeros; what ceil mode
    reaches beyond the padding never counts. Keras, ONNX and Flax (`count_include_pad=False`) leave padding out, as the
    default does here; PyTorch counts it by default.

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      window: the window's sizes, one for each spatial axis: `(2, 2)` for images. An int is one axis, the last
        before the channels.
      strides: the step between windows; `None` means `window`.
      padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (one axis), or a (low, high) pair for each spatial axis, so
        little that every window holds an input. (`max_pool` and PyTorch's poolings allow half the window.)
      ceil_mode: as in `max_pool`.
      count_include_padding: whether padding counts in the divisor.
      dilation: the step between a window's taps.

    Returns:
      y: (*batch, *space', C), in the dtype of `x` (float32 for integers); sums are accumulated in float32 or
      wider.

    Raises:
      ValueError: if a window reaches beyond the input or would lie wholly in padding.
      TypeError: if `x` is not an array of numbers, or the window is not made of ints.

    Gradient: linear in `x`; each input of a window gets 1 / n_p.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.avg_pool(jnp.array([[1.0], [3.0], [5.0]]), 2, strides=1, padding="SAME").ravel()
      Array([2., 4., 5.], dtype=float32)

    Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    name = "nn.avg_pool"
    x, axes = pooling_axes(name, x, window, strides, padding, dilation, ceil_mode, limit="window")
    dtype = x.dtype if jnp.issubdtype(x.dtype, np.floating) else jnp.dtype(jnp.float32)
    total = window_sum(x.astype(compute_dtype(dtype)), axes)
    divisor = _divisor(axes, count_include_padding).astype(total.dtype)
    return (total / divisor.reshape((1,) * (x.ndim - 1 - len(axes)) + divisor.shape + (1,))).astype(dtype)


def pooling_axes(
    name: str,
    x: ArrayLike,
    window: int | Sequence[int],
    strides: Spatial | None,
    padding: Padding,
    dilation: Spatial,
    ceil_mode: bool,
    *,
    limit: PaddingLimit,
) -> tuple[Array, tuple[WindowAxis, ...]]:
    """What every pooling is given, looked at: numbers, and their windows."""
    values = _checks.array(name, "x", x)
    if values.dtype == np.bool_:
        raise _checks.type_error(name, "x", _checks.describe(values), "numbers", "Cast it: x.astype(jax.numpy.int32).")
    if not isinstance(window, int | np.integer) and (not isinstance(window, Sequence) or len(window) == 0):
        raise _checks.type_error(
            name, "window", _checks.describe(window), "an int or a tuple of ints, one for each spatial axis",
            "(2, 2) for images.",
        )  # fmt: skip
    sizes = _checks.spatial(name, "window", window, 1 if isinstance(window, int | np.integer) else len(window))
    if values.ndim < len(sizes) + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(values), f"{len(sizes)} spatial axes, as `window` {sizes} has, and channels",
            "Channels come last; one channel is an axis of size 1.",
        )  # fmt: skip
    return values, resolve_windows(
        name, values.shape[-1 - len(sizes) : -1], sizes, sizes if strides is None else strides, padding, dilation,
        limit=limit, ceil_mode=ceil_mode,
    )  # fmt: skip


def _divisor(axes: Sequence[WindowAxis], include_padding: bool) -> np.ndarray:
    """How many positions count in each window, (*outputs,); one number where all windows agree."""
    counts = []
    for w in axes:
        low, high = (-w.low, w.inputs + w.high) if include_padding else (0, w.inputs)
        taps = w.taps()
        counts.append(((taps >= low) & (taps < high)).sum(axis=1))
    if all((count == count[0]).all() for count in counts):
        return np.full((1,) * len(axes), math.prod(int(count[0]) for count in counts))
    result: np.ndarray = np.ones((), int)
    for count in counts:
        result = result[..., None] * count
    return result
