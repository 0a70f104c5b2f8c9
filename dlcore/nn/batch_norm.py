"""Batch normalisation: one function for training, another for evaluation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike, DType, Params
from dlcore.kernels.batch_norm import count, normalise_rows
from dlcore.nn._affine import affine, filled, float_dtype, scale_and_offset

__all__ = ["BatchNormState", "batch_norm_eval", "batch_norm_init", "batch_norm_train"]


class BatchNormState(NamedTuple):
    """Running statistics, one entry a feature; the variance is the unbiased one."""

    mean: Array
    var: Array


def batch_norm_init(features: int, *, dtype: DType = jnp.float32) -> tuple[dict[str, Array], BatchNormState]:
    """The parameters and the state of batch normalisation.

    Args:
      features: C, the size of the last axis.
      dtype: of parameters and state. Keep float32 for half precision data: running averages need the digits.

    Returns:
      `{"scale": ones (C,), "offset": zeros (C,)}` and `BatchNormState(mean=zeros (C,), var=ones (C,))`.

    Raises:
      ValueError, TypeError: if `features` is not a whole number of at least 1, or `dtype` is not floating.

    Example:
      >>> import dlcore.nn as nn
      >>> params, state = nn.batch_norm_init(2)
      >>> state.var
      Array([1., 1.], dtype=float32)

    Source: Ioffe & Szegedy 2015, "Batch normalization".
    """
    c = _checks.integer("nn.batch_norm_init", "features", features, low=1)
    dtype = float_dtype("nn.batch_norm_init", dtype)
    params = {"scale": jnp.ones((c,), dtype), "offset": jnp.zeros((c,), dtype)}
    return params, BatchNormState(jnp.zeros((c,), dtype), jnp.ones((c,), dtype))


def batch_norm_train(
    params: Params,
    state: BatchNormState,
    x: ArrayLike,
    *,
    decay: float = 0.9,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    where: ArrayLike | None = None,
) -> tuple[Array, BatchNormState]:
    """Normalises each feature by the statistics of this batch, and updates the running ones.

        μ = mean(x),  σ² = mean((x − μ)²)                    over all axes but the last
        y = scale · (x − μ) / √(σ² + ε) + offset
        running ← decay · running + (1 − decay) · (μ, n / (n − 1) · σ²)

    Args:
      params: `{"scale": (C,), "offset": (C,)}`; `{}` or one of the two alone for no scale, no offset.
      state: `BatchNormState(mean (C,), var (C,))`.
      x: (*batch, C), floating; a batch of at least two values for each feature.
      decay: the weight of the old running value, in [0, 1]. PyTorch's `momentum` is 1 − decay.
      epsilon: added to the variance. PyTorch's and Flax' default is this 1e-5; Keras' is 1e-3.
      axis_name: also reduces over the devices (or `vmap` lanes) of that name.
      where: booleans that broadcast against `x`, or (without the channel axis) against `x.shape[:-1]`, with
        axes of equal size or of size 1: only True entries count in the statistics, and the others give 0.

    Returns:
      y in the shape and dtype of `x`, and the new state, in the old one's dtype. Statistics are taken in
      float32 or wider, from deviations, so that a mean much larger than the deviation costs no digits; deviations
      may be as large as 1e31 in float32 (ε = 1e-5), and beyond the result is NaN. The running variance is inf from
      deviations of 1e19 on, and those below 1e-6, far below √ε, add nothing to it.
      An empty batch, or one that `where` empties, leaves the state as it is.

    Raises:
      ValueError: if widths differ, `where` does not fit, an option is out of range, or there is one value a
        feature: its variance is 0, and so would be every output and gradient.
      TypeError: if `x` is not floating or `where` not boolean.

    Gradient: smooth (ε > 0); it flows through μ and σ². At a feature whose values are all the same it is
    scale · (dy − mean(dy)) / √ε.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params, state = nn.batch_norm_init(1)
      >>> y, state = nn.batch_norm_train(params, state, jnp.array([[1.0], [3.0]]))
      >>> [f"{v.item():.4f}" for v in (y[0], y[1], state.mean, state.var)]
      ['-1.0000', '1.0000', '0.2000', '1.1000']

    Source: Ioffe & Szegedy 2015, "Batch normalization", algorithm 1. Running variance: unbiased as PyTorch's
    and the paper's; Flax and Keras keep the biased one, n − 1 in place of n.
    """
    name = "nn.batch_norm_train"
    state, values, scale, offset = _check(name, params, state, x, epsilon)
    _checks.fraction(name, "decay", decay)
    n = math.prod(values.shape[:-1])
    if n == 1 and axis_name is None and where is None:
        raise _checks.value_error(
            name, "x", _checks.describe(values), "at least two values for each feature",
            "Use a larger batch, nn.batch_norm_eval to evaluate, or nn.layer_norm, which needs no batch.",
        )  # fmt: skip
    dtype = compute_dtype(values.dtype)
    rows = values.astype(dtype).reshape(n, values.shape[-1])
    chosen = None if where is None else _mask(name, where, values)
    own = filled(scale, offset, values.shape[-1], dtype)
    y, mean, var = normalise_rows(rows, *own, chosen, epsilon, axis_name)
    weight = count(rows, chosen, axis_name).reshape(-1)

    def running(old: Array, new: Array, least: int) -> Array:
        mixed = decay * old.astype(dtype) + (1 - decay) * new
        return jnp.where(weight >= least, mixed, old.astype(dtype)).astype(old.dtype)

    unbiased = var * (weight / jnp.maximum(weight - 1, 1))
    # One value has a mean, but no variance.
    y = y.reshape(values.shape).astype(values.dtype)
    return y, BatchNormState(running(state.mean, mean, 1), running(state.var, unbiased, 2))


def batch_norm_eval(params: Params, state: BatchNormState, x: ArrayLike, *, epsilon: float = 1e-5) -> Array:
    """Normalises each feature by the running statistics.

        y = scale · (x − state.mean) / √(state.var + ε) + offset

    Args:
      params: as for `batch_norm_train`.
      state: `BatchNormState(mean (C,), var (C,))`, left as it is.
      x: (*batch, C), floating; any batch, one example or none too.
      epsilon: added to the variance; the same as in training.

    Returns:
      y in the shape and dtype of `x`; computed in float32 or wider.

    Raises:
      ValueError: if widths differ, or `epsilon` is not positive.
      TypeError: if `x` is not floating, or `state` not a `BatchNormState`.

    Gradient: linear in `x`.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> state = nn.BatchNormState(mean=jnp.array([1.0]), var=jnp.array([4.0]))
      >>> f"{nn.batch_norm_eval({}, state, jnp.array([[5.0]])).item():.4f}"
      '2.0000'

    Source: Ioffe & Szegedy 2015, "Batch normalization", algorithm 2.
    """
    name = "nn.batch_norm_eval"
    state, values, scale, offset = _check(name, params, state, x, epsilon)
    dtype = compute_dtype(values.dtype)
    mean = broadcast_to_rank(state.mean.astype(dtype), values.ndim)
    factor = broadcast_to_rank(lax.rsqrt(state.var.astype(dtype) + epsilon), values.ndim)
    return affine((values.astype(dtype) - mean) * factor, scale, offset).astype(values.dtype)


def _check(
    name: str, params: Params, state: Any, x: ArrayLike, epsilon: float
) -> tuple[BatchNormState, Array, Array | None, Array | None]:
    _checks.params(name, params, required=[], optional=["scale", "offset"])
    state = check_state(name, "state", state)
    values = _checks.floating(name, "x", x)
    _checks.number(name, "epsilon", epsilon, above=0.0)
    _checks.feature_axis(name, values, state.mean.size, "state.mean")
    return state, values, *scale_and_offset(name, params, values.shape[-1:])


def check_state(name: str, argument: str, state: Any) -> BatchNormState:
    """A state whose mean and variance are floating vectors of one size."""
    if not isinstance(state, BatchNormState):
        raise _checks.type_error(
            name, argument, _checks.describe(state), "a BatchNormState",
            "nn.batch_norm_init returns it; mind the order: params, state, then data.",
        )  # fmt: skip
    mean, var = (_checks.floating(name, argument, leaf) for leaf in state)
    for part, statistic in (("mean", mean), ("var", var)):
        if statistic.ndim != 1 or statistic.shape != mean.shape:
            raise _checks.value_error(
                name, argument, f"a {part} of shape {statistic.shape}", "mean and var of one shape, (features,)",
                "Make it with nn.batch_norm_init.",
            )  # fmt: skip
    return BatchNormState(mean, var)


def _mask(name: str, where: ArrayLike, x: Array) -> Array:
    """Which rows count, (R, C) or (R, 1)."""
    chosen = _checks.booleans(name, "where", where)
    # Without the channel axis, one entry stands for all features.
    chosen = _checks.mask(name, "where", chosen[..., None] if chosen.ndim == x.ndim - 1 else chosen, x)
    width = chosen.shape[-1]
    return jnp.broadcast_to(chosen, (*x.shape[:-1], width)).reshape(math.prod(x.shape[:-1]), width)
