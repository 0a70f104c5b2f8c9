"""Normalisation of each example by its own features: by mean and deviation, or by the root mean square alone."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, DType, Params
from dlcore.kernels.layer_norm import normalise_last
from dlcore.kernels.statistics import standardise
from dlcore.nn._affine import affine, filled, float_dtype, scale_and_offset

__all__ = ["layer_norm", "layer_norm_init", "rms_norm", "rms_norm_init"]


def layer_norm_init(features: int | Sequence[int], *, dtype: DType = jnp.float32) -> dict[str, Array]:
    """The parameters of layer normalisation.

    Args:
      features: C, the size of the normalised axis; for several axes their sizes, in the order of the axes of `x`.
      dtype: of the parameters; float32 goes with half precision data, too.

    Returns:
      `{"scale": ones (C,), "offset": zeros (C,)}`, of shape `features` where that is a tuple.

    Raises:
      ValueError, TypeError: if a size is not a whole number of at least 1, or `dtype` is not floating.

    Example:
      >>> import dlcore.nn as nn
      >>> nn.layer_norm_init((2, 3))["scale"].shape
      (2, 3)

    Source: Ba, Kiros & Hinton 2016, "Layer normalization".
    """
    name = "nn.layer_norm_init"
    shape, dtype = _sizes(name, features), float_dtype(name, dtype)
    return {"scale": jnp.ones(shape, dtype), "offset": jnp.zeros(shape, dtype)}


def layer_norm(params: Params, x: ArrayLike, *, axis: int | Sequence[int] = -1, epsilon: float = 1e-5) -> Array:
    """Normalises each example by the mean and deviation of its own features.

        μ = mean(x),  σ² = mean((x − μ)²)                    over `axis`
        y = scale · (x − μ) / √(σ² + ε) + offset

    Args:
      params: `{"scale": (C,), "offset": (C,)}`; `{}` or one of the two alone for no scale, no offset. For several
        axes both have their shape, in the order in which the axes stand in `x`, however `axis` lists them.
      x: any shape with at least one axis, floating.
      axis: one or several. PyTorch's `normalized_shape` of k entries is `axis=tuple(range(-k, 0))`; ONNX' `axis=a`
        is `tuple(range(a, x.ndim))`.
      epsilon: added to the variance. PyTorch's and ONNX' default is this 1e-5; Flax' is 1e-6, Keras' 1e-3.

    Returns:
      y in the shape and dtype of `x`. Statistics are taken in float32 or wider, from deviations, so that a mean much
      larger than the deviation costs no digits; they may be as large as 1e31 in float32 (ε = 1e-5), and beyond the
      result is NaN. Equal values, and one value alone, give the offset; inf or NaN makes its own slice NaN and no
      other.

    Raises:
      ValueError: if an axis is none of `x` or repeated, a leaf has another shape, or `epsilon` is not positive.
      TypeError: if `x` or a leaf is not floating, or `axis` is not made of ints.

    Gradient: smooth (ε > 0); it flows through μ and σ². At a slice whose values are all the same it is
    (dx̂ − mean(dx̂)) / √ε, with dx̂ = scale · dy.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.layer_norm({"offset": jnp.ones(2)}, jnp.array([[1.0, 3.0], [5.0, 5.0]])).round(2))
      [[0. 2.]
       [1. 1.]]

    Source: Ba, Kiros & Hinton 2016, "Layer normalization", eq. 4.
    """
    return _normalised("nn.layer_norm", params, x, axis, epsilon, ("scale", "offset"))


def rms_norm_init(features: int | Sequence[int], *, dtype: DType = jnp.float32) -> dict[str, Array]:
    """The parameters of root mean square normalisation.

    Args:
      features: C, the size of the normalised axis; for several axes their sizes, in the order of the axes of `x`.
      dtype: of the parameters; float32 goes with half precision data, too.

    Returns:
      `{"scale": ones (C,)}`, of shape `features` where that is a tuple.

    Raises:
      ValueError, TypeError: if a size is not a whole number of at least 1, or `dtype` is not floating.

    Example:
      >>> import dlcore.nn as nn
      >>> nn.rms_norm_init(3)
      {'scale': Array([1., 1., 1.], dtype=float32)}

    Source: Zhang & Sennrich 2019, "Root mean square layer normalization".
    """
    name = "nn.rms_norm_init"
    shape, dtype = _sizes(name, features), float_dtype(name, dtype)
    return {"scale": jnp.ones(shape, dtype)}


def rms_norm(params: Params, x: ArrayLike, *, axis: int | Sequence[int] = -1, epsilon: float = 1e-5) -> Array:
    """Normalises each example by the root mean square of its own features; the mean stays.

        y = scale · x / √(mean(x²) + ε)                      the mean over `axis`

    Args:
      params: `{"scale": (C,)}`, or `{}` for no scale. For several axes it has their shape, in the order in which the
        axes stand in `x`, however `axis` lists them. It multiplies as it is: Gemma's `1 + weight` is the scale.
      x: any shape with at least one axis, floating.
      axis: one or several. PyTorch's `normalized_shape` of k entries is `axis=tuple(range(-k, 0))`; ONNX' `axis=a`
        is `tuple(range(a, x.ndim))`.
      epsilon: added to the mean square, inside the root. ONNX' default is this 1e-5; Flax' and Keras' is 1e-6,
        PyTorch's the `eps` of the dtype (1.2e-7 in float32).

    Returns:
      y in the shape and dtype of `x`. The mean square is taken in float32 or wider; values may be as large as 1e31
      in float32 (ε = 1e-5), and beyond the result is NaN. Zeros give zeros; inf or NaN makes its own slice NaN and no
      other.

    Raises:
      ValueError: if an axis is none of `x` or repeated, the scale has another shape, or `epsilon` is not positive.
      TypeError: if `x` or the scale is not floating, or `axis` is not made of ints.

    Gradient: smooth (ε > 0); it flows through the root. At a slice of zeros it is scale · dy / √ε.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.rms_norm({}, jnp.array([3.0, 3.0, -3.0])).round(3))
      [ 1.  1. -1.]

    Source: Zhang & Sennrich 2019, "Root mean square layer normalization", eq. 4.
    """
    return _normalised("nn.rms_norm", params, x, axis, epsilon, ("scale",))


def _normalised(
    name: str, params: Params, x: ArrayLike, axis: int | Sequence[int], epsilon: float, leaves: tuple[str, ...]
) -> Array:
    _checks.params(name, params, required=[], optional=leaves)
    values = _checks.floating(name, "x", x)
    axes = _checks.distinct_axes(name, "axis", axis, values.ndim)
    epsilon = _checks.number(name, "epsilon", epsilon, above=0.0)
    scale, offset = scale_and_offset(name, params, tuple(values.shape[axis] for axis in axes), optional=leaves)
    wide, centre = values.astype(compute_dtype(values.dtype)), "offset" in leaves
    if axes in ((-1,), (values.ndim - 1,)):
        return normalise_last(
            wide, *filled(scale, offset, values.shape[-1], wide.dtype), epsilon, centre
        ).astype(values.dtype)  # fmt: skip
    normal = standardise(wide, axes, epsilon, centre)
    return affine(normal, scale, offset, axes).astype(values.dtype)


def _sizes(name: str, features: int | Sequence[int]) -> tuple[int, ...]:
    entries = (features,) if isinstance(features, numbers.Integral) else features
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise _checks.type_error(
            name, "features", _checks.describe(features), "an int or a tuple of ints", "For one axis: its size."
        )
    return tuple(_checks.integer(name, "features", entry, low=1) for entry in entries)
