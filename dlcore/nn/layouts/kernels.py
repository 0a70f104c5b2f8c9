"""Images, and the kernels of dense layers and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike

__all__ = [
    "channels_first", "channels_last", "conv_kernel_from_torch", "conv_transpose_kernel_from_flax",
    "conv_transpose_kernel_from_torch", "dense_kernel_from_torch", "depthwise_kernel_from_keras",
]  # fmt: skip


def channels_last(x: ArrayLike, *, batch_axes: int = 1) -> Array:
    """Moves the channels behind the spatial axes, where dlcore has them.

        y[batch, space, c] = x[batch, c, space]

    Args:
      x: (*batch, C, *space): PyTorch's (N, C, H, W), say, or ONNX'; any numbers.
      batch_axes: how many axes stand before the channels.

    Returns: (*batch, *space, C), in the dtype of `x`.

    Raises: ValueError if `x` has no axis left for the channels; TypeError if `x` is no array, or `batch_axes` no whole
    number.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.channels_last(jnp.ones((8, 3, 32, 28))).shape
      (8, 32, 28, 3)
    """
    values, batch = _image("nn.layouts.channels_last", x, batch_axes)
    return jnp.moveaxis(values, batch, -1)


def channels_first(x: ArrayLike, *, batch_axes: int = 1) -> Array:
    """The inverse of `channels_last`.

        y[batch, c, space] = x[batch, space, c]

    Args:
      x: (*batch, *space, C), any numbers.
      batch_axes: how many axes stand before the spatial ones.

    Returns: (*batch, C, *space), in the dtype of `x`.

    Raises: ValueError if `x` has no axis left for the channels; TypeError if `x` is no array, or `batch_axes` no whole
    number.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.channels_first(jnp.ones((32, 28, 3)), batch_axes=0).shape
      (3, 32, 28)
    """
    values, batch = _image("nn.layouts.channels_first", x, batch_axes)
    return jnp.moveaxis(values, -1, batch)


def dense_kernel_from_torch(weight: ArrayLike, *, flattened: Sequence[int] | None = None) -> Array:
    """The kernel of `nn.dense` from the weight of PyTorch's `Linear`.

        kernel[d, f] = weight[f, d]

    Args:
      weight: (F, D).
      flattened: where the layer reads a flattened image, that image's sizes in PyTorch, (C, *space): dlcore's image
        flattens as (*space, C), and the rows change places accordingly.

    Returns: (D, F).

    Raises: ValueError if `weight` is no matrix, or `flattened` does not make up D; TypeError if an argument is of the
    wrong kind.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.dense_kernel_from_torch(jnp.array([[1.0, 2.0, 3.0, 4.0]]), flattened=(2, 1, 2)).ravel()
      Array([1., 3., 2., 4.], dtype=float32)
    """
    name = "nn.layouts.dense_kernel_from_torch"
    matrix = _kernel(name, "weight", weight, "(out, in)", 2, exactly=True)
    if flattened is None:
        return matrix.T
    if not isinstance(flattened, Sequence):
        raise _checks.type_error(
            name, "flattened", _checks.describe(flattened), "a tuple of ints", "(channels, height, width) for an image."
        )
    sizes = tuple(_checks.integer(name, "flattened", size, low=1) for size in flattened)
    if not sizes or math.prod(sizes) != matrix.shape[1]:
        raise _checks.value_error(
            name,
            "flattened",
            sizes,
            f"sizes whose product is {matrix.shape[1]}, the inputs of weight",
            "Channels come first, as PyTorch flattens them.",
        )
    return jnp.moveaxis(matrix.T.reshape(*sizes, matrix.shape[0]), 0, -2).reshape(matrix.shape[::-1])


def conv_kernel_from_torch(weight: ArrayLike) -> Array:
    """The kernel of `nn.conv` from the weight of PyTorch's `Conv1d`, `Conv2d`, `Conv3d`, or of ONNX' Conv.

        kernel[window, c, f] = weight[f, c, window]

    Args:
      weight: (F, C // groups, *window); groups lie alike in both.

    Returns: (*window, C // groups, F).

    Raises: ValueError if `weight` has less than three axes; TypeError if it is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.conv_kernel_from_torch(jnp.ones((16, 3, 5, 7))).shape
      (5, 7, 3, 16)
    """
    name = "nn.layouts.conv_kernel_from_torch"
    kernel = _kernel(name, "weight", weight, "(out, in // groups, *window)", 3)
    return jnp.moveaxis(kernel, (1, 0), (-2, -1))


def conv_transpose_kernel_from_torch(weight: ArrayLike) -> Array:
    """The kernel of `nn.conv_transpose` from the weight of PyTorch's `ConvTranspose2d` or ONNX' ConvTranspose.

        kernel[window, f, c] = weight[c, f, window]

    Both are the transpose of a convolution, and store that convolution's kernel: nothing is flipped.

    Args:
      weight: (C, F // groups, *window), C the input's channels; groups lie alike in both.

    Returns: (*window, F // groups, C).

    Raises: ValueError if `weight` has less than three axes; TypeError if it is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.conv_transpose_kernel_from_torch(jnp.ones((16, 3, 5, 7))).shape
      (5, 7, 3, 16)
    """
    name = "nn.layouts.conv_transpose_kernel_from_torch"
    kernel = _kernel(name, "weight", weight, "(in, out // groups, *window)", 3)
    return jnp.moveaxis(kernel, (1, 0), (-2, -1))


def conv_transpose_kernel_from_flax(kernel: ArrayLike) -> Array:
    """The kernel of `nn.conv_transpose` from that of Flax' `ConvTranspose` with its default `transpose_kernel=False`.

        result[window, f, c] = kernel[window from its end, c, f]

    Flax' default slides the kernel over a spread input, so that its taps are in the other order than in the transpose
    of a convolution. With `transpose_kernel=True`, and in Keras' `Conv2DTranspose`, the kernel is dlcore's already.

    Args:
      kernel: (*window, C, F), C the input's channels.

    Returns: (*window, F, C).

    Raises: ValueError if `kernel` has less than three axes; TypeError if it is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.conv_transpose_kernel_from_flax(jnp.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)).ravel()
      Array([3., 2., 1.], dtype=float32)
    """
    name = "nn.layouts.conv_transpose_kernel_from_flax"
    values = _kernel(name, "kernel", kernel, "(*window, in, out)", 3)
    return jnp.swapaxes(jnp.flip(values, tuple(range(values.ndim - 2))), -2, -1)


def depthwise_kernel_from_keras(kernel: ArrayLike) -> Array:
    """The kernel of `nn.conv` with `groups=C` from that of Keras' `DepthwiseConv2D`.

        result[window, 0, c · M + m] = kernel[window, c, m]

    Args:
      kernel: (*window, C, M), M outputs for each of C channels (Keras' `depth_multiplier`).

    Returns: (*window, 1, C · M).

    Raises: ValueError if `kernel` has less than three axes; TypeError if it is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.depthwise_kernel_from_keras(jnp.ones((3, 3, 8, 2))).shape
      (3, 3, 1, 16)
    """
    name = "nn.layouts.depthwise_kernel_from_keras"
    values = _kernel(name, "kernel", kernel, "(*window, channels, multiplier)", 3)
    return values.reshape(*values.shape[:-2], 1, values.shape[-2] * values.shape[-1])


def _image(name: str, x: ArrayLike, batch_axes: int) -> tuple[Array, int]:
    values = _checks.array(name, "x", x)
    batch = _checks.integer(name, "batch_axes", batch_axes, low=0)
    if values.ndim <= batch:
        raise _checks.value_error(
            name,
            "x",
            _checks.describe(values),
            f"{batch} batch axes and one of channels at least",
            "batch_axes=0 is one example alone.",
        )
    return values, batch


def _kernel(name: str, argument: str, value: ArrayLike, axes: str, least: int, *, exactly: bool = False) -> Array:
    kernel = _checks.floating(name, argument, value)
    if kernel.ndim < least or (exactly and kernel.ndim > least):
        raise _checks.value_error(
            name, argument, f"shape {kernel.shape}", f"{axes}", "Pass the array as the other framework stores it."
        )
    return kernel
