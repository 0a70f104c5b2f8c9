"""A dense or convolution layer and the batch normalisation after it, folded into one layer for inference."""

from __future__ import annotations

from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, Params
from dlcore.nn._affine import scale_and_offset
from dlcore.nn.batch_norm import BatchNormState, check_state

__all__ = ["fold_batch_norm"]


def fold_batch_norm(
    params: Params, bn_params: Params, bn_state: BatchNormState, *, epsilon: float = 1e-5
) -> dict[str, Array]:
    """One layer that does what `conv` or `dense` and then `batch_norm_eval` do.

        a = scale / √(var + ε)
        kernel' = kernel · a,   bias' = (bias − mean) · a + offset

    Args:
      params: `{"kernel": (…, F)}`, perhaps with `"bias": (F,)`, of `dense` or `conv` (also grouped); the outputs are
        the kernel's last axis, so that `conv_transpose`'s, whose outputs are not, must not be passed.
      bn_params: `{"scale": (F,), "offset": (F,)}`, one of them, or `{}`.
      bn_state: `BatchNormState(mean (F,), var (F,))`.
      epsilon: that of the batch normalisation.

    Returns:
      `{"kernel": (…, F), "bias": (F,)}` in the dtype of the kernel, computed in float32 or wider. There is a bias even
      where there was none. Outputs agree up to rounding; in half precision the folded kernel is rounded once more.

    Raises:
      ValueError: if widths differ, the kernel has less than two axes, or `epsilon` is not positive.
      TypeError: if a leaf is not floating, the bias has another dtype than the kernel, or `bn_state` is not a
        `BatchNormState`.

    Gradient: smooth where var + ε > 0; linear in kernel, bias, mean and offset.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> state = nn.BatchNormState(mean=jnp.array([1.0]), var=jnp.array([4.0]))
      >>> folded = nn.fold_batch_norm({"kernel": jnp.array([[6.0]])}, {}, state)
      >>> [f"{leaf.item():.4f}" for leaf in (folded["kernel"], folded["bias"])]
      ['3.0000', '-0.5000']

    Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", eq. 14.
    """
    name = "nn.fold_batch_norm"
    leaves = _checks.params(name, params, required=["kernel"], optional=["bias"])
    _checks.params(name, bn_params, required=[], optional=["scale", "offset"], argument="bn_params")
    state = check_state(name, "bn_state", bn_state)
    epsilon = _checks.number(name, "epsilon", epsilon, above=0.0)
    kernel = _checks.floating(name, "params['kernel']", leaves["kernel"])
    if kernel.ndim < 2:
        raise _checks.value_error(
            name, "params['kernel']", f"shape {kernel.shape}", "(…, in, out)", "Pass the params of nn.dense or nn.conv."
        )
    features = kernel.shape[-1:]
    if state.mean.shape != features:
        raise _checks.value_error(
            name, "bn_state", f"a mean of shape {state.mean.shape}", f"{features}, one entry for each output of kernel",
            "Fold the batch normalisation that follows this layer directly.",
        )  # fmt: skip
    scale, offset = scale_and_offset(name, bn_params, features, argument="bn_params")
    dtype = compute_dtype(kernel.dtype)
    factor = lax.rsqrt(state.var.astype(dtype) + epsilon)
    if scale is not None:
        factor = factor * scale.astype(dtype)
    bias = -state.mean.astype(dtype)
    if "bias" in leaves:
        old = _checks.floating(name, "params['bias']", leaves["bias"])
        if old.shape != features:
            raise _checks.value_error(
                name, "params['bias']", f"shape {old.shape}", f"{features}, one entry for each output of the kernel",
                "Make both with one init.",
            )  # fmt: skip
        _checks.same_dtype(name, kernel, "params['bias']", old)
        bias = old.astype(dtype) + bias
    bias = bias * factor
    if offset is not None:
        bias = bias + offset.astype(dtype)
    row = factor.reshape((1,) * (kernel.ndim - 1) + features)
    return {"kernel": (kernel.astype(dtype) * row).astype(kernel.dtype), "bias": bias.astype(kernel.dtype)}
