"""Convolution over any number of spatial axes, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, DType, Key, Padding, Params, Spatial
from dlcore._windows import WindowAxis, resolve_windows
from dlcore.kernels.grouped_convolution import convolve
from dlcore.nn import initializers
from dlcore.nn._affine import add_bias, float_dtype

__all__ = ["conv", "conv_init"]

# Our names for what to see beyond the border, and jnp.pad's.
BORDERS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def conv_init(
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
    """The parameters of `conv`.

    Args:
      key: a typed PRNG key.
      window: the window's sizes, one for each spatial axis: `(3, 3)` for images; an int is one axis, time.
      in_channels: C.
      out_channels: F.
      groups: G, in how many groups of channels the convolution falls apart; it divides C and F.
      use_bias: whether there is a `bias` leaf.
      kernel_init: draws the kernel; by default variance 1 / (window · C / G), which keeps the variance.
      bias_init: draws the bias; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"kernel": (*window, C // G, F), "bias": (F,)}`.

    Raises:
      ValueError, TypeError: if a size is below 1, `groups` does not divide both widths, `dtype` is not
        floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> nn.conv_init(jax.random.key(0), (3, 3), 8, 16, groups=2)["kernel"].shape
      (3, 3, 4, 16)

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.6.
    """
    name = "nn.conv_init"
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
    params = {"kernel": kernel_init(kernel_key, (*sizes, c // g, f), dtype)}
    if use_bias:
        params["bias"] = bias_init(bias_key, (f,), dtype)
    return params


def conv(
    params: Params,
    x: ArrayLike,
    *,
    strides: Spatial = 1,
    padding: Padding = "SAME",
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation with a kernel, which the field calls convolution.

        y[…, p, f] = b[f] + Σ_{j, c} W[j, c, f] · x[…, p · strides + j · dilation − low, c]

    p and j run over positions and window taps (one index a spatial axis), c over the channels of f's group.

    Args:
      params: `{"kernel": W (*window, C // groups, F)}`, perhaps with `"bias": b (F,)`, in the dtype of `x`.
      x: (*batch, *space, C), floating, with as many spatial axes as the window has; any batch axes, or none.
      strides: the step between windows: an int or one a spatial axis.
      padding: "VALID"; "SAME", as many outputs as ⌈input / stride⌉, an odd extra column at the end;
        "SAME_LOWER", at the start; "CAUSAL", one spatial axis, all at the start, so that no output sees a later
        input; or a (low, high) pair for each spatial axis.
      padding_mode: what stands beyond the border: "zeros", "reflect" (mirrored, the border not repeated),
        "replicate" (the border repeated) or "circular".
      dilation: the step between a window's taps.
      groups: input and output channels fall into so many groups, each convolved by itself.

    Returns:
      y: (*batch, *space', F), in the dtype of `x`. Groups of fewer than 8 channels are computed a few at a time (but
      for groups of one): an inf or NaN in one of them is a NaN in those beside it.

    Raises:
      ValueError: if the shapes do not fit, the window reaches beyond the padded input, an option is unknown,
        or reflected or circular padding is wider than the input allows.
      TypeError: if the dtypes of `x` and `params` differ or are not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> difference = {"kernel": jnp.array([-1.0, 1.0]).reshape(2, 1, 1)}
      >>> nn.conv(difference, jnp.array([[1.0], [4.0], [9.0]]), padding="VALID").ravel()
      Array([3., 5.], dtype=float32)

    Source: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition". Dilation: Yu &
    Koltun 2016; groups: Krizhevsky, Sutskever & Hinton 2012.
    """
    name = "nn.conv"
    params = _checks.params(name, params, required=["kernel"], optional=["bias"])
    x = _checks.floating(name, "x", x)
    kernel = _checks.array(name, "params['kernel']", params["kernel"])
    count = kernel.ndim - 2
    if count < 1:
        raise _checks.value_error(
            name,
            "params['kernel']",
            f"shape {kernel.shape}",
            "(*window, in // groups, out)",
            "nn.dense takes (in, out).",
        )
    if 0 in kernel.shape:
        raise _checks.value_error(
            name, "params['kernel']", f"shape {kernel.shape}", "no axis of size 0", "Make it with nn.conv_init."
        )
    _checks.same_dtype(name, x, "params['kernel']", kernel)
    if x.ndim < count + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(x), f"{count} spatial axes and channels, as params['kernel'] has",
            "Channels come last: (batch, height, width, channels).",
        )  # fmt: skip
    _checks.one_of(name, "padding_mode", padding_mode, BORDERS)
    g = _checks.integer(name, "groups", groups, low=1)
    if kernel.shape[-1] % g:
        raise _checks.value_error(
            name,
            "groups",
            g,
            f"a divisor of the kernel's {kernel.shape[-1]} outputs",
            "Make the kernel with these groups.",
        )
    _checks.feature_axis(name, x, kernel.shape[-2] * g, f"params['kernel'] with groups={g}")
    sizes = x.shape[-1 - count : -1]
    axes = resolve_windows(name, sizes, kernel.shape[:count], strides, padding, dilation, limit="none")

    batch = x.shape[: -1 - count]
    flat = x.reshape((math.prod(batch), *x.shape[-1 - count :]))
    if padding_mode != "zeros":
        flat = _pad_border(name, flat, axes, padding_mode)
        axes = tuple(w._replace(inputs=w.inputs + w.low + w.high, low=0, high=0) for w in axes)
    y = convolve(flat, kernel, axes, g)
    return add_bias(name, params, y.reshape(batch + y.shape[1:]))


def _pad_border(name: str, x: Array, axes: Sequence[WindowAxis], mode: str) -> Array:
    for w in axes:
        most = {"reflect": w.inputs - 1, "circular": w.inputs}.get(mode, max(w.low, w.high))
        if max(w.low, w.high) > most:
            raise _checks.value_error(
                name, "padding", f"{(w.low, w.high)} with padding_mode={mode!r}",
                f"at most {most} for an input of size {w.inputs}", "Pad less, or use 'zeros' or 'replicate'.",
            )  # fmt: skip
    margins = [(0, 0), *((w.low, w.high) for w in axes), (0, 0)]
    return jnp.pad(x, margins, mode=BORDERS[mode])
