"""Losses on the overlap of a predicted region and the true one."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.losses._bernoulli import truth
from dlcore.losses._validate import many

__all__ = ["dice", "tversky"]


def dice(
    predictions: ArrayLike, targets: ArrayLike, *, axis: int | Sequence[int] | None = None, epsilon: float = 1e-7
) -> Array:
    """One minus the Dice coefficient of two regions, twice their overlap over the sum of their sizes.

        L = 1 − 2 Σ ŷ y / (Σ ŷ + Σ y + ε)

    Args:
      predictions: ŷ in [0, 1], any shape, floating.
      targets: y, in the shape of `predictions`: floating, in [0, 1], or integers 0 and 1, or booleans.
      axis: the axes of the region, summed over; all by default, as Keras'. For one value per example and class of
        (batch, height, width, classes): `axis=(1, 2)`.
      epsilon: ε ≥ 0, for two empty regions, whose loss is then 1; Keras' by default.

    Returns:
      L in the shape of `predictions` without `axis`, in its dtype; sums are accumulated in float32 or wider. With ε = 0
      two empty regions cost 0.

    Raises:
      ValueError: if the shapes differ, an axis is none, or `epsilon` is negative.
      TypeError: if `predictions` are not floating, or `targets` no numbers.

    Gradient: that of the formula, smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.dice(jnp.array([[1.0, 1.0], [0.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]]))
      Array(0.5, dtype=float32)

    Source: Milletari, Navab & Ahmadi 2016, "V-Net", section 3, with the sizes unsquared.
    """
    name = "losses.dice"
    y_hat, y, axes, kept = _opened(name, predictions, targets, axis)
    return _complement(name, 2 * (y_hat * y).sum(axes), y_hat.sum(axes) + y.sum(axes), epsilon).astype(kept)


def tversky(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    axis: int | Sequence[int] | None = None,
    epsilon: float = 1e-7,
) -> Array:
    """One minus the Tversky index of two regions: Dice's, with false alarms and misses weighted apart.

        L = 1 − Σ ŷ y / (Σ ŷ y + α Σ ŷ (1 − y) + β Σ (1 − ŷ) y + ε)

    α = β = ½ is `dice` (up to ε), α = β = 1 is one minus the Jaccard index.

    Args:
      predictions: ŷ in [0, 1], any shape, floating.
      targets: y, in the shape of `predictions`: floating, in [0, 1], or integers 0 and 1, or booleans.
      alpha: α ≥ 0, the weight of what is predicted and not there. Keras 3 says so too, but multiplies the misses by it:
        swap the two to get its numbers.
      beta: β ≥ 0, the weight of what is there and not predicted.
      axis: the axes of the region, as in `dice`.
      epsilon: ε ≥ 0, as in `dice`.

    Returns:
      L in the shape of `predictions` without `axis`, in its dtype; sums are accumulated in float32 or wider.

    Raises:
      ValueError: if the shapes differ, an axis is none, or an option is negative.
      TypeError: if `predictions` are not floating, or `targets` no numbers.

    Gradient: that of the formula, smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.tversky(jnp.array([1.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0]), alpha=1.0, beta=0.0)
      Array(0.5, dtype=float32)

    Source: Salehi, Erdogmus & Gholipour 2017, "Tversky loss function for image segmentation using 3D fully
    convolutional deep networks", eq. 1.
    """
    name = "losses.tversky"
    y_hat, y, axes, kept = _opened(name, predictions, targets, axis)
    extra, missed = (
        _checks.number(name, option, value, low=0.0) for option, value in (("alpha", alpha), ("beta", beta))
    )
    overlap = (y_hat * y).sum(axes)
    whole = overlap + extra * (y_hat * (1 - y)).sum(axes) + missed * ((1 - y_hat) * y).sum(axes)
    return _complement(name, overlap, whole, epsilon).astype(kept)


def _opened(
    name: str, predictions: ArrayLike, targets: ArrayLike, axis: int | Sequence[int] | None
) -> tuple[Array, Array, tuple[int, ...], np.dtype]:
    (y_hat,), kept = many(name, predictions=predictions)
    y = truth(name, "predictions", y_hat, targets, "targets")
    if axis is None:
        return y_hat, y, tuple(range(y_hat.ndim)), kept
    return y_hat, y, _checks.distinct_axes(name, "axis", axis, y_hat.ndim), kept


def _complement(name: str, part: Array, whole: Array, epsilon: float) -> Array:
    """1 − part / (whole + ε); 0 where there is nothing at all."""
    total = whole + _checks.number(name, "epsilon", epsilon, low=0.0)
    nothing = total == 0
    return jnp.where(nothing, 0, 1 - part / jnp.where(nothing, 1, total))
