"""What dense and convolution share: the bias, and checks of a kernel's companions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, DType

__all__ = ["add_bias", "float_dtype"]


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
    return y + broadcast_to_rank(bias, y.ndim)


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
