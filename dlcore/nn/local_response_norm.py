"""Local response normalisation: channels inhibit their neighbours."""

from __future__ import annotations

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore._windows import WindowAxis
from dlcore.kernels.windows import window_sum

__all__ = ["local_response_norm"]


def local_response_norm(x: ArrayLike, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """Divides each value by a power of the squares of its neighbours, across channels.

        y_c = x_c / (k + α / size · Σ_j x_j²)^β,   j from c − ⌊size / 2⌋ to c + ⌊(size − 1) / 2⌋

    Args:
      x: (*batch, C), floating, with at least one axis. A channel outside of it counts as 0.
      size: how many neighbouring channels, itself among them. Of an even size the extra one comes before, as
        PyTorch's; in ONNX it comes after: flip the channels, before and after, x[..., ::-1].
      alpha: the weight of the mean square, 0 or more, divided by `size`: PyTorch's, ONNX' and Caffe's meaning.
        TensorFlow and Krizhevsky et al. do not divide: pass size · α.
      beta: the power.
      k: above 0; added to the mean square. PyTorch's and ONNX' default is this 1; Krizhevsky et al. take 2.

    Returns:
      y in the shape and dtype of `x`; computed in float32 or wider. Where the squares overflow (from 1.8e19 in
      float32), y is 0 for a positive β. inf or NaN reaches the neighbours and no farther.

    Raises:
      ValueError: if `x` has no axis, `size` is below 1, `alpha` is negative or `k` is not positive.
      TypeError: if `x` is not floating, `size` is not an int, or another option is not a number.

    Gradient: smooth (k > 0). At 0 it is dy / k^β.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.local_response_norm(jnp.array([3.0, 1.0, 0.0]), size=2, alpha=2.0, beta=1.0))
      [0.3        0.09090909 0.        ]

    Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 3.3.
    """
    name = "nn.local_response_norm"
    values = _checks.floating(name, "x", x)
    n = _checks.integer(name, "size", size, low=1)
    weight = _checks.number(name, "alpha", alpha, low=0.0) / n
    power = _checks.number(name, "beta", beta)
    k = _checks.number(name, "k", k, above=0.0)
    if values.ndim == 0:
        raise _checks.value_error(name, "x", _checks.describe(values), "an axis of channels", "Channels come last.")
    c = values.shape[-1]
    if c == 0:
        return values
    wide = values.astype(compute_dtype(values.dtype))
    # No window reaches beyond the last channel but in padding.
    before, after = min(n // 2, c - 1), min((n - 1) // 2, c - 1)
    axis = WindowAxis(c, c, before + 1 + after, 1, 1, before, after)
    # Not wide**2, whose derivative 2x overflows where x does not, and infinity times 0 is NaN.
    squares = window_sum((wide * wide)[..., None], (axis,))[..., 0]
    return (wide * (k + weight * squares) ** -power).astype(values.dtype)
