"""Pooling by a norm of each window: between the sum (p = 1) and the maximum (p = ∞) of absolute values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, Padding, Spatial
from dlcore.kernels.windows import absolute, window_max, window_norm
from dlcore.nn.pooling import pooling_axes

__all__ = ["lp_pool"]


def lp_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    p: float = 2,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    dilation: Spatial = 1,
) -> Array:
    """The p-norm of each window.

        y[…, o, c] = (Σ_j |x[…, o · strides + j · dilation − low, c]|^p)^(1 / p)

    This is ONNX's LpPool. PyTorch's `lp_pool` raises x to the power without the absolute value, so that odd p and
    negative x differ and can give NaN; its gradient is 0 at a window of zeros, as here. The larger of two taps is
    divided out before powers are taken, so that neither large nor tiny numbers overflow or vanish.

    Args:
      x: (*batch, *space, C), floating or integers; any batch axes, or none.
      window: the window's sizes, one for each spatial axis: `(2, 2)` for images. An int is one axis, the last
        before the channels.
      p: at least 1; `math.inf` gives the largest absolute value.
      strides: the step between windows; `None` means `window`.
      padding: "VALID", "SAME", "SAME_LOWER", "CAUSAL" (one axis), or a (low, high) pair for each spatial axis, as wide
        as you like: padding counts as zeros, and a window wholly in it gives 0.
      ceil_mode: as in `max_pool`.
      dilation: the step between a window's taps.

    Returns:
      y: (*batch, *space', C), in the dtype of `x` (float32 for integers); computed in float32 or wider.

    Raises:
      ValueError: if a window reaches beyond the input, or `p` is below 1.
      TypeError: if `x` is not an array of numbers, `p` not a number, or the window is not made of ints.

    Gradient: sign(x) · (|x| / y)^(p − 1), where x = 0 gives 0; 0, never NaN, at a window of zeros. For p = ∞ it goes to
    the first of the largest. Second derivatives are 0 where they would be infinite (x = 0 with p < 2).

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.lp_pool(jnp.array([[3.0], [-4.0], [0.0], [0.0]]), 2).ravel()
      Array([5., 0.], dtype=float32)

    Source: Sermanet, Chintala & LeCun 2012, "Convolutional neural networks applied to house numbers digit
    classification", section 2.1.
    """
    name = "nn.lp_pool"
    x, axes = pooling_axes(name, x, window, strides, padding, dilation, ceil_mode, limit="none")
    largest = isinstance(p, float | np.floating) and p == math.inf
    power = math.inf if largest else _checks.number(name, "p", p, low=1.0)
    dtype = x.dtype if jnp.issubdtype(x.dtype, np.floating) else jnp.dtype(jnp.float32)
    wide = x.astype(compute_dtype(dtype))
    if largest:
        y = window_max(absolute(wide), axes)
        # The maximum of nothing: a window wholly in padding.
        return jnp.where(y == -np.inf, 0, y).astype(dtype)
    # A whole number is a few products, exact and faster than the general power.
    return window_norm(wide, axes, int(power) if power.is_integer() else power).astype(dtype)
