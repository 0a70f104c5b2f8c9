"""The chain rule through normalisation: the mean and the deviation depend on every value, so the error loses both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike, Params
from dlcore.backprop._boundary import cotangent, leaves, saved, widen

__all__ = [
    "NormResiduals", "batch_norm_bwd", "batch_norm_fwd", "layer_norm_bwd", "layer_norm_fwd", "normalization_pullback",
    "rms_norm_bwd", "rms_norm_fwd",
]  # fmt: skip


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "x", "pivot", "offset", "inverse"],
    meta_fields=["unit", "axes"],
)
@dataclass(frozen=True)
class NormResiduals:
    """What a normalisation saves: its arguments, and its statistics in float32 or wider, of size one on `axes`.

    The mean is kept as `pivot + offset`, a value near it and the small rest, and 1/σ as `inverse`: x̂ is taken from
    them again, without the digits that x − mean would lose where the mean is much larger than σ. For rms_norm both are
    zeros.
    """

    params: dict[str, Array]
    x: Array
    pivot: Array
    offset: Array
    inverse: Array
    unit: str
    axes: tuple[int, ...]

    def normalised(self) -> Array:
        """x̂ = (x − μ) / σ, in float32 or wider."""
        return ((widen(self.x) - self.pivot) - self.offset) * self.inverse


def normalization_pullback(normalised: Array, inverse: Array, dy: Array, axes: tuple[int, ...]) -> Array:
    """The three terms: dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) / σ, the means over `axes`."""
    mean = partial(_mean, axes=axes)
    return inverse * (dy - mean(dy) - normalised * mean(dy * normalised))


def batch_norm_fwd(params: Params, x: ArrayLike, *, epsilon: float = 1e-5) -> tuple[Array, NormResiduals]:
    """Batch normalisation in training: each feature by the statistics of this batch.

        μ = mean(x),  σ² = mean((x − μ)²) + ε,  x̂ = (x − μ) / σ          over all axes but the last
        y = scale · x̂ + offset

    Args:
      params: `{"scale": (C,), "offset": (C,)}`; `{}` or one of the two alone for no scale, no offset.
      x: (*batch, C), floating; a batch of at least two values for each feature.
      epsilon: ε, added to the variance.

    Returns: y in the shape and dtype of `x`, and the residuals: both arguments, μ (as a pivot and an offset) and 1/σ.

    Raises: ValueError if widths differ, `epsilon` is not positive, or there is one value a feature; TypeError if `x`
    is not floating.

    Gradient: smooth; it flows through μ and σ.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.batch_norm_fwd({}, jnp.array([[1.0], [3.0], [5.0]]))
      >>> _, dx = backprop.batch_norm_bwd(residuals, jnp.array([[1.0], [0.0], [0.0]]))
      >>> [f"{value:.4f}" for value in dx.ravel()]  # it sums to 0
      ['0.1021', '-0.2041', '0.1021']

    Source: Ioffe & Szegedy 2015, "Batch normalization", algorithm 1.
    """
    name = "backprop.batch_norm_fwd"
    kept, values = _opened(name, params, x, epsilon, ["scale", "offset"])
    if math.prod(values.shape[:-1]) == 1:
        raise _checks.value_error(
            name,
            "x",
            _checks.describe(values),
            "at least two values for each feature",
            "The variance of one is 0: use a larger batch, or layer_norm_fwd, which needs no batch.",
        )
    return _centred("batch_norm", kept, values, tuple(range(-values.ndim, -1)), epsilon)


def batch_norm_bwd(residuals: NormResiduals, dy: ArrayLike) -> tuple[dict[str, Array], Array]:
    """The gradient of `batch_norm_fwd`.

        dx̂ = dy · scale
        dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) / σ
        dscale = Σ dy · x̂,   doffset = Σ dy

    The second term is the error's share through μ, the third that through σ; the means and sums are over the batch.

    Args:
      residuals: those that `batch_norm_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dparams, dx)`, with the leaves, shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `batch_norm_fwd`.

    Source: Ioffe & Szegedy 2015, section 3, its six equations put into one.
    """
    return _pulled("batch_norm", residuals, dy)


def layer_norm_fwd(params: Params, x: ArrayLike, *, epsilon: float = 1e-5) -> tuple[Array, NormResiduals]:
    """Layer normalisation: each example by the statistics of its own features.

        μ = mean(x),  σ² = mean((x − μ)²) + ε,  x̂ = (x − μ) / σ          over the last axis
        y = scale · x̂ + offset

    Args:
      params: `{"scale": (C,), "offset": (C,)}`; `{}` or one of the two alone for no scale, no offset.
      x: (*batch, C), floating.
      epsilon: ε, added to the variance.

    Returns: y in the shape and dtype of `x`, and the residuals: both arguments, μ (as a pivot and an offset) and 1/σ.

    Raises: ValueError if widths differ or `epsilon` is not positive; TypeError if `x` is not floating.

    Gradient: smooth; it flows through μ and σ.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.layer_norm_fwd({}, jnp.array([1.0, 3.0, 5.0]))
      >>> _, dx = backprop.layer_norm_bwd(residuals, jnp.array([1.0, 0.0, 0.0]))
      >>> [f"{value:.4f}" for value in dx]
      ['0.1021', '-0.2041', '0.1021']

    Source: Ba, Kiros & Hinton 2016, "Layer normalization", eq. 4.
    """
    kept, values = _opened("backprop.layer_norm_fwd", params, x, epsilon, ["scale", "offset"])
    return _centred("layer_norm", kept, values, (-1,), epsilon)


def layer_norm_bwd(residuals: NormResiduals, dy: ArrayLike) -> tuple[dict[str, Array], Array]:
    """The gradient of `layer_norm_fwd`: batch normalisation's, the means over features.

        dx̂ = dy · scale
        dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) / σ
        dscale = Σ_batch dy · x̂,   doffset = Σ_batch dy

    Args:
      residuals: those that `layer_norm_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dparams, dx)`, with the leaves, shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `layer_norm_fwd`.

    Source: Ba, Kiros & Hinton 2016; see `layer_norm_fwd`.
    """
    return _pulled("layer_norm", residuals, dy)


def rms_norm_fwd(params: Params, x: ArrayLike, *, epsilon: float = 1e-5) -> tuple[Array, NormResiduals]:
    """Layer normalisation without the mean.

        σ² = mean(x²) + ε,  x̂ = x / σ          over the last axis
        y = scale · x̂

    Args:
      params: `{"scale": (C,)}`, or `{}` for no scale.
      x: (*batch, C), floating.
      epsilon: ε, added to the mean square.

    Returns: y in the shape and dtype of `x`, and the residuals: both arguments and 1/σ.

    Raises: ValueError if widths differ or `epsilon` is not positive; TypeError if `x` is not floating.

    Gradient: smooth; it flows through σ.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.rms_norm_fwd({}, jnp.array([1.0, 1.0]))
      >>> _, dx = backprop.rms_norm_bwd(residuals, jnp.array([1.0, 0.0]))
      >>> [f"{value:.4f}" for value in dx]
      ['0.5000', '-0.5000']

    Source: Zhang & Sennrich 2019, "Root mean square layer normalization".
    """
    kept, values = _opened("backprop.rms_norm_fwd", params, x, epsilon, ["scale"])
    wide = widen(values)
    inverse = lax.rsqrt(_mean(wide**2, (-1,)) + epsilon)
    zero = jnp.zeros_like(inverse)
    return _finished(NormResiduals(kept, values, zero, zero, inverse, "rms_norm", (-1,)))


def rms_norm_bwd(residuals: NormResiduals, dy: ArrayLike) -> tuple[dict[str, Array], Array]:
    """The gradient of `rms_norm_fwd`: layer normalisation's, without the term of the mean.

        dx̂ = dy · scale
        dx = (dx̂ − x̂ · mean(dx̂ · x̂)) / σ,   dscale = Σ_batch dy · x̂

    Args:
      residuals: those that `rms_norm_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dparams, dx)`, with the leaves, shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `rms_norm_fwd`.

    Source: Zhang & Sennrich 2019; see `rms_norm_fwd`.
    """
    return _pulled("rms_norm", residuals, dy)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over `axes`, kept with size one; 0 for none."""
    return x.sum(axes, keepdims=True) / max(math.prod(x.shape[axis] for axis in axes), 1)


def _centred(
    unit: str, params: dict[str, Array], x: Array, axes: tuple[int, ...], epsilon: float
) -> tuple[Array, NormResiduals]:
    """The two normalisations that take off a mean; its first value is the pivot, from which deviations are small."""
    wide = widen(x)
    shape = [1 if axis - x.ndim in axes else size for axis, size in enumerate(x.shape)]
    pivot = lax.slice(wide, (0,) * x.ndim, shape) if all(x.shape) else jnp.zeros(shape, wide.dtype)
    offset = _mean(wide - pivot, axes)
    variance = _mean(((wide - pivot) - offset) ** 2, axes)
    return _finished(NormResiduals(params, x, pivot, offset, lax.rsqrt(variance + epsilon), unit, axes))


def _finished(kept: NormResiduals) -> tuple[Array, NormResiduals]:
    y = kept.normalised()
    if "scale" in kept.params:
        y = y * _row(kept.params["scale"], y)
    if "offset" in kept.params:
        y = y + _row(kept.params["offset"], y)
    return y.astype(kept.x.dtype), kept


def _pulled(unit: str, residuals: Any, dy: ArrayLike) -> tuple[dict[str, Array], Array]:
    name = f"backprop.{unit}_bwd"
    kept = saved(name, residuals, NormResiduals, unit)
    pulled = cotangent(name, dy, kept.x.shape, kept.x.dtype)
    normalised, batch = kept.normalised(), tuple(range(pulled.ndim - 1))
    grads = {}
    if "scale" in kept.params:
        grads["scale"] = (pulled * normalised).sum(batch)
    if "offset" in kept.params:
        grads["offset"] = pulled.sum(batch)
    grads = {leaf: value.astype(kept.params[leaf].dtype) for leaf, value in grads.items()}

    error = pulled * _row(kept.params["scale"], pulled) if "scale" in kept.params else pulled
    if unit == "rms_norm":
        dx = kept.inverse * (error - normalised * _mean(error * normalised, kept.axes))
    else:
        dx = normalization_pullback(normalised, kept.inverse, error, kept.axes)
    return grads, dx.astype(kept.x.dtype)


def _row(leaf: Array, like: Array) -> Array:
    return broadcast_to_rank(leaf.astype(like.dtype), like.ndim)


def _opened(
    name: str, params: Params, x: ArrayLike, epsilon: float, names: list[str]
) -> tuple[dict[str, Array], Array]:
    kept, values = leaves(name, params, required=[], optional=names), _checks.floating(name, "x", x)
    _checks.number(name, "epsilon", epsilon, above=0.0)
    if values.ndim == 0:
        raise _checks.value_error(name, "x", _checks.describe(values), "an axis of features", "Features come last.")
    for leaf in kept:
        kept[leaf] = _checks.floating(name, f"params['{leaf}']", kept[leaf])
        if kept[leaf].shape != values.shape[-1:]:
            raise _checks.value_error(
                name, f"params['{leaf}']", f"shape {kept[leaf].shape}", f"{values.shape[-1:]}", "Mind the width of x."
            )
    return kept, values
