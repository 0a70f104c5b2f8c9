"""Transposed convolution: the way back through `conv`, from its outputs to its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, DType, Key, Padding, Params, Spatial
from dlcore._windows import resolve_transposed_windows
from dlcore.kernels.transposed_convolution import exchange, transposed_convolve
from dlcore.nn import initializers
from dlcore.nn._affine import add_bias, float_dtype

__all__ = ["conv_transpose", "conv_transpose_init"]


def conv_transpose_init(
    key: Key,
    window: int | Sequence[int],
    in_channels: int,
    out_channels: int,
    *,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: initializers.Initializer = initializers.lecun_normal(),
    bias_init: initializers.Initializer = initializers.zeros,
    dtype: DType = jnp.float32,
) -> dict[str, Array]:
    """The parameters of `conv_transpose`.

    Args:
      key: a typed PRNG key.
      window: the window's sizes, one for each spatial axis: `(3, 3)` for images; an int is one axis, time.
      in_channels: C.
      out_channels: F.
      groups: G, in how many groups of channels the convolution falls apart; it divides C and F.
      use_bias: whether there is a `bias` leaf.
      kernel_init: draws the kernel, in the shape `(*window, C // G, F)`, so that its fan-in is what one output sees,
        window · C / G; then inputs and outputs change places. By default the variance is 1 / fan-in. With strides
        above 1 an output sees only a share of the window, 1 / their product on average; this is left out of account,
        as elsewhere (PyTorch takes window · F / G for the fan-in).
      bias_init: draws the bias; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"kernel": (*window, F // G, C), "bias": (F,)}`.

    Raises:
      ValueError, TypeError: if a size is below 1, `groups` does not divide both widths, `dtype` is not
        floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> nn.conv_transpose_init(jax.random.key(0), (3, 3), 8, 16, groups=2)["kernel"].shape
      (3, 3, 8, 8)

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.6.
    """
    name = "nn.conv_transpose_init"
    key = _checks.key(name, key)
    if not isinstance(window, int | np.integer) and len(window) == 0:
        raise _checks.value_error(
            name, "window", window, "one size for each spatial axis", "(3, 3) for images, 3 for sequences."
        )
    sizes = _checks.spatial(name, "window", window, 1 if isinstance(window, int | np.integer) else len(window))
    c = _checks.integer(name, "in_channels", in_channels, low=1)
    f = _checks.integer(name, "out_channels", out_channels, low=1)
    g = _checks.integer(name, "groups", groups, low=1)
    if c % g or f % g:
        raise _checks.value_error(
            name, "groups", g, f"a divisor of both {c} input and {f} output channels", "groups=1 always fits."
        )
    dtype = float_dtype(name, dtype)
    kernel_key, bias_key = jax.random.split(key)
    params = {"kernel": exchange(kernel_init(kernel_key, (*sizes, c // g, f), dtype), g)}
    if use_bias:
        params["bias"] = bias_init(bias_key, (f,), dtype)
    return params


def conv_transpose(
    params: Params,
    x: ArrayLike,
    *,
    strides: Spatial = 1,
    padding: Padding = "SAME",
    output_padding: Spatial = 0,
    dilation: Spatial = 1,
    groups: int = 1,
) -> Array:
    """The vector-Jacobian product of `conv` in its input, as a layer: it enlarges what strides made small.

        y[…, q, f] = b[f] + Σ_{p, j: p · strides + j · dilation − low = q} Σ_c W[j, f, c] · x[…, p, c]

    With the same kernel, strides, padding, dilation and groups, `conv` maps an array of y's shape to one of x's, and
    this is its transpose: ⟨conv(u), x⟩ = ⟨u, conv_transpose(x)⟩ without biases. With e = (window − 1) · dilation + 1
    and n positions in x, an axis of y has

        (n − 1) · stride + e − low − high + output_padding  with (low, high) pairs; "VALID" means (0, 0)
        n · stride  with "SAME", "SAME_LOWER" and "CAUSAL", those of `conv` on that size

    The first is PyTorch's and ONNX' size, the second that of Keras, TensorFlow and ONNX' auto_pad for "SAME". Where
    e < stride, Keras' "VALID" is n · stride too: pass `output_padding=stride − e`. The kernel is TensorFlow's and
    Keras' `(*window, out, in)`; PyTorch's is `(in, out // groups, *window)`; that of Flax (`transpose_kernel=False`)
    is turned round and has inputs before outputs.

    Args:
      params: `{"kernel": W (*window, F // groups, C)}`, perhaps with `"bias": b (F,)`, in the dtype of `x`.
      x: (*batch, *space, C), floating, with as many spatial axes as the window has; any batch axes, or none.
      strides: how far apart the entries of `x` are put in y: an int or one a spatial axis.
      padding: as `conv` would pad y: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (one axis), or a (low, high) pair for
        each spatial axis; what falls into the padding is cut off. "CAUSAL" is the way back through a causal
        convolution, so that y at q depends on x from q / stride on; for a causal layer pass ((0, e − stride),), where
        that is not negative.
      output_padding: so many more positions at the end, to choose among the sizes that `conv` maps to n; less than
        the stride or the dilation, and 0 with the paddings that say the size themselves.
      dilation: the step between a window's taps.
      groups: input and output channels fall into so many groups, each convolved by itself.

    Returns:
      y: (*batch, *space', F), in the dtype of `x`.

    Raises:
      ValueError: if the shapes do not fit, nothing is left after the padding is cut off, or `output_padding` is too
        large.
      TypeError: if the dtypes of `x` and `params` differ or are not floating.

    Gradient: smooth, without kinks; that in `x` is `conv`, up to its bias.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> difference = {"kernel": jnp.array([-1.0, 1.0]).reshape(2, 1, 1)}
      >>> nn.conv_transpose(difference, jnp.array([[1.0], [5.0]]), padding="VALID").ravel()
      Array([-1., -4.,  5.], dtype=float32)

    Source: Zeiler, Krishnan, Taylor & Fergus 2010, "Deconvolutional networks"; Dumoulin & Visin 2016, "A guide to
    convolution arithmetic for deep learning", chapter 4.
    """
    name = "nn.conv_transpose"
    params = _checks.params(name, params, required=["kernel"], optional=["bias"])
    x = _checks.floating(name, "x", x)
    kernel = _checks.array(name, "params['kernel']", params["kernel"])
    count = kernel.ndim - 2
    if count < 1:
        raise _checks.value_error(
            name,
            "params['kernel']",
            f"shape {kernel.shape}",
            "(*window, out // groups, in)",
            "nn.dense takes (in, out).",
        )
    if 0 in kernel.shape:
        raise _checks.value_error(
            name,
            "params['kernel']",
            f"shape {kernel.shape}",
            "no axis of size 0",
            "Make it with nn.conv_transpose_init.",
        )
    _checks.same_dtype(name, x, "params['kernel']", kernel)
    if x.ndim < count + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(x), f"{count} spatial axes and channels, as params['kernel'] has",
            "Channels come last: (batch, height, width, channels).",
        )  # fmt: skip
    g = _checks.integer(name, "groups", groups, low=1)
    if kernel.shape[-1] % g:
        raise _checks.value_error(
            name,
            "groups",
            g,
            f"a divisor of the kernel's {kernel.shape[-1]} inputs",
            "Make the kernel with these groups.",
        )
    _checks.feature_axis(name, x, kernel.shape[-1], "the last axis of params['kernel'], (*window, out // groups, in),")
    sizes = x.shape[-1 - count : -1]
    axes = resolve_transposed_windows(name, sizes, kernel.shape[:count], strides, padding, dilation, output_padding)

    batch = x.shape[: -1 - count]
    flat = x.reshape((math.prod(batch), *x.shape[-1 - count :]))
    y = transposed_convolve(flat, kernel, axes, g)
    return add_bias(name, params, y.reshape(batch + y.shape[1:]))
