"""The chain rule through a dense layer: errors travel back through the transposed kernel."""

from __future__ import annotations

import math
from typing import NamedTuple

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike, Params
from dlcore.backprop._boundary import cotangent, leaves, saved, widen

__all__ = ["DenseResiduals", "dense_bwd", "dense_fwd"]


class DenseResiduals(NamedTuple):
    """What `dense_fwd` saves: both arguments."""

    params: dict[str, Array]
    x: Array


def dense_fwd(params: Params, x: ArrayLike) -> tuple[Array, DenseResiduals]:
    """An affine map of the last axis.

        y = x W + b

    Args:
      params: `{"kernel": W (D, F)}`, perhaps with `"bias": b (F,)`, in the dtype of `x`.
      x: (*batch, D), floating.

    Returns: y: (*batch, F), in the dtype of `x`, and the residuals: `params` and `x`.

    Raises: ValueError if the shapes do not fit; TypeError if the dtypes differ or are not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.zeros(2)}
      >>> y, residuals = backprop.dense_fwd(params, jnp.array([[1.0, -1.0]]))
      >>> grads, dx = backprop.dense_bwd(residuals, jnp.array([[1.0, 2.0]]))
      >>> grads["kernel"]
      Array([[ 1.,  2.],
             [-1., -2.]], dtype=float32)
      >>> dx
      Array([[ 5., 11.]], dtype=float32)

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors", eq. 1.
    """
    name = "backprop.dense_fwd"
    kept = leaves(name, params, required=["kernel"], optional=["bias"])
    values = _checks.floating(name, "x", x)
    kernel = kept["kernel"] = _checks.array(name, "params['kernel']", kept["kernel"])
    if kernel.ndim != 2:
        raise _checks.value_error(
            name, "params['kernel']", f"shape {kernel.shape}", "(in, out)", "A convolution's goes to conv_fwd."
        )
    _checks.same_dtype(name, values, "params['kernel']", kernel)
    _checks.feature_axis(name, values, kernel.shape[0], "params['kernel']")
    y = widen(values) @ widen(kernel)
    if "bias" in kept:
        bias = kept["bias"] = _checks.array(name, "params['bias']", kept["bias"])
        if bias.shape != kernel.shape[1:]:
            raise _checks.value_error(
                name, "params['bias']", f"shape {bias.shape}", f"{kernel.shape[1:]}", "Make both with one init."
            )
        _checks.same_dtype(name, values, "params['bias']", bias)
        y = y + broadcast_to_rank(widen(bias), y.ndim)
    return y.astype(values.dtype), DenseResiduals(kept, values)


def dense_bwd(residuals: DenseResiduals, dy: ArrayLike) -> tuple[dict[str, Array], Array]:
    """The gradient of `dense_fwd`: an outer product of what came in with the error that went out.

        dW = Σ_batch xᵀ dy,   db = Σ_batch dy,   dx = dy Wᵀ

    Args:
      residuals: those that `dense_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `({"kernel": dW, "bias": db}, dx)`, with the leaves, shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `dense_fwd`.

    Source: Rumelhart, Hinton & Williams 1986, eq. 6 and 7; see `dense_fwd`.
    """
    name = "backprop.dense_bwd"
    params, x = saved(name, residuals, DenseResiduals)
    kernel = params["kernel"]
    pulled = cotangent(name, dy, (*x.shape[:-1], kernel.shape[1]), x.dtype)

    examples = math.prod(x.shape[:-1])
    rows, errors = widen(x).reshape(examples, x.shape[-1]), pulled.reshape(examples, kernel.shape[1])
    grads = {"kernel": (rows.T @ errors).astype(kernel.dtype)}
    if "bias" in params:
        grads["bias"] = errors.sum(0).astype(kernel.dtype)
    return grads, (pulled @ widen(kernel).T).astype(x.dtype)
