"""Normalisation of each example by groups of its channels over all positions, and by single channels."""

from __future__ import annotations

import math

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, DType, Params
from dlcore.kernels.group_norm import normalise_groups
from dlcore.nn._affine import filled, float_dtype, scale_and_offset

__all__ = ["group_norm", "group_norm_init", "instance_norm", "instance_norm_init"]


def group_norm_init(features: int, *, dtype: DType = jnp.float32) -> dict[str, Array]:
    """The parameters of group normalisation.

    Args:
      features: C, the size of the last axis.
      dtype: of the parameters; float32 goes with half precision data, too.

    Returns:
      `{"scale": ones (C,), "offset": zeros (C,)}`.

    Raises:
      ValueError, TypeError: if `features` is not a whole number of at least 1, or `dtype` is not floating.

    Example:
      >>> import dlcore.nn as nn
      >>> nn.group_norm_init(4)["offset"].shape
      (4,)

    Source: Wu & He 2018, "Group normalization".
    """
    return _init("nn.group_norm_init", features, dtype)


def group_norm(params: Params, x: ArrayLike, *, groups: int, batch_axes: int = 1, epsilon: float = 1e-5) -> Array:
    """Normalises each example by groups of neighbouring channels, each over all positions.

        μ_g = mean(x),  σ_g² = mean((x − μ_g)²)              over all positions and the channels of group g
        y = scale · (x − μ_g) / √(σ_g² + ε) + offset

    Args:
      params: `{"scale": (C,), "offset": (C,)}`; `{}` or one of the two alone for no scale, no offset.
      x: (*batch, *space, C), floating; any spatial axes, or none.
      groups: in how many groups of C / groups neighbouring channels the channels fall; it divides C. 1 is layer
        normalisation over space and channels, C is `instance_norm` (Keras' `groups=-1`).
      batch_axes: how many leading axes tell examples apart; 0 for a single example.
      epsilon: added to the variance. PyTorch's and ONNX' default is this 1e-5; Flax' is 1e-6, Keras' 1e-3.

    Returns:
      y in the shape and dtype of `x`. Statistics are taken in float32 or wider, from deviations, so that a mean much
      larger than the deviation costs no digits; they may be as large as 1e31 in float32 (ε = 1e-5), and beyond the
      result is NaN. Equal values, and one value alone, give the offset; inf or NaN makes its own group NaN and no
      other.

    Raises:
      ValueError: if `groups` does not divide C, `x` has no axis but those of the batch, a leaf is not (C,), or
        `epsilon` is not positive.
      TypeError: if `x` or a leaf is not floating, or `groups` or `batch_axes` is not an int.

    Gradient: smooth (ε > 0); it flows through μ_g and σ_g². At a group whose values are all the same it is
    (dx̂ − mean(dx̂)) / √ε, with dx̂ = scale · dy.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.group_norm({}, jnp.array([[1.0, 3.0, 10.0, 30.0]]), groups=2).round(2))
      [[-1.  1. -1.  1.]]

    Source: Wu & He 2018, "Group normalization", eq. 7. Statistics and scale as PyTorch's, Keras' and Flax'; ONNX'
    operator had one scale a group before opset 21: repeat it, jax.numpy.repeat(scale, C // groups).
    """
    name = "nn.group_norm"
    values, batch, epsilon, scale, offset = _opened(name, params, x, batch_axes, epsilon)
    c = values.shape[-1]
    g = _checks.integer(name, "groups", groups, low=1)
    if c % g:
        raise _checks.value_error(
            name, "groups", g, f"a divisor of the {c} channels", "groups=1 always fits; channels come last."
        )
    return _by_groups(values, batch, scale, offset, g, epsilon)


def instance_norm_init(features: int, *, dtype: DType = jnp.float32) -> dict[str, Array]:
    """The parameters of instance normalisation.

    Args:
      features: C, the size of the last axis.
      dtype: of the parameters; float32 goes with half precision data, too.

    Returns:
      `{"scale": ones (C,), "offset": zeros (C,)}`.

    Raises:
      ValueError, TypeError: if `features` is not a whole number of at least 1, or `dtype` is not floating.

    Example:
      >>> import dlcore.nn as nn
      >>> nn.instance_norm_init(4)["scale"].shape
      (4,)

    Source: Ulyanov, Vedaldi & Lempitsky 2016, "Instance normalization".
    """
    return _init("nn.instance_norm_init", features, dtype)


def instance_norm(params: Params, x: ArrayLike, *, batch_axes: int = 1, epsilon: float = 1e-5) -> Array:
    """Normalises each channel of each example over its positions.

        μ_c = mean(x_c),  σ_c² = mean((x_c − μ_c)²)          over the spatial axes
        y = scale · (x − μ_c) / √(σ_c² + ε) + offset

    Args:
      params: `{"scale": (C,), "offset": (C,)}`; `{}` or one of the two alone for no scale, no offset.
      x: (*batch, *space, C), floating, with at least one spatial axis.
      batch_axes: how many leading axes tell examples apart; 0 for a single example.
      epsilon: added to the variance. PyTorch's and ONNX' default is this 1e-5; Flax' is 1e-6, Keras' 1e-3.

    Returns:
      y in the shape and dtype of `x`. Statistics are taken in float32 or wider, from deviations, so that a mean much
      larger than the deviation costs no digits; they may be as large as 1e31 in float32 (ε = 1e-5), and beyond the
      result is NaN. Equal values, and one position alone (which PyTorch refuses), give the offset; inf or NaN makes its
      own channel of its example NaN and no other. There are no running statistics: PyTorch's `track_running_stats` is
      `batch_norm_eval`.

    Raises:
      ValueError: if `x` has no spatial axis, a leaf is not (C,), or `epsilon` is not positive.
      TypeError: if `x` or a leaf is not floating, or `batch_axes` is not an int.

    Gradient: smooth (ε > 0); it flows through μ_c and σ_c². At a channel whose values are all the same it is
    (dx̂ − mean(dx̂)) / √ε, with dx̂ = scale · dy.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> print(nn.instance_norm({}, jnp.array([[[1.0, 30.0], [3.0, 10.0]]])).round(2))
      [[[-1.  1.]
        [ 1. -1.]]]

    Source: Ulyanov, Vedaldi & Lempitsky 2016, "Instance normalization", section 2.
    """
    name = "nn.instance_norm"
    values, batch, epsilon, scale, offset = _opened(name, params, x, batch_axes, epsilon)
    if values.ndim == batch + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(values), f"a spatial axis between {batch} of the batch and the channels",
            "One value has no deviation: use nn.layer_norm, or mend batch_axes.",
        )  # fmt: skip
    return _by_groups(values, batch, scale, offset, values.shape[-1], epsilon)


def _by_groups(
    values: Array, batch: int, scale: Array | None, offset: Array | None, groups: int, epsilon: float
) -> Array:
    c = values.shape[-1]
    wide = values.astype(compute_dtype(values.dtype))
    lead, positions = math.prod(values.shape[:batch]), math.prod(values.shape[batch:-1])
    y = normalise_groups(wide.reshape(lead, positions, c), *filled(scale, offset, c, wide.dtype), groups, epsilon)
    return y.reshape(values.shape).astype(values.dtype)


def _init(name: str, features: int, dtype: DType) -> dict[str, Array]:
    c = _checks.integer(name, "features", features, low=1)
    dtype = float_dtype(name, dtype)
    return {"scale": jnp.ones((c,), dtype), "offset": jnp.zeros((c,), dtype)}


def _opened(
    name: str, params: Params, x: ArrayLike, batch_axes: int, epsilon: float
) -> tuple[Array, int, float, Array | None, Array | None]:
    _checks.params(name, params, required=[], optional=["scale", "offset"])
    values = _checks.floating(name, "x", x)
    batch = _checks.integer(name, "batch_axes", batch_axes, low=0)
    epsilon = _checks.number(name, "epsilon", epsilon, above=0.0)
    if values.ndim < batch + 1:
        raise _checks.value_error(
            name, "x", _checks.describe(values), f"{batch} axes of the batch and one of channels",
            "For a single example: batch_axes=0.",
        )  # fmt: skip
    return values, batch, epsilon, *scale_and_offset(name, params, values.shape[-1:])
