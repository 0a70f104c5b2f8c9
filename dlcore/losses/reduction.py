"""Reductions: a mean divides by the weight that was really summed."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike

__all__ = ["mean", "sum_and_weight"]


def sum_and_weight(
    values: ArrayLike, *, where: ArrayLike | None = None, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """The weighted sum and the sum of weights, to be divided once.

        S = Σ_i w_i v_i,   W = Σ_i w_i

    Add both over micro-batches or devices, then divide: that is the mean over the whole batch, which a mean of means is
    not when their weights differ.

    Args:
      values: v, any shape, floating.
      where: booleans in the shape of `values`; False is weight 0.
      weights: w, in the shape of `values`, floating; ones if `None`.

    Returns:
      (S, W), scalars in float32 or wider. An entry of weight 0 is as good as removed: inf and NaN in it reach neither
      the sum nor the gradient.

    Raises:
      ValueError: if the shapes differ; nothing is broadcast.
      TypeError: if `values` or `weights` are not floating, or `where` not boolean.

    Gradient: w_i for v_i; exactly 0 where w_i is 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.sum_and_weight(jnp.array([1.0, 2.0, jnp.nan]), where=jnp.array([True, True, False]))
      (Array(3., dtype=float32), Array(2., dtype=float32))

    Source: Horvitz & Thompson 1952, "A generalization of sampling without replacement", for weights in general.
    """
    return _sum_and_weight("losses.sum_and_weight", values, where, weights)


def mean(values: ArrayLike, *, where: ArrayLike | None = None, weights: ArrayLike | None = None) -> Array:
    """The weighted mean of per-element or per-example losses.

        M = Σ_i w_i v_i / Σ_i w_i,   0 where the weights sum to 0

    Args:
      values: v, any shape, floating.
      where: booleans in the shape of `values`; False is weight 0.
      weights: w, in the shape of `values`, floating; ones if `None`.

    Returns:
      A scalar in the dtype of `values`; summed in float32 or wider. Weight 0 is as good as a removed entry; Keras'
      default reduction divides by the number of entries instead.

    Raises:
      ValueError: if the shapes differ; nothing is broadcast.
      TypeError: if `values` or `weights` are not floating, or `where` not boolean.

    Gradient: w_i / Σ w for v_i; exactly 0 where w_i is 0, and everywhere where the weights sum to 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.mean(jnp.array([1.0, 3.0, jnp.nan]), where=jnp.array([True, True, False]))
      Array(2., dtype=float32)

    Source: Horvitz & Thompson 1952, "A generalization of sampling without replacement", for weights in general.
    """
    total, weight = _sum_and_weight("losses.mean", values, where, weights)
    empty = weight == 0
    quotient = jnp.where(empty, 0, total / jnp.where(empty, 1, weight))
    return quotient.astype(jnp.result_type(_checks.floating("losses.mean", "values", values)))


def _sum_and_weight(
    name: str, values: ArrayLike, where: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Array, Array]:
    v = _checks.floating(name, "values", values)
    v = v.astype(compute_dtype(v.dtype))
    if where is None and weights is None:
        return v.sum(), jnp.asarray(v.size, v.dtype)
    w = jnp.ones_like(v)
    if weights is not None:
        given = _checks.floating(name, "weights", weights)
        _checks.same_shape(name, "values", v, "weights", given)
        w = given.astype(v.dtype)
    if where is not None:
        chosen = _checks.booleans(name, "where", where)
        _checks.same_shape(name, "values", v, "where", chosen)
        w = jnp.where(chosen, w, 0)
    # The inner where keeps inf and NaN of dropped entries out of the product, and so out of its gradient.
    return (w * jnp.where(w == 0, 0, v)).sum(), w.sum()
