"""Random masks, drawn in one place, so that a layer and its derivation agree on them bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, DType, Key

__all__ = ["keep_mask", "kept_share", "shared_shape", "traced"]


def keep_mask(function: str, key: Key, rate: Any, shape: tuple[int, ...]) -> Array | bool:
    """True where a value stays, each dropped with probability `rate`; a Python bool where that is certain.

    A number and a traced scalar of the same value give the same mask.
    """
    if traced(function, rate):
        p = jnp.asarray(rate, compute_dtype(rate.dtype))
        # Beyond [0, 1], and for NaN, a conversion to integers would not be defined.
        threshold = jnp.round(jnp.where(p > 0, jnp.minimum(p, 1), 0) * 2.0**32)
        none = threshold >= 2.0**32
        drops = jnp.where(none, 0, threshold).astype(jnp.uint32)
        return (jax.random.bits(key, shape, jnp.uint32) >= drops) & ~none
    share = _checks.fraction(function, "rate", rate)
    number = round(share * 2**32)
    if number in (0, 2**32):
        return number == 0
    return jax.random.bits(key, shape, jnp.uint32) >= np.uint32(number)


def traced(function: str, rate: Any) -> bool:
    """Whether the rate is a scalar array, whose value cannot be looked at, rather than a number."""
    if not isinstance(rate, (jax.Array, np.ndarray)):
        return False
    if rate.shape != () or not jnp.issubdtype(rate.dtype, np.floating):
        raise _checks.type_error(
            function, "rate", _checks.describe(rate), "one floating number", "Use jax.vmap for several rates."
        )
    return True


def kept_share(rate: Any, dtype: DType) -> float | Array:
    """1 − rate: in double precision for a Python number, since 1 − 0.999 has lost digits in single; else in `dtype`."""
    return 1 - jnp.asarray(rate, dtype) if isinstance(rate, (jax.Array, np.ndarray)) else 1.0 - float(rate)


def shared_shape(function: str, x: Array, axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of the draws for `x`, of which one is shared along each of the `broadcast_axes`."""
    if not isinstance(axes, Sequence):
        raise _checks.type_error(
            function, "broadcast_axes", _checks.describe(axes), "a tuple of ints", "For one axis: (-2,)."
        )
    shape = list(x.shape)
    for axis in axes:
        index = _checks.integer(function, "broadcast_axes", axis, low=-x.ndim)
        if index >= x.ndim:
            raise _checks.value_error(
                function, "broadcast_axes", axes, f"axes of x, which has {x.ndim}", "Count from the end."
            )
        shape[index] = 1
    return tuple(shape)
