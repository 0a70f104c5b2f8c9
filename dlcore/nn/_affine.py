"""What layers share around their equation: a bias, a scale and offset, the dtype of new parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, DType

__all__ = ["add_bias", "affine", "classifier", "filled", "float_dtype", "scale_and_offset"]


def add_bias(function: str, params: Mapping[str, Any], y: Array) -> Array:
    """`y + bias` over the last axis; `y` where there is no bias."""
    if "bias" not in params:
        return y
    bias = _checks.array(function, "params['bias']", params["bias"])
    if bias.shape != y.shape[-1:]:
        raise _checks.value_error(
            function,
            "params['bias']",
            f"shape {bias.shape}",
            f"{y.shape[-1:]}, one entry for each output of the kernel",
            "Make both with one init.",
        )
    _checks.same_dtype(function, y, "params['bias']", bias)
    # In float32 or wider for half precision: the bias' gradient sums over the whole batch in the dtype of this sum.
    wide = compute_dtype(y.dtype)
    return (y.astype(wide) + broadcast_to_rank(bias, y.ndim).astype(wide)).astype(y.dtype)


def float_dtype(function: str, dtype: DType) -> Any:
    """A floating dtype for new parameters."""
    try:
        result = jnp.dtype(dtype)
    except TypeError as error:
        raise _checks.type_error(
            function, "dtype", _checks.describe(dtype), "a floating dtype", "For example jax.numpy.float32."
        ) from error
    if not jnp.issubdtype(result, np.floating):
        raise _checks.type_error(function, "dtype", str(result), "a floating dtype", "For example jax.numpy.float32.")
    return result


def scale_and_offset(
    function: str,
    params: Any,
    shape: tuple[int, ...],
    *,
    optional: Sequence[str] = ("scale", "offset"),
    argument: str = "params",
) -> tuple[Array | None, Array | None]:
    """The two leaves of a normalisation, of any floating dtype and exactly `shape`; None for one that is not there."""
    leaves = _checks.params(function, params, required=[], optional=optional, argument=argument)
    found: dict[str, Array] = {}
    for name, leaf in leaves.items():
        found[name] = _checks.floating(function, f"{argument}['{name}']", leaf)
        if found[name].shape != shape:
            raise _checks.value_error(
                function,
                f"{argument}['{name}']",
                f"shape {found[name].shape}",
                f"{shape}, one entry for each feature",
                "Make params (and state) with the layer's own init, for this width.",
            )
    return found.get("scale"), found.get("offset")


def filled(scale: Array | None, offset: Array | None, features: int, dtype: DType) -> tuple[Array, Array]:
    """Both in one dtype, (C,); ones and zeros for a leaf that is not there."""
    ones, zeros = jnp.ones(features, dtype), jnp.zeros(features, dtype)
    return ones if scale is None else scale.astype(dtype), zeros if offset is None else offset.astype(dtype)


def affine(y: Array, scale: Array | None, offset: Array | None, axes: Sequence[int] = (-1,)) -> Array:
    """`scale · y + offset` in the dtype of `y`; both have the shape of `axes`, which are sorted and negative."""
    shape = [size if axis - y.ndim in axes else 1 for axis, size in enumerate(y.shape)]
    if scale is not None:
        y = y * scale.astype(y.dtype).reshape(shape)
    return y if offset is None else y + offset.astype(y.dtype).reshape(shape)


def classifier(name: str, params: Any, features: Any) -> tuple[Array, Array | None, Array]:
    """A linear layer before a softmax: its kernel (D, K), its bias, if there is one, and the features that fit it."""
    leaves = _checks.params(name, params, required=["kernel"], optional=["bias"])
    x = _checks.floating(name, "features", features)
    kernel = _checks.array(name, "params['kernel']", leaves["kernel"])
    if kernel.ndim != 2 or kernel.shape[1] == 0:
        raise _checks.value_error(
            name, "params['kernel']", f"shape {kernel.shape}", "(in, classes), at least one class", "See nn.dense_init."
        )
    _checks.same_dtype(name, x, "params['kernel']", kernel)
    _checks.feature_axis(name, x, kernel.shape[0], "params['kernel']", argument="features")
    if "bias" not in leaves:
        return kernel, None, x
    bias = _checks.array(name, "params['bias']", leaves["bias"])
    if bias.shape != kernel.shape[1:]:
        raise _checks.value_error(
            name, "params['bias']", f"shape {bias.shape}", f"{kernel.shape[1:]}, one entry for each class",
            "Make both with one init.",
        )  # fmt: skip
    _checks.same_dtype(name, x, "params['bias']", bias)
    return kernel, bias, x
